"""Encrypted backups through the DAGs: what lies there, what is mailed, drilled and restored; and keys that change."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from psycopg.conninfo import conninfo_to_dict

from include.backup.archive_name import sidecar_path
from include.backup.drill_record import read_drill
from include.backup.manifest import read_sidecar
from include.backup.run import WORKSPACES
from include.demo.embedded_postgres import EmbeddedPostgres
from include.operators.backup import RestoreOperator
from tests.fix_age import KeyPair, make_key_pair, needs_age
from tests.fix_airflow import HOME, LocalAirflow, Site
from tests.operators.test_task import make_context

RESTORED = "nightly_sample_decrypted"


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """The administrators' keys."""
    return make_key_pair(tmp_path, "keys.txt")


@pytest.fixture
def encrypting(
    site: Site, pair: KeyPair, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A site that encrypts, and a drill server; the private key is in no file, log or XCom at the end."""
    values = conninfo_to_dict(postgres_18.conninfo())
    connection = {"conn_type": "postgres", "host": "localhost", "port": int(str(values["port"]))}
    login = {"login": values["user"], "password": values["password"]}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_DRILL", json.dumps(connection | login))
    monkeypatch.setenv("BACKUP_AGE_RECIPIENTS", pair.public)
    monkeypatch.setenv("BACKUP_REQUIRE_ENCRYPTION", "true")
    yield site
    written = [path for folder in (site.backup_dir, HOME) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if pair.private.encode() in path.read_bytes()] == []


def backup(airflow: LocalAirflow, *, mail: bool = False) -> Path:
    """Make a backup and return the archive."""
    run_id = airflow.trigger(deliver_mail=mail)
    result = airflow.run(run_id)
    assert result.state == "success", result.errors
    assert "AGE-SECRET-KEY" not in str(airflow.stored_texts(run_id))
    return Path(airflow.stored_texts(run_id)["XCom verify_archive return_value"].strip('"'))


def drill(**params: Any) -> float:
    """Run the task as Airflow does after a backup."""
    context = make_context(DagRunType.MANUAL, logical_date=None, **params)
    return float(RestoreOperator(task_id="drill_archive").execute(context))


def plain_archives(folder: Path) -> list[Path]:
    """Return every file anywhere below the folder that begins as a gzip file does."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes()[:2] == b"\x1f\x8b"]


def test_run_leaves_only_the_encrypted_archive_and_mails_it(airflow: LocalAirflow, encrypting: Site) -> None:
    """Nothing that gzip could open is anywhere below BACKUP_DIR; every administrator gets the encrypted file."""
    name = backup(airflow, mail=True).name
    assert name.endswith(".tar.gz.age")
    stem = name.removesuffix(".tar.gz.age")
    beside = {f"{stem}.manifest.json", f"{stem}.delivery.json", f"{stem}.decrypt.txt"}
    assert encrypting.published == {name, *beside}
    assert plain_archives(encrypting.backup_dir) == []
    archive = encrypting.backup_dir / name
    assert read_sidecar(archive).archive_sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    (path,) = encrypting.backup_mails
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    (attachment,) = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == (name, archive.read_bytes())
    assert message["Subject"].startswith("Backup OK")


def test_manifest_beside_holds_no_row(airflow: LocalAirflow, encrypting: Site, postgres_18: EmbeddedPostgres) -> None:
    """No address, name or setting of the sample's rows stands in what lies beside the archive in clear."""
    backup(airflow)
    with psycopg.connect(postgres_18.conninfo("nightly_sample")) as session:
        rows = [str(value) for row in session.execute("SELECT email FROM users LIMIT 200") for value in row]
    rows += [line for line in (encrypting.config_dir / ".env.production").read_text().split() if "=" in line]
    texts = [path.read_text() for path in encrypting.backup_dir.iterdir() if path.suffix in (".json", ".txt")]
    assert len(rows) > 10
    assert [row for row in rows if any(row in text for text in texts)] == []


def test_encryption_that_fails_leaves_no_name_and_clearing_helps(
    airflow: LocalAirflow, encrypting: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in the way of the encrypted file: the plain one stays in the workspace, without a name."""
    run_id = airflow.trigger(deliver_mail=False)
    airflow.run(run_id, pause_before="verify_archive")
    (workspace,) = (encrypting.backup_dir / WORKSPACES).iterdir()
    in_the_way = workspace / "archive.tar.gz.partial.age"
    in_the_way.mkdir()
    assert airflow.run(run_id).states["verify_archive"] == "failed"
    assert encrypting.published == set()
    in_the_way.rmdir()
    airflow.clear(run_id, "verify_archive", downstream=True)
    assert airflow.run(run_id).state == "success"
    assert len([name for name in encrypting.published if name.endswith(".tar.gz.age")]) == 1
    assert plain_archives(encrypting.backup_dir) == []


def test_kill_between_the_name_and_the_end_of_the_plain_archive_is_made_good(
    airflow: LocalAirflow, encrypting: Site
) -> None:
    """The encrypted archive is there already: the plain one goes, and nothing is made twice."""
    run_id = airflow.trigger(deliver_mail=False)
    airflow.run(run_id, pause_before="verify_archive")
    (workspace,) = (encrypting.backup_dir / WORKSPACES).iterdir()
    plain = workspace / "archive.tar.gz.partial"
    content = plain.read_bytes()
    airflow.run(run_id, pause_before="check_size")
    before = {path: path.read_bytes() for path in encrypting.backup_dir.glob("critical_backup_*")}
    assert not plain.exists()
    plain.write_bytes(content)
    airflow.clear(run_id, "verify_archive", downstream=True)
    assert airflow.run(run_id, pause_before="check_size").states["verify_archive"] == "success"
    assert not plain.exists()
    assert airflow.run(run_id).state == "success"
    assert {path: path.read_bytes() for path in encrypting.backup_dir.glob("critical_backup_*")} == before


def test_encryption_that_is_demanded_is_not_forgotten_later(
    airflow: LocalAirflow, encrypting: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys went away after the check: no plain archive gets a name."""
    run_id = airflow.trigger(deliver_mail=False)
    airflow.run(run_id, pause_before="verify_archive")
    monkeypatch.delenv("BACKUP_AGE_RECIPIENTS")
    result = airflow.run(run_id)
    assert "BACKUP_REQUIRE_ENCRYPTION is on" in str(result.errors["verify_archive"])
    assert encrypting.published == set()


@pytest.mark.parametrize("with_key", [False, True])
def test_cleared_verify_looks_at_the_encrypted_archive_again(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, monkeypatch: pytest.MonkeyPatch, *, with_key: bool
) -> None:
    """By SHA-256 and structure without a key, whole with one; a changed byte is noticed either way."""
    if with_key:
        monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(pair.file))
    run_id = airflow.trigger(deliver_mail=False)
    assert airflow.run(run_id).state == "success"
    (archive,) = encrypting.backup_dir.glob("*.age")
    airflow.clear(run_id, "verify_archive")
    assert airflow.run(run_id).errors == {}
    content = bytearray(archive.read_bytes())
    content[-1] ^= 1
    archive.write_bytes(content)
    airflow.clear(run_id, "verify_archive")
    assert "do not restore from it" in str(airflow.run(run_id).errors["verify_archive"])


def test_drill_without_a_key_is_skipped_and_says_what_that_means(airflow: LocalAirflow, encrypting: Site) -> None:
    """Not proven: neither passed nor failed is recorded."""
    archive = encrypting.backup_dir / backup(airflow)
    with pytest.raises(
        AirflowSkipException, match=r"BACKUP_AGE_IDENTITY_FILE is not set: it is not proven by a restore"
    ):
        drill()
    assert read_drill(archive) is None


def test_drill_with_the_key_proves_the_archive(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decrypted while it is unpacked: nothing of it stays, and the plain archive is nowhere."""
    archive = encrypting.backup_dir / backup(airflow)
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(pair.file))
    assert drill() > 0
    record = read_drill(archive)
    assert record is not None
    assert (record.passed, record.tables) == (True, 17)
    assert plain_archives(encrypting.backup_dir) == []
    assert list((encrypting.backup_dir / WORKSPACES).iterdir()) == []


def test_key_that_does_not_fit_fails_the_drill_and_takes_no_proof_away(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the archive, so the record of the drill that passed stays."""
    archive = encrypting.backup_dir / backup(airflow)
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(pair.file))
    drill()
    proven = read_drill(archive)
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(make_key_pair(tmp_path, "other.txt").file))
    with pytest.raises(AirflowFailException, match=f"no key in BACKUP_AGE_IDENTITY_FILE opens {archive.name}"):
        drill()
    assert read_drill(archive) == proven


@pytest.mark.parametrize("place", [30, 1000])
def test_damaged_encrypted_archive_fails_its_drill(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """In its header as in its first chunk: it is the archive that is wrong, not the key, and that is recorded."""
    archive = encrypting.backup_dir / backup(airflow)
    content = bytearray(archive.read_bytes())
    content[place] ^= 1
    archive.write_bytes(content)
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(pair.file))
    with pytest.raises(AirflowFailException, match="do not restore from it"):
        drill()
    record = read_drill(archive)
    assert record is not None
    assert not record.passed


def test_keys_can_be_rotated_and_encryption_switched_on_and_off(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/ENCRYPTION.md says: each archive names its keys, and a file with both private keys opens all of them."""
    new = make_key_pair(tmp_path, "new.txt")
    archives = [backup(airflow)]
    for recipients in (f"{pair.public},{new.public}", new.public, ""):
        monkeypatch.setenv("BACKUP_AGE_RECIPIENTS", recipients)
        monkeypatch.setenv("BACKUP_REQUIRE_ENCRYPTION", "true" if recipients else "false")
        archives.append(backup(airflow))
    sidecars = [read_sidecar(encrypting.backup_dir / name) for name in archives]
    keys = [sidecar.encryption and sidecar.encryption.recipients for sidecar in sidecars]
    assert keys == [(pair.public,), (pair.public, new.public), (new.public,), None]
    both = tmp_path / "both.txt"
    both.write_text(new.file.read_text() + pair.file.read_text())
    both.chmod(0o600)
    for key_file, of_the_others in ((pair.file, archives[2]), (new.file, archives[0])):
        monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(key_file))
        assert drill(archive=archives[1].name) > 0
        with pytest.raises(
            AirflowFailException, match=f"no key in BACKUP_AGE_IDENTITY_FILE opens {of_the_others.name}"
        ):
            drill(archive=of_the_others.name)
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(both))
    assert all(drill(archive=name.name) > 0 for name in (archives[0], archives[2]))
    both.unlink()
    assert drill(archive=archives[3].name) > 0, "the key file is no matter of an archive that is not encrypted"


def test_restore_decrypts_with_the_key_and_says_how_to_do_it_by_hand_without(
    airflow: LocalAirflow,
    encrypting: Site,
    pair: KeyPair,
    postgres_18: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refused before anybody is asked; with the key the form's restore goes to its end."""
    name = backup(airflow).name
    restore = dataclasses.replace(airflow, dag_id="restore_backup")
    restore.load_dag()
    params = {"connection": "backup_drill", "database": RESTORED, "confirm": RESTORED, "archive": name}
    refused = str(restore.run(restore.trigger(**params)).errors["check_restore"])
    assert f"age -d -i KEY_FILE -o {name.removesuffix('.age')} {name}" in refused
    assert "\n" not in refused
    monkeypatch.setenv("BACKUP_AGE_IDENTITY_FILE", str(pair.file))
    run_id = restore.trigger(**params)
    assert restore.run(run_id).states["approve_restore"] == "awaiting_input"
    path = f"/api/v2/dags/restore_backup/dagRuns/{run_id}/taskInstances/approve_restore/-1/hitlDetails"
    assert restore.api.patch(path, json={"chosen_options": ["Approve"]}).is_success
    try:
        assert restore.run(run_id).state == "success"
        with psycopg.connect(postgres_18.conninfo(RESTORED)) as session:
            assert session.execute("SELECT count(*) FROM users").fetchone() > (0,)  # type: ignore[operator]
    finally:
        with psycopg.connect(postgres_18.conninfo(), autocommit=True) as session:
            session.execute(f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)".encode())
    assert plain_archives(encrypting.backup_dir) == []


@needs_age
def test_debians_age_opens_what_the_dag_made(
    airflow: LocalAirflow, encrypting: Site, pair: KeyPair, tmp_path: Path
) -> None:
    """And what comes out is the very archive that was verified."""
    archive = encrypting.backup_dir / backup(airflow)
    plain = tmp_path / "out.tar.gz"
    subprocess.run(["age", "-d", "-i", pair.file, "-o", plain, archive], check=True)
    record = read_sidecar(archive).encryption
    assert record is not None
    assert hashlib.sha256(plain.read_bytes()).hexdigest() == record.plain_sha256
    listed = subprocess.run(["tar", "-tzf", plain], check=True, capture_output=True, text=True).stdout.split()
    assert {"restore.sh", "MANIFEST.json", ".env.production", "ssl/key.pem"} <= set(listed)
    assert sidecar_path(archive).exists()

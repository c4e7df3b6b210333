"""The second copy in real runs of the DAG: beside the mail, never in the way of the archive; its failure is noticed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from pathlib import Path

import pyrage
import pytest

from include.backup.archive_name import decrypt_command, decrypt_path, sidecar_path
from include.backup.copy_record import read_copy
from include.backup.manifest import Sidecar, read_sidecar
from include.backup.status import LAST_SUCCESS_FILE
from include.demo.ports import free_port
from tests.dags.test_bad_input import nothing_leaks  # noqa: F401 - a fixture
from tests.fix_age import make_key_pair
from tests.fix_airflow import COPY_TASK, TASKS, LocalAirflow, Site
from tests.fix_copies import make_archive
from tests.fix_object_store import PUT_AND_GET, PUT_GET_AND_DELETE, Login, ObjectStore

CopyTo = Callable[..., str]
CONNECTION = "AIRFLOW_CONN_OFFSITE"


@pytest.fixture
def copy_to(object_store: ObjectStore, airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch) -> CopyTo:
    """Set BACKUP_COPY_URL to a new bucket, for a login that may do these things; return the bucket's name."""

    def set_up(*actions: str, locked: bool = False) -> str:
        bucket = object_store.bucket(locked=locked)
        login = object_store.login(*(actions or PUT_AND_GET))
        monkeypatch.setenv(CONNECTION, object_store.connection(login))
        monkeypatch.setenv("BACKUP_COPY_URL", f"s3://offsite@{bucket}/critical")
        airflow.load_dag()
        return bucket

    return set_up


def only_archive(site: Site) -> Path:
    (path,) = site.published_paths
    return path


def text_of(mail: Path) -> str:
    body = message_from_bytes(mail.read_bytes(), policy=policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def archives_in(content: dict[str, bytes]) -> set[str]:
    """Return the names of the archives among the objects of a bucket."""
    return {key.removeprefix("critical/") for key in content if key.endswith(".tar.gz")}


def test_run_copies_archive_and_manifest_and_the_mail_says_where(
    airflow: LocalAirflow,
    site: Site,
    object_store: ObjectStore,
    copy_to: CopyTo,
    nothing_leaks: list[str],  # noqa: F811
) -> None:
    """One task more, after verification; what is in the bucket is the archive, and it is recorded beside it."""
    bucket = copy_to(locked=True)
    nothing_leaks.append(airflow.trigger())
    result = airflow.run(nothing_leaks[-1])
    assert (result.state, result.states[COPY_TASK]) == ("success", "success")
    archive = only_archive(site)
    content = object_store.content(bucket)
    content.pop("critical/.critical_backup_probe")
    assert content == {f"critical/{path.name}": path.read_bytes() for path in (archive, sidecar_path(archive))}
    record = read_copy(archive)
    assert record is not None
    assert (record.url, record.sha256) == (
        f"s3://{bucket}/critical/{archive.name}",
        read_sidecar(archive).archive_sha256,
    )
    (mail,) = site.backup_mails
    assert f"A second copy, read back and compared, is at {record.url}" in text_of(mail)
    airflow.clear(result.run_id, COPY_TASK)
    assert airflow.run(result.run_id).state == "success", "what is there already is compared, not written again"


def test_encrypted_archive_is_copied_as_it_lies_there_and_opens_with_the_key(
    airflow: LocalAirflow,
    site: Site,
    object_store: ObjectStore,
    copy_to: CopyTo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Archive, text and manifest are in the bucket; from these alone the archive that was verified comes out again."""
    pair = make_key_pair(tmp_path, "keys.txt")
    monkeypatch.setenv("BACKUP_AGE_RECIPIENTS", pair.public)
    bucket = copy_to(locked=True)
    assert airflow.run(airflow.trigger()).state == "success"
    (archive,) = site.backup_dir.glob("*.tar.gz.age")
    content = object_store.content(bucket)
    content.pop("critical/.critical_backup_probe")
    beside = (archive, decrypt_path(archive), sidecar_path(archive))
    assert content == {f"critical/{path.name}": path.read_bytes() for path in beside}
    manifest = Sidecar.model_validate_json(content[f"critical/{sidecar_path(archive).name}"])
    assert manifest.encryption is not None
    plain = pyrage.decrypt(content[f"critical/{archive.name}"], [pyrage.x25519.Identity.from_str(pair.private)])
    assert hashlib.sha256(plain).hexdigest() == manifest.encryption.plain_sha256
    assert decrypt_command(archive.name).encode() in content[f"critical/{decrypt_path(archive).name}"]
    (mail,) = site.backup_mails
    assert f"is at s3://{bucket}/critical/{archive.name}" in " ".join(text_of(mail).split())


def test_task_stands_beside_the_mail_and_before_the_status(airflow: LocalAirflow, copy_to: CopyTo) -> None:
    """Neither waits for the other; a run has succeeded when both have."""
    copy_to()
    dag = airflow.load_dag()
    assert set(dag.task_ids) == {*TASKS, COPY_TASK}
    task = dag.get_task(COPY_TASK)
    assert (task.upstream_task_ids, task.downstream_task_ids) == ({"verify_archive"}, {"update_status"})
    assert task.retries == 3


def test_copy_that_fails_does_not_keep_the_mail_back_and_is_mended_by_clearing(
    airflow: LocalAirflow,
    site: Site,
    object_store: ObjectStore,
    copy_to: CopyTo,
    nothing_leaks: list[str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mail goes out with a warning, the run fails with the true reason; cleared, it goes on where it stood."""
    bucket = copy_to()
    good = object_store.login(*PUT_AND_GET)
    wrong = Login(good.key, "a-secret-that-is-wrong")
    monkeypatch.setenv(CONNECTION, object_store.connection(wrong))
    nothing_leaks.append(airflow.trigger())
    result = airflow.run(nothing_leaks[-1])
    assert (result.state, set(result.errors)) == ("failed", {COPY_TASK})
    assert (result.states[COPY_TASK], result.tries[COPY_TASK]) == ("failed", 1), "no waiting makes a key right"
    assert "Forbidden; check the rights there, and the login" in str(result.errors[COPY_TASK])
    assert result.states["email_attachment"] == "success"
    (mail,) = site.backup_mails
    assert "the second copy will fail: cannot write s3://" in " ".join(text_of(mail).split())
    alerts = [text_of(path) for path in site.mailbox.messages() if path != mail]
    assert "only its second copy is missing" in str(result.errors[COPY_TASK])
    assert any("Forbidden; check the rights" in " ".join(text.split()) and COPY_TASK in text for text in alerts)
    assert not any(wrong.secret in path.read_text() for path in site.mailbox.messages())
    assert (only_archive(site).is_file(), (site.backup_dir / LAST_SUCCESS_FILE).exists()) == (True, False)

    monkeypatch.setenv(CONNECTION, object_store.connection(good))
    airflow.clear(result.run_id, COPY_TASK, downstream=True)
    assert airflow.run(result.run_id).state == "success"
    assert archives_in(object_store.content(bucket)) == set(site.archives)
    assert len(site.backup_mails) == 1
    assert (site.backup_dir / LAST_SUCCESS_FILE).exists()


def test_server_that_is_down_is_tried_again_by_airflow(
    airflow: LocalAirflow, site: Site, object_store: ObjectStore, copy_to: CopyTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is made and mailed meanwhile; once the server is back, the same run succeeds."""
    copy_to()
    login = object_store.login(*PUT_AND_GET)
    monkeypatch.setenv(CONNECTION, object_store.connection(login, port=free_port()))
    waiting = airflow.run(airflow.trigger())
    assert waiting.states[COPY_TASK] == "up_for_retry"
    assert (len(site.archives), len(site.backup_mails)) == (1, 1)
    monkeypatch.setenv(CONNECTION, object_store.connection(login))
    result = airflow.run_through_retries(waiting.run_id, within_seconds=30)
    assert (result.state, result.tries[COPY_TASK] > 1) == ("success", True)


def test_folder_is_a_place_too_and_its_warning_stands_in_the_mail(
    airflow: LocalAirflow, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it lies on the same disk, which is said."""
    (tmp_path / "second").mkdir()
    monkeypatch.setenv("BACKUP_COPY_URL", f"file://{tmp_path}/second")
    airflow.load_dag()
    assert airflow.run(airflow.trigger()).state == "success"
    copied = {path.name: path.read_bytes() for path in (tmp_path / "second").glob("*.tar.gz")}
    assert copied == site.archives
    (mail,) = site.backup_mails
    assert "one disk takes both copies" in " ".join(text_of(mail).split())


def fill_with_old_copies(object_store: ObjectStore, bucket: str, folder: Path) -> set[str]:
    """Put ten copies of one night every fifty days into the bucket; return the names of their archives."""
    names = set()
    for age in range(50, 550, 50):
        archive, _ = make_archive(folder, taken=datetime.now(timezone.utc) - timedelta(days=age), size=10)
        for path in (archive, sidecar_path(archive)):
            object_store.client().upload_file(str(path), bucket, f"critical/{path.name}")
        names.add(archive.name)
    shutil.rmtree(folder)
    return names


@pytest.mark.parametrize(
    ("actions", "days", "left"),
    [(PUT_GET_AND_DELETE, "100", 7), (PUT_GET_AND_DELETE, "0", 11), (PUT_AND_GET, "100", 11)],
    ids=["removed", "left-to-the-bucket", "refused"],
)
def test_old_copies_expire_by_their_own_days(
    request: pytest.FixtureRequest, copy_to: CopyTo, tmp_path: Path, actions: tuple[str, ...], days: str, left: int
) -> None:
    """The newest seven stay however old; 0 removes nothing; a refusal is no failure."""
    airflow, site, object_store = map(request.getfixturevalue, ("airflow", "site", "object_store"))
    bucket = copy_to(*actions)
    before = fill_with_old_copies(object_store, bucket, tmp_path / "old")
    request.getfixturevalue("monkeypatch").setenv("BACKUP_COPY_RETENTION_DAYS", days)
    assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    assert archives_in(object_store.content(bucket)) == set(sorted(before | set(site.archives))[-left:])

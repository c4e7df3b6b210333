"""What the second copy is for: the backup host is gone, or somebody with bad intentions has taken it over."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.backup.archive_name import sidecar_path
from include.backup.manifest import Sidecar
from include.backup.second_copy import copy_archive
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample, write_sample_configuration
from include.operators.object_place import open_place
from tests.fix_copies import make_archive
from tests.fix_object_store import LOCK_DAYS, PUT_AND_GET, Login, ObjectStore
from tests.fix_pipeline import Pipeline, database_of, restore_by_hand, table_sha256

PREFIX = "critical/backups"


@pytest.fixture
def host(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Login:
    """What the backup host has: a login as the documentation recommends it, in an Airflow connection."""
    login = object_store.login(*PUT_AND_GET)
    monkeypatch.setenv("AIRFLOW_CONN_OFFSITE", object_store.connection(login))
    return login


@pytest.fixture
def pipeline(
    postgres_18: EmbeddedPostgres,
    make_pipeline: Callable[[str, str | None], Pipeline],
    new_database: Callable[[EmbeddedPostgres], str],
) -> Pipeline:
    """A pipeline for a small sample database."""
    conninfo = new_database(postgres_18)
    load_sample(conninfo, scale=0.05)
    pipeline = make_pipeline(conninfo, None)
    write_sample_configuration(pipeline.config_dir)
    return pipeline


def test_database_comes_back_from_the_copy_alone(
    object_store: ObjectStore, host: Login, postgres_18: EmbeddedPostgres, pipeline: Pipeline, tmp_path: Path
) -> None:
    """BACKUP_DIR is wiped; archive and manifest are fetched, compared and restored by the archive's instructions."""
    bucket = object_store.bucket(locked=True)
    archive, sidecar = pipeline.backup()
    copy_archive(archive, sidecar, open_place(f"s3://offsite@{bucket}/{PREFIX}"))
    shutil.rmtree(pipeline.backup_dir)

    (tmp_path / "fetched").mkdir()
    fetched = tmp_path / "fetched" / archive.name
    for path in (fetched, sidecar_path(fetched)):  # what `aws s3 cp` does
        object_store.client(login=host).download_file(bucket, f"{PREFIX}/{path.name}", str(path))
    manifest = json.loads(sidecar_path(fetched).read_bytes())
    assert manifest["archive_sha256"] == hashlib.sha256(fetched.read_bytes()).hexdigest()
    result = restore_by_hand(fetched, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr
    restored = database_of(postgres_18.conninfo(f"{pipeline.database.name}_restored"))
    for record in sidecar.tables:
        assert table_sha256(restored, record.copy_out_statement) == record.sha256, record.name


def refusal(do: Callable[..., Any], **arguments: Any) -> str:
    """Return the code with which the server refuses."""
    with pytest.raises(ClientError) as caught:
        do(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture
def attacked(object_store: ObjectStore, host: Login, tmp_path: Path) -> tuple[str, Path, Sidecar, dict[str, str]]:
    """A locked bucket with a copy in it: its name, the archive, and the version of each object."""
    bucket = object_store.bucket(locked=True)
    archive, sidecar = make_archive(tmp_path / "backups")
    copy_archive(archive, sidecar, open_place(f"s3://offsite@{bucket}/{PREFIX}"))
    versions = object_store.client().list_object_versions(Bucket=bucket)["Versions"]
    return bucket, archive, sidecar, {version["Key"]: version["VersionId"] for version in versions}


def test_who_takes_over_the_backup_host_cannot_remove_a_copy(
    object_store: ObjectStore, host: Login, attacked: tuple[str, Path, Sidecar, dict[str, str]]
) -> None:
    """Neither the object, nor a version of it, nor the bucket's rules, with the host's login."""
    bucket, _, _, versions = attacked
    attacker = object_store.client(login=host)
    for key, version in versions.items():
        this = {"Bucket": bucket, "Key": key}
        assert refusal(attacker.delete_object, **this) == "AccessDenied"
        assert refusal(attacker.delete_object, **this, VersionId=version) == "AccessDenied"
    suspended = {"Status": "Suspended"}
    assert refusal(attacker.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=suspended) == "AccessDenied"
    assert refusal(attacker.delete_bucket, Bucket=bucket) == "AccessDenied"


def test_not_even_the_owner_removes_a_locked_version(
    object_store: ObjectStore, attacked: tuple[str, Path, Sidecar, dict[str, str]]
) -> None:
    """In compliance mode the lock holds against every right, for as long as the bucket says."""
    bucket, archive, _, versions = attacked
    owner = object_store.client()
    for key, version in versions.items():
        this = {"Bucket": bucket, "Key": key, "VersionId": version}
        assert refusal(owner.delete_object, **this) == "AccessDenied"
        assert refusal(owner.delete_object, **this, BypassGovernanceRetention=True) == "AccessDenied"
    head = owner.head_object(Bucket=bucket, Key=f"{PREFIX}/{archive.name}")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    left = head["ObjectLockRetainUntilDate"] - datetime.now(timezone.utc)
    assert timedelta(days=LOCK_DAYS - 1) < left <= timedelta(days=LOCK_DAYS)


@pytest.mark.parametrize("harm", ["overwritten", "deleted"])
def test_overwritten_or_deleted_copy_is_fetched_as_it_was(
    object_store: ObjectStore, attacked: tuple[str, Path, Sidecar, dict[str, str]], harm: str
) -> None:
    """The first version is still there, under its number, whatever was put over it."""
    bucket, archive, sidecar, versions = attacked
    owner, this = object_store.client(), {"Bucket": bucket, "Key": f"{PREFIX}/{archive.name}"}
    if harm == "overwritten":
        owner.put_object(**this, Body=b"pay 5 bitcoin")
        assert owner.get_object(**this)["Body"].read() == b"pay 5 bitcoin"
    else:
        assert owner.delete_object(**this)["DeleteMarker"]
        assert refusal(owner.get_object, **this) == "NoSuchKey"
    first = owner.get_object(**this, VersionId=versions[this["Key"]])["Body"].read()
    assert hashlib.sha256(first).hexdigest() == sidecar.archive_sha256


def test_encrypted_archives_of_the_host_do_not_replace_the_copies(
    object_store: ObjectStore, host: Login, attacked: tuple[str, Path, Sidecar, dict[str, str]]
) -> None:
    """A run over a BACKUP_DIR in which everything was encrypted copies nothing over a good copy."""
    bucket, archive, sidecar, _ = attacked
    archive.write_bytes(b"encrypted by somebody else")
    with contextlib.suppress(Exception):
        copy_archive(archive, sidecar, open_place(f"s3://offsite@{bucket}/{PREFIX}"))
    content = object_store.content(bucket)[f"{PREFIX}/{archive.name}"]
    assert hashlib.sha256(content).hexdigest() == sidecar.archive_sha256

"""What is known of the place of second copies before work starts: warnings, quickly, and never an error."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from include.backup.settings import Settings, load_settings
from include.operators import copy_steps
from tests.fix_object_store import PUT_AND_GET, ObjectStore

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - another file system than that of tmp_path


def settings_with(monkeypatch: pytest.MonkeyPatch, backup_dir: Path, url: str | None) -> Settings:
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(backup_dir))
    monkeypatch.setenv("BACKUP_COPY_URL", url or "")
    return load_settings()


def test_no_second_copy_wanted_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not want one hears nothing of it."""
    assert copy_steps.copy_warnings(settings_with(monkeypatch, tmp_path, None)) == []


def test_folder_on_the_same_disk_is_a_warning_and_on_another_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One disk takes both copies with it."""
    (tmp_path / "backups").mkdir()
    same = settings_with(monkeypatch, tmp_path / "backups", f"file://{tmp_path}")
    (warning,) = copy_steps.copy_warnings(same)
    assert "one disk takes both copies" in warning
    other = settings_with(monkeypatch, tmp_path, f"file://{SHARED_MEMORY}")
    assert SHARED_MEMORY.stat().st_dev != tmp_path.stat().st_dev
    assert copy_steps.copy_warnings(other) == []


def test_good_object_store_is_no_warning(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that may remove nothing is enough."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOD_STORE", object_store.connection(object_store.login(*PUT_AND_GET)))
    settings = settings_with(monkeypatch, tmp_path, f"s3://good_store@{object_store.bucket()}/backups")
    assert copy_steps.copy_warnings(settings) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///nowhere/second", "No such file or directory"),
        ("gs://bucket/backups", "install apache-airflow-providers-google"),
        ("s3://nobody@bucket/backups", "Airflow has no connection nobody"),
    ],
)
def test_place_that_cannot_work_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    """It stands in the mail; the archive is made all the same."""
    (warning,) = copy_steps.copy_warnings(settings_with(monkeypatch, tmp_path, url))
    assert warning.startswith("the second copy will fail: ")
    assert words in warning
    assert "\n" not in warning


def test_server_that_says_nothing_holds_nothing_up(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries would wait for minutes, and the backup with them."""
    monkeypatch.setattr(copy_steps, "CHECK_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("AIRFLOW_CONN_MUTE", object_store.connection(object_store.owner, port=mute.getsockname()[1]))
        began = time.monotonic()
        (warning,) = copy_steps.copy_warnings(settings_with(monkeypatch, tmp_path, "s3://mute@bucket/backups"))
    assert "s3://bucket/backups gave no answer within 1 seconds" in warning
    assert time.monotonic() - began < 10

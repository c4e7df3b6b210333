"""What a step knows of its run, and what becomes of its errors."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRun, DagRunState, DagRunType
from airflow.sdk.exceptions import AirflowFailException

from include.backup.errors import (
    BackupError,
    DeliveryError,
    MissingStepError,
    PrerequisiteError,
    ScopeError,
    SettingsError,
    TemporaryError,
    VerificationError,
)
from include.operators.task import BackupTask, errors_for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

SLOT = datetime(2026, 3, 31, 19, 0, tzinfo=timezone.utc)
STARTED = datetime(2026, 4, 2, 8, 15, 30, tzinfo=timezone.utc)


def make_context(
    run_type: DagRunType, *, logical_date: datetime | None, run_after: datetime = STARTED, **params: object
) -> Context:
    """Return the part of Airflow's context that a step reads, with Airflow's own class for the run."""
    dag_run = DagRun(
        dag_id="critical_backup",
        run_id=f"{run_type.value}__x",
        logical_date=logical_date,
        data_interval_start=logical_date,
        data_interval_end=logical_date,
        run_after=run_after,
        start_date=run_after,
        end_date=None,
        partition_key=None,
        run_type=run_type,
        state=DagRunState.RUNNING,
        consumed_asset_events=[],
    )
    context: Any = {"dag_run": dag_run, "params": params}
    return context  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("run_type", "logical_date", "kind", "stands_for"),
    [
        (DagRunType.SCHEDULED, SLOT, "scheduled", SLOT),
        (DagRunType.BACKFILL, SLOT, "backfill", SLOT),
        (DagRunType.MANUAL, None, "manual", STARTED),
        (DagRunType.MANUAL, SLOT, "manual", SLOT),
        (DagRunType.ASSET_TRIGGERED, None, "manual", STARTED),
    ],
)
def test_run_of_each_type_has_its_kind_and_the_moment_it_stands_for(
    run_type: DagRunType, logical_date: datetime | None, kind: str, stands_for: datetime
) -> None:
    """The slot where there is one, otherwise the start of the run."""
    run = BackupTask(make_context(run_type, logical_date=logical_date)).run
    assert (run.kind, run.stands_for) == (kind, stands_for)


def test_run_with_a_future_logical_date_stands_for_now() -> None:
    """A date in the future would move the cut-off forward and lose rows."""
    future = datetime.now(timezone.utc) + timedelta(days=400)
    before = datetime.now(timezone.utc)
    stands_for = BackupTask(make_context(DagRunType.MANUAL, logical_date=future, run_after=future)).run.stands_for
    assert before <= stands_for <= datetime.now(timezone.utc)


def test_stands_for_is_utc_whatever_zone_airflow_hands_over() -> None:
    """The manifest's times are UTC."""
    local = SLOT.astimezone(timezone(timedelta(hours=7)))
    stands_for = BackupTask(make_context(DagRunType.SCHEDULED, logical_date=local)).run.stands_for
    assert (stands_for, stands_for.utcoffset()) == (SLOT, timedelta(0))


def test_reason_of_the_run_is_what_the_person_wrote() -> None:
    """Without one it is empty, never None."""
    assert BackupTask(make_context(DagRunType.MANUAL, logical_date=None, reason="before the upgrade")).run.reason == (
        "before the upgrade"
    )
    assert BackupTask(make_context(DagRunType.SCHEDULED, logical_date=SLOT)).run.reason == ""


def test_cut_off_is_midnight_in_the_backup_time_zone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """19:00 UTC is already the next day in Bangkok: 1 April, and three months before it 1 January there."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Asia/Bangkok")
    step = BackupTask(make_context(DagRunType.SCHEDULED, logical_date=SLOT))
    assert step.cut_off(3) == datetime(2025, 12, 31, 17, 0, tzinfo=timezone.utc)


def test_missing_workspace_names_the_task_to_clear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that succeeded has removed it."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    with pytest.raises(MissingStepError, match="clear create_workspace together with everything downstream"):
        _ = BackupTask(make_context(DagRunType.SCHEDULED, logical_date=SLOT)).workspace


def test_archive_of_another_run_is_not_this_runs_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, or one with files that are no archives of this run, gives one clear sentence."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    (tmp_path / "critical_backup_20260101_020000.tar.gz").write_bytes(b"without a manifest")
    with pytest.raises(MissingStepError, match=r"scheduled__x has no archive in .*: clear create_workspace"):
        BackupTask(make_context(DagRunType.SCHEDULED, logical_date=SLOT)).published_archive()


def test_temporary_error_is_left_to_airflows_retries() -> None:
    """Trying again can help, so the error passes as it is."""
    error = TemporaryError("the server is starting")
    with pytest.raises(TemporaryError) as raised, errors_for_airflow():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "kind",
    [BackupError, DeliveryError, MissingStepError, PrerequisiteError, ScopeError, SettingsError, VerificationError],
)
def test_permanent_error_fails_the_task_at_once_with_the_same_words(kind: type[BackupError]) -> None:
    """No waiting mends it."""
    with pytest.raises(AirflowFailException, match=r"^what was seen, what was expected$"), errors_for_airflow():
        raise kind("what was seen, what was expected")


def test_full_disk_fails_the_task_at_once() -> None:
    """/dev/full gives a real ENOSPC."""
    with (
        pytest.raises(AirflowFailException, match=r"No space left on device.*make room"),
        errors_for_airflow(),
        open("/dev/full", "wb", buffering=0) as device,  # noqa: PTH123
    ):
        device.write(b"x")


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_disk_that_refuses_fails_the_task_at_once_naming_the_file(number: int) -> None:
    """A quota is told like a full disk."""
    with (
        pytest.raises(AirflowFailException, match=rf"^{os.strerror(number)}: /backups; make room"),
        errors_for_airflow(),
    ):
        raise OSError(number, os.strerror(number), "/backups")


def test_path_below_a_file_fails_the_task_at_once_and_is_named(tmp_path: Path) -> None:
    """A wrong path does not become right by waiting."""
    (tmp_path / "file").touch()
    with pytest.raises(AirflowFailException, match=rf"Not a directory: {tmp_path}/file/folder"), errors_for_airflow():
        (tmp_path / "file" / "folder").mkdir()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_other_errors_of_the_operating_system_are_retried(number: int) -> None:
    """A network file system that stumbled may come back."""
    with pytest.raises(OSError, match=os.strerror(number)) as raised, errors_for_airflow():
        raise OSError(number, os.strerror(number), "/backups")
    assert not isinstance(raised.value, AirflowFailException)


def test_no_error_passes_silently() -> None:
    """Nothing is raised where nothing was."""
    with errors_for_airflow():
        done = True
    assert done

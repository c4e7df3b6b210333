"""What is told of checkpoints: that they fail, that the newest is too old; not what is nothing among so many."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from include.backup.backup_id import Backup
from include.backup.status import LAST_SUCCESS_FILE
from tests.dags.test_fleet import mails, unpause
from tests.fix_archives import publish_archive
from tests.fix_checkpoints import CheckpointSite
from tests.fix_watch import Watch, succeed

UTC = timezone.utc


def test_checkpoints_that_fail_are_told_once_and_once_when_they_work_again(
    checkpoints: CheckpointSite, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not 144 times a day, and not once more by the watch for what follows from it."""
    forget(watch)
    unpause("critical_backup_checkpoints")
    succeed(watch.site, 1)
    checkpoints.folder.mkdir(mode=0o700)
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_SMART_AI_HUB", '{"conn_type": "postgres"}')
        for _ in range(3):
            result = checkpoints.run()
            assert result.tasks("failed") == {"check_prerequisites"}
            callback = checkpoints.airflow.parse().dags["critical_backup_checkpoints"].on_failure_callback
            assert callable(callback)
            callback(checkpoints.airflow.end_of_run(result.run_id, "task_failure"))
    (mail,) = mails(checkpoints.site)
    assert mail.subject.strip() == "[checkpoints] critical_backup_checkpoints FAILED in check_prerequisites"
    (checkpoints.folder / LAST_SUCCESS_FILE).write_text((datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert watch.subjects() == []
    for _ in range(2):
        assert checkpoints.airflow.run(checkpoints.airflow.trigger()).state == "success"
    assert [mail.subject.strip() for mail in mails(checkpoints.site)][1:] == [
        "[checkpoints] critical_backup_checkpoints works again"
    ]
    assert watch.subjects() == []


def test_stale_checkpoints_are_told_in_minutes_once_and_once_when_it_is_over(
    checkpoints: CheckpointSite, watch: Watch
) -> None:
    """By their own limit; the nightly backup, an hour old, is as it should be."""
    forget(watch)
    unpause("critical_backup_checkpoints")
    succeed(watch.site, 1)
    checkpoints.folder.mkdir(mode=0o700)
    success = checkpoints.folder / LAST_SUCCESS_FILE
    success.write_text((datetime.now(UTC) - timedelta(minutes=29)).isoformat())
    assert watch.subjects() == []
    success.write_text((datetime.now(UTC) - timedelta(minutes=45)).isoformat())
    (mail,) = watch.look()
    assert mail.subject == "[checkpoints] No checkpoint for 45 minutes"
    assert "within 30 minutes (BACKUP_CHECKPOINT_MAX_AGE_MINUTES)" in mail.text
    assert "Open critical_backup_checkpoints in Airflow" in mail.text
    assert watch.look() == []
    success.write_text(datetime.now(UTC).isoformat())
    assert watch.subjects() == ["[checkpoints] Checkpoints succeed again"]


def test_no_slot_of_checkpoints_is_missed_and_no_size_is_odd(checkpoints: CheckpointSite, watch: Watch) -> None:
    """Some are left out, and the nightly mail tells of sizes; an archive that is gone is told as ever."""
    forget(watch)
    unpause("critical_backup_checkpoints")
    succeed(watch.site, 1)
    checkpoints.folder.mkdir(mode=0o700)
    now = datetime.now(UTC)
    made = [publish_archive(checkpoints.folder, hours_old=hours / 4, now=now, size=size) for hours, size in
            ((20, 2 << 20), (16, 2 << 20), (12, 2 << 20), (8, 2 << 20), (4, 2 << 20), (0.5, 1))]  # fmt: skip
    assert watch.look() == []
    made[2].unlink()
    assert [subject.strip() for subject in watch.subjects()] == [
        f"[checkpoints] {made[2].name} is gone before its time"
    ]


def forget(watch: Watch) -> None:
    """Let the watch remember nothing of checkpoints."""
    watch.airflow.api.delete(f"{watch._address}_{Backup().checkpoints.id}")

"""Who has told of a failed run: the task itself, or nobody yet."""

from __future__ import annotations

from pathlib import Path

from include.backup.incident import mark_alerted, take_alerted


def test_alert_of_a_task_counts_for_its_own_run_and_once(tmp_path: Path) -> None:
    """A run that is cleared and fails anew has told nothing yet; another run or DAG never has."""
    mark_alerted(tmp_path, "critical_backup", "run 1")
    assert not take_alerted(tmp_path, "critical_backup", "run 2")
    assert not take_alerted(tmp_path, "restore_drill", "run 1")
    assert take_alerted(tmp_path, "critical_backup", "run 1")
    assert not take_alerted(tmp_path, "critical_backup", "run 1")

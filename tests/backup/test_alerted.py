"""Which failures were told."""

from __future__ import annotations

from pathlib import Path

from include.backup.alerted import MAX_FAILURES, Failure, mark_alerted, run_was_alerted, was_alerted

TOLD = Failure("critical_backup", "manual__1", "export_database", 4)


def test_alert_counts_for_its_own_try_alone(tmp_path: Path) -> None:
    """A task that is cleared and fails anew has told nothing yet; another task, run or DAG never has."""
    mark_alerted(tmp_path, TOLD)
    assert was_alerted(tmp_path, TOLD)
    others = ({"try_number": 5}, {"task_id": "create_workspace"}, {"run_id": "manual__"}, {"dag_id": "restore_drill"})
    assert not any(was_alerted(tmp_path, TOLD._replace(**other)) for other in others)
    assert not was_alerted(tmp_path, Failure(TOLD.dag_id, TOLD.run_id)), "the run as a whole is another failure"


def test_run_was_alerted_by_any_of_its_failures(tmp_path: Path) -> None:
    """Also by one of the whole run; never by those of another run whose id begins in the same way."""
    mark_alerted(tmp_path, TOLD)
    mark_alerted(tmp_path, Failure("critical_backup", "manual__2"))
    told = [
        run
        for run in ("manual__1", "manual__2", "manual__", "manual__11")
        if run_was_alerted(tmp_path, "critical_backup", run)
    ]
    assert told == ["manual__1", "manual__2"]


def test_old_failures_are_forgotten_and_a_broken_file_is_no_error(tmp_path: Path) -> None:
    """The file does not grow for ever; whatever is in it, the next failure can be told."""
    for number in range(MAX_FAILURES + 1):
        mark_alerted(tmp_path, TOLD._replace(try_number=number))
    assert not was_alerted(tmp_path, TOLD._replace(try_number=0))
    assert was_alerted(tmp_path, TOLD._replace(try_number=MAX_FAILURES))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff\n\n")
    assert not run_was_alerted(tmp_path, TOLD.dag_id, TOLD.run_id)
    mark_alerted(tmp_path, TOLD)
    assert was_alerted(tmp_path, TOLD)

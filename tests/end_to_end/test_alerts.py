"""
Alerts of a real Airflow: its processes are killed, or cannot read a DAG, and the mailbox is read.

The tests share one Airflow and run in the order of this file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.end_to_end.running_airflow import RunningAirflow, daily, start_airflow

DAG, WATCH = "critical_backup", "backup_watch"
TABLE, HELD_UP = "users", "check_prerequisites"  # the first task that waits for whoever has locked the table
EXPORT = "export_database"
BOTH = "admin1@example.com, admin2@example.com"
KILLED = f"{DAG} FAILED in {HELD_UP}"
NO_DAG = f"{DAG} cannot be imported"
OVER = f"{DAG} works again"
DAG_AGAIN = f"{DAG} can be imported again"


NEVER_NOW = daily(datetime.now(timezone.utc) + timedelta(hours=12))


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """An Airflow with short settings; critical_backup has no slot while the tests run."""
    settings = {
        **NEVER_NOW,
        "BACKUP_TIMEZONE": "UTC",
        "BACKUP_RETRY_DELAY_SECONDS": "1",
        "BACKUP_MIN_SIZE_MB": "0",
    }
    with start_airflow(tmp_path_factory.mktemp("alerts"), {**os.environ, **settings}) as running:
        for dag_id in (DAG, WATCH):
            running.api.unpause(dag_id)
        yield running


def test_task_killed_in_every_try_is_mailed_though_its_process_cannot(airflow: RunningAirflow) -> None:
    """SIGKILL for each of its four tries: the mail names task, run and try, and says that nobody knows the reason."""
    with airflow.locked(TABLE):
        run_id = airflow.api.trigger(DAG, note="each try is killed")
        for number in range(1, 5):
            os.kill(airflow.process_of(DAG, run_id, HELD_UP, try_number=number), signal.SIGKILL)
        mail = airflow.wait_for_mail(KILLED, seconds=90)
        assert airflow.wait_for_end(DAG, run_id, seconds=60) == "failed"
    assert mail.recipients == BOTH
    assert "it was killed" in mail.text
    assert run_id in mail.text
    assert "4 of 4" in mail.text


def test_worker_lost_at_the_last_try_is_mailed_once(airflow: RunningAirflow) -> None:
    """Nobody is left to say why: Airflow notices that the heartbeat is missing, and says so in two places."""
    with airflow.locked(TABLE):
        run_id = airflow.api.trigger(DAG, note="the worker of the last try is lost")
        for number in range(1, 4):
            os.kill(airflow.process_of(DAG, run_id, HELD_UP, try_number=number), signal.SIGKILL)
        lose_worker(airflow.process_of(DAG, run_id, HELD_UP, try_number=4))
        mail = airflow.wait_for(lambda: airflow.mails(KILLED)[1:], "mail of the lost worker", seconds=120)[0]
        assert airflow.wait_for_end(DAG, run_id, seconds=60) == "failed"
    assert mail.recipients == BOTH
    assert "its worker was lost" in mail.text
    assert run_id in mail.text
    assert "4 of 4" in mail.text
    assert f"/runs/{quote(run_id)}/tasks/{HELD_UP}?try_number=4" in mail.text
    assert "clear the task" in " ".join(mail.text.split())


def test_worker_lost_with_tries_left_is_not_mailed_and_the_retry_succeeds(airflow: RunningAirflow) -> None:
    """The next try does what the lost one could not; what is mailed is the backup, and that it is over."""
    with airflow.locked(TABLE):
        run_id = airflow.api.trigger(DAG, note="a worker is lost")
        lose_worker(airflow.process_of(DAG, run_id, HELD_UP, try_number=1))
        airflow.process_of(DAG, run_id, HELD_UP, try_number=2, seconds=120)
    assert airflow.wait_for_end(DAG, run_id, seconds=120) == "success"
    assert airflow.task(DAG, run_id, HELD_UP)["try_number"] == 2
    assert len(airflow.mails("Backup")) == 1


def test_servers_killed_one_after_the_other_lose_no_run(airflow: RunningAirflow) -> None:
    """Each program of Airflow with its children, and its database: the run ends well, or is told once and cleared."""
    before = len(airflow.mails(""))
    run_id = airflow.api.trigger(DAG, note="every server is killed")
    checked = lambda: airflow.task(DAG, run_id, HELD_UP)["state"] == "success"  # noqa: E731
    airflow.wait_for(checked, "end of the checks", seconds=60)
    with airflow.locked(TABLE):
        airflow.process_of(DAG, run_id, EXPORT, try_number=1)
        airflow.kill("scheduler")
    for name in ("dag-processor", "triggerer", "api-server"):
        airflow.kill(name)
    airflow.crash_metadata_database()
    if airflow.wait_for_end_of_revived(DAG, run_id, seconds=240) == "failed":
        (alert,) = airflow.mails("")[before:]
        assert alert.subject.startswith(f"{DAG} FAILED in ")
        before += 1
        airflow.clear_failed(DAG, run_id)
        assert airflow.wait_for_end_of_revived(DAG, run_id, seconds=120) == "success"
    mails = [mail.subject for mail in airflow.mails("")[before:] if mail.subject != OVER]
    assert len(mails) == 1
    assert mails[0].startswith("Backup")


def test_dag_that_cannot_be_imported_is_mailed_once_and_once_when_it_is_over(airflow: RunningAirflow) -> None:
    """A wrong BACKUP_SCHEDULE takes critical_backup away; the watch, which is left, names the setting."""
    airflow.restart(DAG, {"BACKUP_SCHEDULE": "every night"})
    assert airflow.api.import_error(DAG, datetime.min.replace(tzinfo=timezone.utc))
    look_at_backups(airflow)
    (mail,) = airflow.mails(NO_DAG)
    assert mail.recipients == BOTH
    assert "BACKUP_SCHEDULE" in mail.text
    assert "every night" in mail.text
    look_at_backups(airflow)
    assert airflow.mails(NO_DAG) == [mail]
    airflow.restart(DAG, NEVER_NOW)
    look_at_backups(airflow)
    assert len(airflow.mails(DAG_AGAIN)) == 1


def test_nothing_else_is_mailed_and_nothing_twice(airflow: RunningAirflow) -> None:
    """All mails of the tests above, in their order, but for what the killing of all servers has brought."""
    subjects = [mail.subject for mail in airflow.mails("")]
    assert subjects[2].startswith("Backup")
    assert subjects[:4] == [KILLED, KILLED, subjects[2], OVER]
    assert subjects[-2:] == [NO_DAG, DAG_AGAIN]


def lose_worker(process: int) -> None:
    """Kill a task's process together with its supervisor: the worker of the LocalExecutor that runs it."""
    supervisor = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"LocalExecutor" in Path(f"/proc/{supervisor}/cmdline").read_bytes()
    for pid in (supervisor, process):
        os.kill(pid, signal.SIGKILL)


def look_at_backups(airflow: RunningAirflow) -> None:
    """Let the watch look once."""
    run_id = airflow.api.trigger(WATCH, note="by hand")
    assert airflow.wait_for_end(WATCH, run_id, seconds=90) == "success"

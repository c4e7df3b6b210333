"""
Two Celery workers with folders of their own and only BACKUP_DIR in common: steps on both, one lost, and what is sent.

The tests share one Airflow and run in the order of this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from include.backup.database import APPLICATION_NAME
from include.backup.manifest import readable_archives
from include.backup.run import WORKSPACES
from include.backup.verify_published import verify_published
from include.demo.databases import SAMPLE_DATABASE
from tests.end_to_end.broker_record import BrokerRecord, recorded
from tests.end_to_end.celery_workers import CeleryAirflow, start_celery_airflow
from tests.end_to_end.running_airflow import daily
from tests.fix_redis import RedisServer

DAG = "critical_backup"
CHECKS, EXPORT = "check_prerequisites", "export_database"
NOT_RUN = {"email_link"}  # the branch that a small archive does not take
READ_BY_CHECKS, READ_BY_PG_DUMP = "users", "sessions"  # the second is not in the scope

# pg_dump is killed with its machine and cannot cancel: the server lets it wait for its lock, a minute at most.
WAITING = "wait_event_type = 'Lock'"
BUSY = "wait_event_type IS DISTINCT FROM 'Lock'"


@pytest.fixture(scope="module")
def said(redis: RedisServer) -> Iterator[BrokerRecord]:
    """All that the broker is sent in this file."""
    with recorded(redis) as record:
        yield record


@pytest.fixture(scope="module")
def celery(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, said: BrokerRecord) -> Iterator[CeleryAirflow]:
    """Airflow with two workers; critical_backup has no slot while the tests run."""
    settings = {
        **daily(datetime.now(timezone.utc) + timedelta(hours=12)),
        "BACKUP_TIMEZONE": "UTC",
        "BACKUP_RETRY_DELAY_SECONDS": "1",
        "BACKUP_MIN_SIZE_MB": "0",
    }
    with start_celery_airflow(tmp_path_factory.mktemp("celery"), {**os.environ, **settings}, redis) as celery:
        celery.airflow.api.unpause(DAG)
        yield celery


def test_steps_of_one_run_on_two_workers_make_one_verified_archive(celery: CeleryAirflow) -> None:
    """The rows leave the database on one machine; every other step, before and after, runs on the other."""
    airflow = celery.airflow
    celery.give_to(celery.first)
    with airflow.other_export():
        with airflow.locked(READ_BY_CHECKS):
            run_id = airflow.api.trigger(DAG, note="on two machines")
            airflow.process_of(DAG, run_id, CHECKS, try_number=1)
            celery.give_to(celery.second)
        airflow.process_of(DAG, run_id, EXPORT, try_number=1)
        celery.give_to(celery.first)
    assert airflow.wait_for_end(DAG, run_id, seconds=180) == "success"
    assert celery.second.tasks(DAG, run_id) == {EXPORT}
    assert celery.first.tasks(DAG, run_id) == set(airflow.api.task_order(DAG)) - {EXPORT} - NOT_RUN
    assert_one_archive(celery, run_id)
    assert len(airflow.mails("Backup")) == 1
    # Of many runs, those that are furthest get the next slot.
    weights = [airflow.task(DAG, run_id, task_id)["priority_weight"] for task_id in airflow.api.task_order(DAG)]
    assert weights[:2] == [1, 2]
    assert weights == sorted(weights)


def test_worker_lost_in_the_middle_of_the_export_is_made_up_for_by_the_other(celery: CeleryAirflow) -> None:
    """Killed with all its children while pg_dump waits: the server is free of it, and the other one tries again."""
    airflow = celery.airflow
    celery.give_to(celery.first)
    with ExitStack() as stack:
        with airflow.other_export():
            run_id = airflow.api.trigger(DAG, note="a machine is lost")
            airflow.process_of(DAG, run_id, EXPORT, try_number=1)
            stack.enter_context(airflow.locked(READ_BY_PG_DUMP))
        airflow.wait_for(lambda: sessions(airflow.database, WAITING), "wait of pg_dump", seconds=60)
        (workspace,) = (airflow.folder.backups / WORKSPACES).iterdir()
        airflow.wait_for(lambda: list(workspace.rglob("*.gz")), "rows on the disk", seconds=30)
        celery.first.kill()
        airflow.wait_for(lambda: not sessions(airflow.database, BUSY), "end of the snapshot", seconds=15)
    airflow.wait_for(lambda: not sessions(airflow.database, "true"), "end of the sessions", seconds=15)
    celery.give_to(celery.second)
    assert airflow.wait_for_end(DAG, run_id, seconds=240) == "success"
    assert airflow.task(DAG, run_id, EXPORT)["try_number"] == 2
    assert EXPORT in celery.first.tasks(DAG, run_id) & celery.second.tasks(DAG, run_id)
    assert_one_archive(celery, run_id)
    assert [mail.subject.partition(" ")[0] for mail in airflow.mails("")] == ["Backup", "Backup"]


def test_broker_and_its_results_are_told_no_secret(celery: CeleryAirflow, said: BrokerRecord) -> None:
    """Every message of the two runs, unpacked, and every result: task and run are in them, passwords and keys not."""
    airflow = celery.airflow
    with psycopg.connect(airflow.metadata) as session:
        results = session.execute("SELECT encode(result, 'escape'), t::text FROM celery_taskmeta t").fetchall()
    assert results
    for expected in ("execute_workload", EXPORT, "remove_workspace"):
        assert expected in said.text
    environment = airflow.servers.airflow.environment
    secrets = asdict(airflow.folder.secrets()) | {
        name: environment[name] for name in ("POSTGRES_PASSWORD", "SMTP_PASS", "AIRFLOW_CONN_SMART_AI_HUB")
    }
    leaked = [name for name, secret in secrets.items() if secret in said.text or secret in str(results)]
    assert leaked == []


def sessions(conninfo: str, condition: str) -> int:
    """Return how many sessions the product has in the sample database."""
    with psycopg.connect(conninfo) as session:
        query = (
            f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}' "
            f"AND datname = '{SAMPLE_DATABASE}' AND {condition}"
        )
        row = session.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def assert_one_archive(celery: CeleryAirflow, run_id: str) -> None:
    """The run has made one archive that is as its manifest says; nothing unfinished lies about."""
    folder = celery.airflow.folder.backups
    own = [pair for pair in readable_archives(folder) if pair[1].run.run_id == run_id]
    assert len(own) == 1
    rows = verify_published(*own[0], [])
    assert rows
    assert list((folder / WORKSPACES).iterdir()) == []
    assert unfinished(folder) == []


def unfinished(folder: Path) -> list[Path]:
    """Return what has a name that is not final."""
    return [path for path in folder.rglob("*") if path.suffix in (".partial", ".new")]

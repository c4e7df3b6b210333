"""A task that Airflow kills ends its child processes and cancels its queries."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from psycopg.conninfo import conninfo_to_dict

from include.backup.database import APPLICATION_NAME
from include.backup.errors import TemporaryError
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample
from include.operators.backup import BackupOperator
from include.operators.connection_variables import connection_variables
from tests.operators.test_task import make_context


def sessions(conninfo: str, condition: str) -> int:
    with psycopg.connect(conninfo) as session:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}' AND {condition}"
        row = session.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def test_killed_export_leaves_no_session_and_no_process(
    postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """on_kill ends an export that waits for a lock within seconds; the server has none of its sessions left."""
    conninfo = postgres_18.create_database("killed")
    load_sample(conninfo, scale=0.01)
    values = conninfo_to_dict(conninfo)
    variables = {
        "POSTGRES_HOST": str(values["host"]),
        "POSTGRES_PORT": str(values["port"]),
        "POSTGRES_DB": "killed",
        "POSTGRES_USER": str(values["user"]),
        "POSTGRES_PASSWORD": str(values["password"]),
    }
    settings = {"ADMIN_EMAILS": "admin@example.com", "BACKUP_DIR": str(tmp_path), "BACKUP_CONFIG_DIR": str(tmp_path)}
    for name, value in (variables | settings | connection_variables(variables)).items():
        monkeypatch.setenv(name, value)
    context = make_context(DagRunType.MANUAL, logical_date=None)
    BackupOperator(task_id="create_workspace").execute(context)
    operator = BackupOperator(task_id="export_database")
    with psycopg.connect(conninfo) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")  # not in scope: only pg_dump waits for it
        running = pool.submit(operator.execute, context)
        deadline = time.monotonic() + 30
        while not sessions(conninfo, "wait_event_type = 'Lock' AND datname = 'killed'"):
            assert time.monotonic() < deadline, running
            time.sleep(0.05)
        operator.on_kill()
        with pytest.raises(TemporaryError, match="cancelled"):
            running.result(timeout=15)
    deadline = time.monotonic() + 10
    while sessions(conninfo, "datname = 'killed'"):
        assert time.monotonic() < deadline
        time.sleep(0.05)

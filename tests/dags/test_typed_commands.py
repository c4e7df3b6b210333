"""Airflow's own commands that the documents tell an administrator to type, typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fix_airflow import LocalAirflow, Site
from tests.fix_documents import REPOSITORY, shell_block, type_in


@pytest.fixture
def programs() -> dict[str, str]:
    """Where `airflow` and `python` are found."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def pools(airflow: LocalAirflow) -> Iterator[LocalAirflow]:
    """Airflow, whose pools are as before after the test."""
    yield airflow
    airflow.api.delete("/api/v2/pools/server_1")


def paused(airflow: LocalAirflow, dag_id: str) -> bool:
    """Return whether Airflow starts no runs of it."""
    return bool(airflow.api.get(f"/api/v2/dags/{dag_id}").json()["is_paused"])


def test_dags_are_unpaused_paused_and_triggered(
    airflow: LocalAirflow, site: Site, programs: dict[str, str], tmp_path: Path
) -> None:
    """As the lists of deployment and rollback have it."""
    dags = ("critical_backup", "restore_drill", "restore_backup", "backup_watch")
    before = {dag: paused(airflow, dag) for dag in dags}
    pause = shell_block("docs/BACKUP_OPERATIONS.md", "dags pause")
    unpause = shell_block("docs/BACKUP_OPERATIONS.md", "dags unpause")
    for block, expected in ((pause, True), (unpause, False)):
        for dag in dags:
            airflow.api.patch(f"/api/v2/dags/{dag}", json={"is_paused": not expected})
        done = type_in(block, tmp_path, programs)
        assert done.returncode == 0, done.stderr
        assert [paused(airflow, dag) for dag in dags] == [expected, *[False] * 3]
    done = type_in(shell_block("docs/BACKUP_OPERATIONS.md", "dags trigger"), tmp_path, programs)
    assert done.returncode == 0, done.stderr
    runs = airflow.api.get("/api/v2/dags/critical_backup/dagRuns", params={"order_by": "-id", "limit": 1}).json()
    (run,) = runs["dag_runs"]
    assert run["conf"] == {"reason": "before migration 42", "deliver_mail": False}
    # Other tests of this process find Airflow as it was.
    airflow.api.delete(f"/api/v2/dags/critical_backup/dagRuns/{run['dag_run_id']}")
    for dag, was_paused in before.items():
        airflow.api.patch(f"/api/v2/dags/{dag}", json={"is_paused": was_paused})


def test_pool_is_made(pools: LocalAirflow, programs: dict[str, str], tmp_path: Path) -> None:
    """With its slots."""
    done = type_in(shell_block("docs/FLEET.md", "pools set"), tmp_path, programs)
    assert done.returncode == 0, done.stderr
    assert pools.api.get("/api/v2/pools/server_1").json()["slots"] == 2


def test_old_history_is_put_aside(airflow: LocalAirflow, programs: dict[str, str], tmp_path: Path) -> None:
    """First shown, then done."""
    done = type_in(shell_block("docs/BACKUP_OPERATIONS.md", "db clean"), tmp_path, programs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Performing dry run for db cleanup" in done.stdout + done.stderr


def test_audit_holds_the_scope_against_the_database(
    airflow: LocalAirflow, site: Site, programs: dict[str, str]
) -> None:
    """With the settings that Airflow has."""
    done = type_in(shell_block("docs/BACKUP_OPERATIONS.md", "scope audit"), REPOSITORY, programs | site.settings)
    assert done.returncode == 0, done.stdout + done.stderr

"""A site whose database has checkpoints every ten minutes, and the runs of their slots."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from include.backup.archive_name import sidecar_path
from include.backup.export import ADVISORY_LOCK
from include.backup.manifest import Sidecar, readable_archives
from tests.fix_airflow import LocalAirflow, RunResult, Site

UTC = timezone.utc
EVERY = "*/10 * * * *"


@dataclasses.dataclass(frozen=True)
class CheckpointSite:
    """A site with checkpoints every ten minutes."""

    site: Site
    airflow: LocalAirflow

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.site.backup_dir / "checkpoints"

    @property
    def archives(self) -> list[Sidecar]:
        """Those that are there, oldest first."""
        return sorted((sidecar for _, sidecar in readable_archives(self.folder)), key=lambda one: one.snapshot_at)

    def schedule(self) -> str:
        """Create the run of a slot that has come; each has a slot of its own."""
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        latest = now - timedelta(minutes=now.minute % 10 + 10)
        return self.airflow.schedule(self.airflow.free_slot(latest, timedelta(minutes=10)))

    def run(self) -> RunResult:
        """Run the next slot to its end; callbacks are Airflow's."""
        return self.airflow.run(self.schedule())

    def age(self, archive: Path) -> None:
        """Let an archive have been made before every slot that a test schedules."""
        past = time.time() - 86_400 * 30
        os.utime(sidecar_path(archive), (past, past))

    def lock(self) -> psycopg.Connection[object]:
        """Hold what an export holds while it runs."""
        names = {"host": "POSTGRES_HOST", "port": "POSTGRES_PORT", "dbname": "POSTGRES_DB"}
        login = {"user": "POSTGRES_USER", "password": "POSTGRES_PASSWORD"}
        values = {key: self.site.settings[name] for key, name in (names | login).items()}
        session = psycopg.connect(**values, autocommit=True)  # type: ignore[arg-type]
        session.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        return session


@pytest.fixture
def checkpoints(airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckpointSite]:
    """A site with checkpoints, parsed."""
    monkeypatch.setenv("BACKUP_CHECKPOINT_SCHEDULE", EVERY)
    airflow.load_dag()
    yield CheckpointSite(site, dataclasses.replace(airflow, dag_id="critical_backup_checkpoints"))
    monkeypatch.delenv("BACKUP_CHECKPOINT_SCHEDULE")
    airflow.load_dag()

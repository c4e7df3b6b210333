"""The DAG backup_watch for tests: one look, and the mails it sends."""

# ruff: noqa: PLC0415 - airflow is imported late: after the environment is set, and only by tests that need it

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from include.backup.status import LAST_SUCCESS_FILE
from tests.fix_airflow import LocalAirflow, RunResult, Site
from tests.fix_mailbox import Mail, read_mail

UTC = timezone.utc
DAY = timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Watch:
    """The watch of one site, and the mails it sends."""

    airflow: LocalAirflow
    site: Site

    def run(self) -> RunResult:
        """Run the DAG once, whatever comes of it."""
        return self.airflow.run(self.airflow.trigger())

    def look(self) -> list[Mail]:
        """Run the DAG once and return the mails of this look."""
        before = set(self.site.mailbox.messages())
        result = self.run()
        assert result.state == "success", result.errors
        return [read_mail(path) for path in self.site.mailbox.messages() if path not in before]

    def subjects(self) -> list[str]:
        """Run the DAG once and return the subjects of its mails."""
        return [mail.subject for mail in self.look()]

    def a_day_passes(self) -> None:
        """Set what the watch remembers back by a day, in Airflow's own store."""
        memory = self.memory
        for incident in memory["incidents"].values():
            for moment in ("since", "told_at"):
                incident[moment] = (datetime.fromisoformat(incident[moment].replace("Z", "+00:00")) - DAY).isoformat()
        answer = self.airflow.api.put(self._address, json={"value": memory})
        assert answer.status_code < 300, answer.text

    @property
    def memory(self) -> Any:
        """What the watch remembers, as Airflow's REST API shows it."""
        return self.airflow.api.get(self._address).json()["value"]

    @property
    def _address(self) -> str:
        from include.operators.backup import WATCH_MEMORY

        assets = self.airflow.api.get("/api/v2/assets", params={"name_pattern": WATCH_MEMORY.name}).json()["assets"]
        return f"/api/v2/assets/{assets[0]['id']}/state-store/watch"


@pytest.fixture
def watch(airflow: LocalAirflow, site: Site) -> Watch:
    """A watch that remembers nothing, of a site whose critical_backup is unpaused."""
    answer = airflow.api.patch("/api/v2/dags/critical_backup", json={"is_paused": False})
    assert answer.status_code == 200
    plan_next_run(datetime.now(UTC) + DAY)
    watch = Watch(dataclasses.replace(airflow, dag_id="backup_watch"), site)
    airflow.api.delete(watch._address)
    return watch


def plan_next_run(at: datetime) -> None:
    """Let the scheduler mean to start critical_backup at this time."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        model = session.get(DagModel, "critical_backup")
        assert model is not None
        model.next_dagrun = at


def succeed(site: Site, hours_ago: float) -> None:
    """Record a success."""
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    (site.backup_dir / LAST_SUCCESS_FILE).write_text(at.isoformat())

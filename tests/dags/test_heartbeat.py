"""When the DAG calls the dead-man's switch, and that the switch never decides about a backup."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from include.operators.alerts import alert_run_failure
from tests.backup.test_heartbeat import TOKEN, serve
from tests.fix_airflow import LocalAirflow, Site
from tests.operators.test_task import make_context


def test_good_run_calls_start_and_success_and_a_cleared_old_one_nothing(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success of an older archive says nothing about last night."""
    with serve() as switch:
        monkeypatch.setenv("BACKUP_HEARTBEAT_URL", switch.url)
        older = airflow.trigger(deliver_mail=False)
        assert airflow.run(older).state == "success"
        assert switch.asked == [f"/ping/{TOKEN}/start", f"/ping/{TOKEN}"]
        switch.asked.clear()
        assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
        assert switch.asked == [f"/ping/{TOKEN}/start", f"/ping/{TOKEN}"]
        switch.asked.clear()
        airflow.clear(older, "update_status")
        assert airflow.run(older).state == "success"
        assert switch.asked == []


def test_failed_run_calls_fail_and_never_success(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, for the task that failed for good."""
    with serve() as switch:
        monkeypatch.setenv("BACKUP_HEARTBEAT_URL", switch.url)
        monkeypatch.setenv("BACKUP_SCOPE_FILE", str(site.config_dir / "nowhere.yaml"))
        assert airflow.run(airflow.trigger()).state == "failed"
    assert switch.asked == [f"/ping/{TOKEN}/start", f"/ping/{TOKEN}/fail"]


def test_failure_is_called_although_a_setting_is_wrong_by_then(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be why the run has failed."""
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=datetime.now(timezone.utc))
    context |= {"dag": airflow.load_dag(), "reason": "timed_out"}
    with serve() as switch:
        monkeypatch.setenv("BACKUP_HEARTBEAT_URL", switch.url)
        monkeypatch.setenv("BACKUP_WINDOW_MONTHS", "many")
        alert_run_failure(context)
    assert switch.asked == [f"/ping/{TOKEN}/fail"]
    assert len(site.mailbox.messages()) == 1


def test_switch_that_refuses_everything_changes_nothing(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run succeeds with one archive, as without the switch."""
    with serve() as switch:
        switch.status = 500
        monkeypatch.setenv("BACKUP_HEARTBEAT_URL", switch.url)
        result = airflow.run(airflow.trigger(deliver_mail=False))
    assert (result.state, len(site.archives), len(switch.asked)) == ("success", 1, 2)
    assert set(result.tries.values()) <= {0, 1}

"""Alerts under Airflow: one for a failure, by mail and to Slack apart, and one when it is over."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from include.backup.unsent import UNSENT_FOLDER
from include.operators.alerts import alert_failure, alert_run_failure
from include.operators.late import alert_late
from tests.fix_mailbox import read_mail
from tests.fix_watch import Watch, succeed
from tests.operators.test_task import make_context

if TYPE_CHECKING:
    from tests.fix_airflow import LocalAirflow, Site
    from tests.fix_slack import Hooks

TIMED_OUT = "critical_backup FAILED: timed out"
STALE = "No backup for 30 hours"
NOBODY = '{"conn_type": "smtp", "host": "127.0.0.1", "port": 1}'


def mailed(site: Site) -> list[str]:
    """Return the subjects of all mails, oldest first."""
    return [read_mail(path).subject for path in site.mailbox.messages()]


def posted(hooks: Hooks) -> list[str]:
    """Return the titles of what Slack took, oldest first."""
    return [text.split("*")[1] for text in hooks.texts]


def fail(airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a run fail whose processes say nothing themselves, and return what Airflow tells its callbacks of it."""
    with monkeypatch.context() as broken:
        broken.setenv("BACKUP_SCOPE_FILE", "/no/such/scope.yaml")
        run_id = airflow.trigger()
        assert airflow.run(run_id).state == "failed"
    for path in (*site.mailbox.messages(), *site.backup_dir.glob(".alerted*"), *site.backup_dir.glob(".open*")):
        path.unlink()
    return airflow.end_of_run(run_id, "task_failure")


def timed_out(airflow: LocalAirflow) -> None:
    """Let the DAG's callback tell that a run took too long."""
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=datetime.now(timezone.utc))
    alert_run_failure(context | {"dag": airflow.load_dag(), "reason": "timed_out"})


def test_lost_worker_that_airflow_reports_three_times_is_one_alert(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the missing heartbeat, for what the executor says, and for the run; the next try is another failure."""
    end = fail(airflow, site, monkeypatch)
    lost: Any = {key: value for key, value in end.items() if key != "reason"}
    for _ in range(2):
        alert_failure(lost)
    alert_run_failure(end)
    assert mailed(site) == ["critical_backup FAILED in check_prerequisites"]
    end["ti"].try_number += 1
    alert_failure(lost)
    assert len(mailed(site)) == 2


def test_late_run_that_has_failed_and_was_told_is_not_told_again(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow calls at the deadline also for what has failed before it; who has heard nothing of it hears that."""
    end = fail(airflow, site, monkeypatch)
    now = datetime.now(timezone.utc).isoformat()
    run = {"dag_id": "critical_backup", "dag_run_id": end["dag_run"].run_id, "logical_date": now, "state": "failed"}
    late: Any = {"dag_run": run, "deadline": {"deadline_time": now}}
    alert_late(late)
    assert [subject.partition(":")[0] for subject in mailed(site)] == ["critical_backup is LATE"]
    alert_run_failure(end)
    alert_late(late)
    assert len(mailed(site)) == 2
    run["state"] = "running"  # somebody has cleared it, and it hangs
    alert_late(late)
    assert len(mailed(site)) == 3


def test_late_run_is_told_although_a_setting_is_wrong_by_then(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be why the run is late; times are then those of the default zone."""
    monkeypatch.setenv("BACKUP_TIMEZONE", "Mars/Olympus")
    run = {"dag_id": "critical_backup", "dag_run_id": "x", "logical_date": "2026-11-20T02:00:00Z", "state": "running"}
    alert_late({"dag_run": run, "deadline": {"deadline_time": "2026-11-20T02:10:00Z"}})
    assert mailed(site) == ["critical_backup is LATE: not finished by 2026-11-20 02:10:00 UTC"]


def test_alert_that_could_not_be_sent_is_sent_by_the_next_look(watch: Watch, airflow: LocalAirflow) -> None:
    """While the mail server was down; once, with its own words."""
    succeed(watch.site, 1)
    watch.site.mailbox.stop()
    timed_out(airflow)
    watch.site.mailbox.start()
    assert watch.subjects() == [TIMED_OUT]
    assert watch.look() == []


def test_alert_that_slack_took_is_not_posted_again_when_the_mail_follows(
    watch: Watch, airflow: LocalAirflow, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round as well: what was mailed is not mailed again when Slack is back."""
    succeed(watch.site, 1)
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("200"))
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_SMTP_DEFAULT", NOBODY)
        timed_out(airflow)
    assert (posted(hooks), mailed(watch.site)) == ([TIMED_OUT], [])
    assert watch.subjects() == [TIMED_OUT]
    assert posted(hooks) == [TIMED_OUT]


def test_alert_that_was_mailed_is_not_mailed_again_when_slack_follows(
    watch: Watch, airflow: LocalAirflow, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack is tried again by each look, which does not fail because of it, and for a day at most."""
    succeed(watch.site, 1)
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("500"))
    timed_out(airflow)
    assert watch.look() == []
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("200"))
    assert watch.look() == []
    assert watch.look() == []
    assert (posted(hooks), mailed(watch.site)) == ([TIMED_OUT], [TIMED_OUT])

    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("500"))
    timed_out(airflow)  # of the same run: it was told
    assert len(mailed(watch.site)) == 1


def test_watch_that_cannot_mail_fails_once_and_tells_when_it_is_over(
    watch: Watch, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hourly looks while the mail server refuses the login: Slack hears of each thing once; the mails follow."""
    succeed(watch.site, 30)
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("200"))
    failed = "backup_watch FAILED in watch_backups"
    with monkeypatch.context() as refused:
        refused.setattr(watch.site.mailbox, "password", "another one by now")
        for _ in range(3):
            assert "535" in str(watch.run().errors["watch_backups"])
    assert (posted(hooks), mailed(watch.site)) == ([STALE, failed], [])
    assert watch.subjects() == [STALE, failed, "backup_watch works again"]
    assert posted(hooks) == [STALE, failed, "backup_watch works again"]
    assert watch.look() == []
    assert list((watch.site.backup_dir / UNSENT_FOLDER).iterdir()) == []


def test_watch_without_backup_dir_does_not_post_to_slack_every_hour(
    watch: Watch, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be kept for a mail server that is down as well; what somebody has counts as told."""
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("200"))
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", NOBODY)
    watch.site.backup_dir.rename(watch.site.backup_dir.with_name("away"))
    for _ in range(2):
        watch.run()
    assert posted(hooks) == [f"BACKUP_DIR cannot be read: {watch.site.backup_dir}"]


def test_watch_that_took_too_long_is_told(watch: Watch) -> None:
    """Whoever watches is watched: by its DAG's own callback, which names no setting of the backups."""
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=datetime.now(timezone.utc))
    context["dag_run"].dag_id = "backup_watch"
    dag = watch.airflow.parse().dags["backup_watch"]
    assert dag.on_failure_callback is alert_run_failure
    alert_run_failure(context | {"dag": dag, "reason": "timed_out"})
    (mail,) = map(read_mail, watch.site.mailbox.messages())
    assert mail.subject == "backup_watch FAILED: timed out"
    assert "longer than 30 minutes and was ended" in " ".join(mail.text.split())
    assert dag.dagrun_timeout == timedelta(minutes=30)

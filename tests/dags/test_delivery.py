"""Who gets the nightly mail when the mail server is difficult: real runs of the DAG, retried and cleared by Airflow."""

from __future__ import annotations

from datetime import datetime, timezone
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, cast

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session

from include.backup.delivery_record import read_delivery, write_delivery
from include.backup.unsent import read_unsent

if TYPE_CHECKING:
    import pytest

    from tests.fix_airflow import LocalAirflow, Site
    from tests.fix_slack import Hooks

ADMIN_1, ADMIN_2 = "admin1@example.com", "admin2@example.com"


def mails(site: Site) -> list[tuple[str, str]]:
    """Return for each mail whom it was for, and the beginning of its subject."""
    found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in site.mailbox.messages()]
    return [(mail["X-Envelope-To"], mail["Subject"].strip().partition(":")[0]) for mail in found]


def test_one_refused_administrator_is_a_warning_and_an_alert_to_the_other(airflow: LocalAirflow, site: Site) -> None:
    """The run succeeds, and the other gets the mail and an alert that names who does not have it."""
    refusals = cast("dict[str, str]", site.mailbox.refusals)
    refusals[ADMIN_2] = "550 no such user"
    result = airflow.run(airflow.trigger())
    assert (result.state, result.tries["email_attachment"]) == ("success", 1)
    assert mails(site) == [(ADMIN_1, "Backup OK"), (ADMIN_1, f"The backup mail did not reach {ADMIN_2}")]
    refusals.clear()
    airflow.clear(result.run_id, "email_attachment")
    assert airflow.run(result.run_id).state == "success"
    assert mails(site)[2:] == [(ADMIN_2, "Backup OK")], "clearing sends to who lacks it"


def test_alert_of_a_refusal_is_sent_once_also_where_the_task_is_killed_around_it(
    airflow: LocalAirflow, site: Site
) -> None:
    """Killed after the alert: the retry does not repeat it. Killed before it: the retry sends it, and no mail again."""
    cast("dict[str, str]", site.mailbox.refusals)[ADMIN_2] = "550 no such user"
    run_id = airflow.trigger()
    assert airflow.run(run_id, pause_before="update_status").tries["email_attachment"] == 1
    expected = [(ADMIN_1, "Backup OK"), (ADMIN_1, f"The backup mail did not reach {ADMIN_2}")]
    assert mails(site) == expected
    retry(airflow, run_id)
    assert mails(site) == expected
    (archive,) = site.published_paths
    write_delivery(archive, read_delivery(archive).model_copy(update={"alerted": {}}))
    retry(airflow, run_id)
    assert mails(site) == [*expected, expected[1]]


def test_refusal_is_told_to_slack_too_and_kept_where_a_way_fails(
    airflow: LocalAirflow, site: Site, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like every alert: what Slack has not taken waits for the watch, the mail to the others does not."""
    cast("dict[str, str]", site.mailbox.refusals)[ADMIN_2] = "550 no such user"
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("500"))
    assert airflow.run(airflow.trigger()).state == "success"
    ((_, unsent),) = read_unsent(site.backup_dir, now=datetime.now(timezone.utc))
    refused = f"The backup mail did not reach {ADMIN_2}"
    assert (unsent.notice.title, unsent.channels) == (refused, ("slack",))
    assert mails(site) == [(ADMIN_1, "Backup OK"), (ADMIN_1, refused)]
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", hooks.url("200"))
    assert airflow.run(airflow.trigger()).state == "success"
    assert [text.split("*")[1] for text in hooks.texts] == [refused]


def retry(airflow: LocalAirflow, run_id: str) -> None:
    """Let Airflow try the mail task once more by itself, as after its process was killed."""
    with create_session() as session:
        task = session.query(TaskInstance).filter_by(run_id=run_id, task_id="email_attachment").one()
        before, task.state = task.try_number, None
    assert airflow.run(run_id, pause_before="update_status").tries["email_attachment"] == before + 1


def test_administrator_refused_for_now_gets_the_mail_at_the_next_try_alone(airflow: LocalAirflow, site: Site) -> None:
    """Airflow retries the task, which sends to nobody else; who was refused for good is not tried again."""
    refusals = cast("dict[str, str]", site.mailbox.refusals)
    refusals[ADMIN_2] = "450 greylisted"
    waiting = airflow.run(airflow.trigger())
    assert (waiting.states["email_attachment"], mails(site)) == ("up_for_retry", [(ADMIN_1, "Backup OK")])
    refusals.clear()
    result = airflow.run_through_retries(waiting.run_id, within_seconds=30)
    assert (result.state, result.tries["email_attachment"]) == ("success", 2)
    assert mails(site) == [(ADMIN_1, "Backup OK"), (ADMIN_2, "Backup OK")]


def test_administrator_refused_at_every_try_is_an_alert_and_no_failure(airflow: LocalAirflow, site: Site) -> None:
    """After three retries the run goes on, and one alert says who is missing."""
    cast("dict[str, str]", site.mailbox.refusals)[ADMIN_2] = "450 greylisted"
    result = airflow.run_through_retries(airflow.trigger(), within_seconds=120)
    assert (result.state, result.tries["email_attachment"]) == ("success", 4)
    assert mails(site) == [(ADMIN_1, "Backup OK"), (ADMIN_1, f"The backup mail did not reach {ADMIN_2}")]


def test_cleared_mail_task_sends_again_only_where_the_run_was_started_so(airflow: LocalAirflow, site: Site) -> None:
    """send_again: once for each time that a person clears the task."""
    run_id = airflow.trigger(send_again=True)
    airflow.run(run_id)
    airflow.clear(run_id, "email_attachment")
    assert airflow.run(run_id).state == "success"
    assert mails(site) == [(f"{ADMIN_1}, {ADMIN_2}", "Backup OK")] * 2


def test_server_that_announces_little_gets_a_link(airflow: LocalAirflow, site: Site) -> None:
    """choose_delivery asks the server, and the mail says why there is no attachment."""
    site.mailbox.stop()
    site.mailbox.max_message_bytes = 40_000
    site.mailbox.start()
    result = airflow.run(airflow.trigger())
    assert (result.state, result.tasks("skipped")) == ("success", {"email_attachment"})
    (path,) = site.mailbox.messages()
    assert b"the mail server takes" in path.read_bytes().replace(b"=\r\n", b"")

"""Notices to Slack, against a real HTTP server that takes them, refuses, redirects, hangs, or is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from include.backup import slack
from include.backup.errors import BackupError, TemporaryError
from include.backup.notice import Notice
from include.demo.ports import free_port

if TYPE_CHECKING:
    from tests.fix_slack import Hooks

NOTICE = Notice(
    state="failed",
    title="critical_backup FAILED in <export_database>",
    text="cannot reach a & b",
    facts=(("Try", "4 of 4"),),
    next_steps=("Mend the cause.",),
    url="http://airflow.example.com/run",
    commands=("airflow backfill create",),
)


def test_notice_arrives_with_its_reason_and_link(hooks: Hooks) -> None:
    """Slack's three special characters are escaped, so that nobody's error text becomes a link or a mention."""
    slack.post_to_slack(NOTICE, hooks.url("200"), page_url="http://airflow.example.com/backup/")
    (text,) = hooks.texts
    assert "FAILED in &lt;export_database&gt;" in text
    assert "cannot reach a &amp; b" in text
    assert "\n```airflow backfill create```\n" in text
    assert text.endswith(
        "\n<http://airflow.example.com/run|Open in Airflow> · <http://airflow.example.com/backup/|All backups>"
    )


@pytest.mark.parametrize("answer", ["500", "404", "302"])
def test_refusal_and_redirect_are_errors_without_the_address(hooks: Hooks, answer: str) -> None:
    """A redirect is not followed: the notice goes where it was configured to go, or nowhere."""
    with pytest.raises(BackupError, match=f"Slack answered {answer}") as caught:
        slack.post_to_slack(NOTICE, hooks.url(answer), page_url=None)
    assert "secret-token" not in str(caught.value)
    assert hooks.texts == []


@pytest.mark.parametrize(("answer", "reason"), [("hang", "ReadTimeout"), (None, "ConnectError")])
def test_server_that_hangs_or_is_not_there_may_pass(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, answer: str | None, reason: str
) -> None:
    """Given up after the time-out, and without the address in the error."""
    monkeypatch.setattr(slack, "TIMEOUT_SECONDS", 0.5)
    url = hooks.url(answer) if answer else f"http://127.0.0.1:{free_port()}/secret-token"
    with pytest.raises(TemporaryError, match=f"cannot be reached: {reason}") as caught:
        slack.post_to_slack(NOTICE, url, page_url=None)
    assert "secret-token" not in str(caught.value)

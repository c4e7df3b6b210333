"""Notices to Slack, by an incoming webhook. Source: https://api.slack.com/messaging/webhooks."""

from __future__ import annotations

import httpx

from include.backup.errors import BackupError, TemporaryError
from include.backup.notice import Notice

TIMEOUT_SECONDS = 10
_MARKS = {"ok": ":white_check_mark:", "warning": ":warning:", "failed": ":x:"}


def slack_text(notice: Notice, page_url: str | None) -> str:
    """Return the message; `&`, `<` and `>` are the only characters with a meaning of their own in Slack's text."""
    lines = [f"{_MARKS[notice.state]} *{notice.title}*", notice.text]
    lines += [f"{number}. {step}" for number, step in enumerate(notice.next_steps, 1)]
    lines += [f"```{command}```" for command in notice.commands]
    lines += [f"{name}: {value}" for name, value in notice.facts]
    text = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    links = ((notice.url, "Open in Airflow"), (page_url, "All backups"))
    shown = " · ".join(f"<{url}|{name}>" for url, name in links if url)
    return f"{text}\n{shown}" if shown else text


def post_to_slack(notice: Notice, webhook_url: str, *, page_url: str | None) -> None:
    """
    Post the notice. The address is a secret: no error names it.

    Args:
        notice: What is said.
        webhook_url: BACKUP_SLACK_WEBHOOK_URL.
        page_url: The status page, if its address is known.

    Raises:
        TemporaryError: If Slack could not be reached in time.
        BackupError: If it answered with anything but success; redirects are not followed.
    """
    try:
        answer = httpx.post(webhook_url, json={"text": slack_text(notice, page_url)}, timeout=TIMEOUT_SECONDS)
    except httpx.TransportError as error:
        reason = type(error).__name__
        raise TemporaryError(f"Slack cannot be reached: {reason}; check BACKUP_SLACK_WEBHOOK_URL") from None
    if not answer.is_success:
        raise BackupError(f"Slack answered {answer.status_code} {answer.text[:100]}; check BACKUP_SLACK_WEBHOOK_URL")

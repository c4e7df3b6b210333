"""How a notice goes out, by mail and to Slack; what could not go is kept for the watch; and what an incident is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from include.backup.backup_id import Backup
from include.backup.fleet import usable_settings_of
from include.backup.incident import (
    WATCH_DAG,
    close_incident,
    has_incidents,
    open_incident,
    over_notice,
    read_incident,
)
from include.backup.notice import Notice
from include.backup.run import utc_now
from include.backup.settings import Settings
from include.backup.slack import post_to_slack
from include.backup.templates import time_text
from include.backup.unsent import CHANNELS, Channel, Unsent, keep_while_sending, settle
from include.operators.error_log import record_error
from include.operators.links import status_page_url
from include.operators.mail import mail_notice

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

Way = Callable[[Settings, Notice], object]


class Outcome(NamedTuple):
    """
    What became of a notice.

    Args:
        errors: The ways that have not taken it, each with its error.
        is_lost: Whether none has, and it could not be kept for the watch either.
    """

    errors: dict[Channel, Exception]
    is_lost: bool


def _post(settings: Settings, notice: Notice) -> None:
    if settings.backup_slack_webhook_url:
        webhook_url = settings.backup_slack_webhook_url.get_secret_value()
        post_to_slack(notice, webhook_url, page_url=status_page_url(settings))


def announce(
    settings: Settings,
    notice: Notice,
    *,
    channels: Collection[Channel],
    context: Context | None = None,
    mail: Way = mail_notice,
) -> dict[Channel, Exception]:
    """
    Send a notice by these ways; one that fails does not stop the others, and its error goes to BACKUP_LOG_FILE.

    Args:
        settings: To whom, and where.
        notice: What is said.
        channels: The ways.
        context: Of the task that tells it, if one does.
        mail: How it is mailed, if not to every administrator over a connection of its own.

    Returns:
        The ways that have not taken it, each with its error. One that is not configured has nothing to take.
    """
    ways: dict[Channel, Way] = {"slack": _post, "mail": mail}
    errors: dict[Channel, Exception] = {}
    for channel in channels:
        try:
            ways[channel](settings, notice)
        except Exception as error:
            log.exception("'%s' could not be sent by %s", notice.title, channel)
            record_error(f"the alert could not be sent by {channel}: {error}", context=context, error=error)
            errors[channel] = error
    return errors


def tell(settings: Settings, notice: Notice, *, context: Context | None = None, mail: Way = mail_notice) -> Outcome:
    """
    Announce a notice, and leave to the watch what could not go, also if this process is killed meanwhile.

    The watch then mails it to every administrator. Takes what `announce` takes; the title gets the backup's id.
    """
    notice = replace(notice, title=settings.backup.named(notice.title))
    channels: tuple[Channel, ...] = CHANNELS if settings.backup_slack_webhook_url else ("mail",)
    unsent = Unsent(notice, datetime.now(timezone.utc), channels)  # to the microsecond: its file's name keeps the order
    try:
        path = keep_while_sending(settings.backup_dir, unsent)
    except OSError as error:
        log.warning("'%s' is sent now or never, it cannot be kept: %s", notice.title, error)
        path = None
    errors = announce(settings, notice, channels=channels, context=context, mail=mail)
    try:
        if path:
            settle(path, replace(unsent, channels=tuple(errors)))
    except OSError as error:
        log.warning("the watch will send '%s' once more: %s", notice.title, error)
    return Outcome(errors, is_lost=path is None and len(errors) == len(channels))


def tell_it_is_over(settings: Settings, dag_id: str, proof: str, *, url: str | None) -> None:
    """
    Tell once that an incident of the DAG is over, if there is one; `proof` is the sentence that says so.

    Raises:
        OSError: If it cannot be noted that it is over.
    """
    found = read_incident(settings.backup_dir, dag_id)
    if found:
        since = time_text(found.since, ZoneInfo(settings.backup_timezone))
        tell(settings, over_notice(found, dag_id, proof, since_text=since, url=url))
        close_incident(settings.backup_dir, dag_id)


def raise_alert(dag_id: str, notice: Notice, *, context: Context | None = None) -> None:
    """
    Tell every administrator that something is wrong with a DAG, and open an incident, which its next success ends.

    Of backup_watch and of checkpoints, which fail again and again while the cause lasts, only the first of an incident
    is told.
    """
    backup = Backup.of_dag(dag_id)
    settings = usable_settings_of(backup)  # a wrong one may be the reason
    is_first = True
    try:
        if has_incidents(dag_id):
            is_first = open_incident(settings.backup_dir, notice.title, now=utc_now(), dag_id=dag_id)
    except OSError as error:
        log.warning("the incident could not be recorded, so nobody will be told when it is over: %s", error)
    if (dag_id == WATCH_DAG or backup.is_checkpoints) and not is_first:
        log.info("not told again before it is over: %s", notice.title)
    else:
        tell(settings, notice, context=context)

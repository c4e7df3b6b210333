"""Mails to every administrator, over `smtp_default`."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from functools import partial
from typing import Protocol

from include.backup.delivery import Order, deliver
from include.backup.delivery_record import DeliveryRecord, read_delivery, write_delivery
from include.backup.delivery_result import not_reached, refusal_notice
from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.letter import Letter
from include.backup.mail import announced_limit, send
from include.backup.notice import Notice, notice_message
from include.backup.outgoing import outgoing
from include.backup.settings import Settings
from include.operators.connections import mail_server
from include.operators.task import BackupTask

log = logging.getLogger(__name__)


class MakeMessage(Protocol):
    """Makes a mail once sender and recipients are known."""

    def __call__(self, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
        """Return the mail."""


def mail_administrators(settings: Settings, make_message: MakeMessage) -> dict[str, str]:
    """
    Send one mail to every administrator.

    Returns:
        Who was refused, with the server's words.

    Raises:
        PrerequisiteError: If there is no mail server to send it with.
        TemporaryError, DeliveryError: If nobody could be reached.
    """
    recipients = settings.admin_emails
    with mail_server() as (client, from_email):
        sender = _sender(settings, from_email)
        message = outgoing(make_message(sender=sender, recipients=recipients))
        answers = send(client, message, sender=sender, recipients=recipients)
    refused = {name: answer.words for name, answer in answers.items() if not answer.is_accepted}
    if len(refused) == len(answers):
        words = "; ".join(f"{name}: {answer}" for name, answer in refused.items())
        kind = TemporaryError if any(answer.is_deferred for answer in answers.values()) else DeliveryError
        raise kind(f"every administrator was refused: {words}; check ADMIN_EMAILS")
    _log_lacking(refused)
    return refused


def mail_notice(settings: Settings, notice: Notice) -> dict[str, str]:
    """Send the notice to every administrator. Returns and raises as `mail_administrators`."""
    return mail_administrators(settings, partial(notice_message, notice))


def mail_server_limit() -> int | None:
    """Return the largest mail that the server says it takes, in bytes; None if it names none or is not reached."""
    try:
        with mail_server() as (client, _):
            return announced_limit(client)
    except (BackupError, smtplib.SMTPException, OSError) as error:
        log.warning("the mail server could not be asked how much it takes, the mail task will see: %s", error)
        return None


def deliver_archive(task: BackupTask, letter: Letter) -> dict[str, str]:
    """
    Send the archive's mail to every administrator who lacks it.

    Returns:
        Who does not have it, or may not have it, with the server's words; the others got an alert that names them.

    Raises:
        PrerequisiteError: If there is no mail server to send it with.
        TemporaryError: If another try can reach somebody.
        DeliveryError: If nobody has the mail.
    """
    recipients, record = task.settings.admin_emails, read_delivery(letter.archive)
    order = Order("", recipients, task.series, task.sends_again)
    if not order.due(record) and not order.unanswered(record):
        log.info("nobody is sent the mail: each administrator has it, or was refused it for good")
        lacking = not_reached(record, recipients, last_try=task.is_last_try)
        if not record.untold(lacking):
            return lacking
    with mail_server() as (client, from_email):
        order = Order(_sender(task.settings, from_email), recipients, task.series, task.sends_again)
        record = deliver(client, letter, order)
        lacking = not_reached(record, recipients, last_try=task.is_last_try)
        _log_lacking(lacking)
        if untold := record.untold(lacking):
            _alert_others(client, refusal_notice(letter, lacking), order, record)
            alerted = record.model_copy(update={"alerted": record.alerted | untold})
            write_delivery(letter.archive, alerted)  # the task may be killed yet, and tried again
    return lacking


def _alert_others(client: smtplib.SMTP, notice: Notice, order: Order, record: DeliveryRecord) -> None:
    """Tell those who have the mail who does not; the backup's mail is delivered, so a failure is only logged."""
    recipients = [name for name in order.recipients if name in record.in_state("accepted")]
    if not recipients:
        return
    message = outgoing(notice_message(notice, sender=order.sender, recipients=recipients))
    try:
        send(client, message, sender=order.sender, recipients=recipients)
    except BackupError:
        log.exception("the alert could not be sent: %s", notice.title)


def _log_lacking(lacking: Mapping[str, str]) -> None:
    for recipient, words in lacking.items():
        log.warning("%s did not get the mail: %s", recipient, words)


def _sender(settings: Settings, from_email: str | None) -> str:
    return from_email or settings.smtp_from or settings.admin_emails[0]

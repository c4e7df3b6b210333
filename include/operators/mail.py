"""Mails to every administrator, over `smtp_default`."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from functools import partial
from typing import Protocol

from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.mail import announced_limit, send
from include.backup.notice import Notice, notice_message
from include.backup.outgoing import outgoing
from include.backup.settings import Settings
from include.operators.connections import mail_server
from include.operators.links import status_page_url

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
        sender = sender_of(settings, from_email)
        message = outgoing(make_message(sender=sender, recipients=recipients))
        answers = send(client, message, sender=sender, recipients=recipients)
    refused = {name: answer.words for name, answer in answers.items() if not answer.is_accepted}
    if len(refused) == len(answers):
        words = "; ".join(f"{name}: {answer}" for name, answer in refused.items())
        kind = TemporaryError if any(answer.is_deferred for answer in answers.values()) else DeliveryError
        raise kind(f"every administrator was refused: {words}; check ADMIN_EMAILS")
    log_lacking(refused)
    return refused


def mail_notice(settings: Settings, notice: Notice) -> dict[str, str]:
    """Send the notice to every administrator. Returns and raises as `mail_administrators`."""
    return mail_administrators(settings, partial(notice_message, notice, page_url=status_page_url(settings)))


def mail_server_limit() -> int | None:
    """Return the largest mail that the server says it takes, in bytes; None if it names none or is not reached."""
    try:
        with mail_server() as (client, _):
            return announced_limit(client)
    except (BackupError, smtplib.SMTPException, OSError) as error:
        log.warning("the mail server could not be asked how much it takes, the mail task will see: %s", error)
        return None


def log_lacking(lacking: Mapping[str, str]) -> None:
    """Log who did not get a mail, with the server's words."""
    for recipient, words in lacking.items():
        log.warning("%s did not get the mail: %s", recipient, words)


def sender_of(settings: Settings, from_email: str | None) -> str:
    """Return the sender: the connection's, otherwise SMTP_FROM, otherwise the first administrator."""
    return from_email or settings.smtp_from or settings.admin_emails[0]

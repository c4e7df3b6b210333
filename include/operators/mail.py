"""Mails to every administrator, over `smtp_default`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from email.message import EmailMessage
from functools import partial
from typing import Protocol

from include.backup.mail import send
from include.backup.notice import Notice, notice_message
from include.backup.settings import Settings
from include.operators.connections import mail_server

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
        sender = from_email or settings.smtp_from or recipients[0]
        message = make_message(sender=sender, recipients=recipients)
        refused = send(client, message, sender=sender, recipients=recipients)
    for recipient, words in refused.items():
        log.warning("%s did not get the mail: %s", recipient, words)
    return refused


def mail_notice(settings: Settings, notice: Notice) -> dict[str, str]:
    """Send the notice to every administrator. Returns and raises as `mail_administrators`."""
    return mail_administrators(settings, partial(notice_message, notice))

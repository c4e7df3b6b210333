"""Mails to the administrators: their headers, how they are sent, and what became of it for each recipient."""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.templates import render, size_text

log = logging.getLogger(__name__)

Answer = tuple[int, bytes | str]


def new_message(
    template: str, values: Mapping[str, object], *, subject: str, sender: str, recipients: Sequence[str]
) -> EmailMessage:
    """Return a mail with a plain and an HTML part: the templates `<template>.txt.j2` and `<template>.html.j2`."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"] = " ".join(subject.split())  # a header may not hold line breaks
    message.set_content(render(f"{template}.txt.j2", values), cte="quoted-printable")
    message.add_alternative(render(f"{template}.html.j2", values), subtype="html", cte="quoted-printable")
    return message


def send(client: smtplib.SMTP, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> dict[str, str]:
    """
    Send the mail over an open connection, and say what became of it for each recipient.

    Returns:
        The refused recipients with the server's words; empty if all have it.

    Raises:
        TemporaryError: If the server refused for now, or the connection broke.
        DeliveryError: If it refused everybody, or the mail itself, for good.
    """
    content = message.as_bytes(policy=SMTP)
    started = time.monotonic()
    try:
        answers: Mapping[str, Answer] = client.sendmail(sender, list(recipients), content)
    except (smtplib.SMTPException, OSError) as error:
        raise explain(error) from None
    refused = {recipient: _words(answer) for recipient, answer in answers.items()}
    for recipient in recipients:
        log.info(
            "mail of %s to %s: %s after %.1f s",
            size_text(len(content)),
            recipient,
            f"refused ({refused[recipient]})" if recipient in refused else "accepted",
            time.monotonic() - started,
        )
    return refused


def explain(error: Exception) -> BackupError:
    """Return the error to raise for a mail that could not be sent: 4xx and broken connections may pass."""
    advice = "check the Airflow connection smtp_default or SMTP_HOST, SMTP_PORT, SMTP_USER and SMTP_PASS"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        words = "; ".join(f"{recipient}: {_words(answer)}" for recipient, answer in error.recipients.items())
        permanent = all(answer[0] >= 500 for answer in error.recipients.values())  # noqa: PLR2004 - RFC 5321 4.2.1
        text = f"every administrator was refused: {words}; check ADMIN_EMAILS"
        return DeliveryError(text) if permanent else TemporaryError(text)
    if isinstance(error, smtplib.SMTPResponseException):
        answer = (error.smtp_code, error.smtp_error)
        text = f"the mail server answered {_words(answer)}; {advice}"
        return DeliveryError(text) if error.smtp_code >= 500 else TemporaryError(text)  # noqa: PLR2004
    if isinstance(error, (ssl.SSLError, smtplib.SMTPNotSupportedError)):
        return DeliveryError(f"no secure connection to the mail server: {error}; {advice}")
    return TemporaryError(f"the mail server cannot be reached: {error}; {advice}")


def _words(answer: Answer) -> str:
    words = answer[1].decode(errors="replace") if isinstance(answer[1], bytes) else str(answer[1])
    return f"{answer[0]} {' '.join(words.split())}"

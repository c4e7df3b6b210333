"""Mails to the administrators: their headers, how they are sent, and what became of it for each recipient."""

from __future__ import annotations

import logging
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import NamedTuple

from include.backup.errors import BackupError, DeliveryError, MailTooLargeError, TemporaryError, UnansweredError
from include.backup.masking import mask
from include.backup.outgoing import Outgoing
from include.backup.templates import render, size_text

log = logging.getLogger(__name__)

# Servers that scan a mail answer late: RFC 5321 4.5.3.2.6. Who gives up early delivers twice or leaves people guessing.
ANSWER_TIMEOUT_SECONDS = 600
LAST_WORDS_TIMEOUT_SECONDS = 5  # what was said before the connection was closed is there already
TOO_LARGE = 552
TOO_LARGE_STATUS = "5.3.4"  # RFC 3463 3.4


class Answer(NamedTuple):
    """What the server said of one recipient: its code, and its words with the code."""

    code: int
    words: str

    @property
    def is_accepted(self) -> bool:
        """Whether the recipient's mail is in the server's care."""
        return self.code < 400  # noqa: PLR2004 - RFC 5321 4.2.1

    @property
    def is_deferred(self) -> bool:
        """Whether the recipient was refused for now."""
        return 400 <= self.code < 500  # noqa: PLR2004 - RFC 5321 4.2.1


def new_message(
    template: str, values: Mapping[str, object], *, subject: str, sender: str, recipients: Sequence[str]
) -> EmailMessage:
    """Return a mail with a plain and an HTML part: the templates `<template>.txt.j2` and `<template>.html.j2`."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=domain_of(sender))
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"] = " ".join(subject.split())  # a header may not hold line breaks
    message.set_content(render(f"{template}.txt.j2", values), cte="quoted-printable")
    message.add_alternative(render(f"{template}.html.j2", values), subtype="html", cte="quoted-printable")
    return message


def domain_of(address: str) -> str:
    """Return what stands after the @, for a Message-ID."""
    return address.rpartition("@")[2] or "localhost"


def announced_limit(client: smtplib.SMTP) -> int | None:
    """Return the largest mail, in bytes, that the server says it takes; None if it names none. Source: RFC 1870."""
    client.ehlo_or_helo_if_needed()
    limit = client.esmtp_features.get("size", "")
    return int(limit) or None if limit.isdecimal() else None


def send(
    client: smtplib.SMTP,
    mail: Outgoing,
    *,
    sender: str,
    recipients: Sequence[str],
    before_end: Callable[[Sequence[str]], None] = lambda _: None,
) -> dict[str, Answer]:
    """
    Send the mail over an open connection, and say what became of it for each recipient.

    Args:
        client: Connected and logged in.
        mail: What is sent.
        sender: Of the envelope.
        recipients: Of the envelope.
        before_end: Called with the recipients whom the server takes when all but the last line is sent: until
            then nothing can have been delivered.

    Raises:
        MailTooLargeError: If it is larger than the server takes.
        TemporaryError: If the server refused the mail for now, or the connection broke.
        UnansweredError: If the connection broke after the last line: the server may have the mail.
        DeliveryError: If the server refused the mail for good.
    """
    started = time.monotonic()
    try:
        answers = _transaction(client, mail, sender, recipients, before_end)
    except (smtplib.SMTPException, OSError, BackupError) as error:
        failure = error if isinstance(error, BackupError) else explain(error)
        _log_attempt(mail, dict.fromkeys(recipients, str(failure)), time.monotonic() - started)
        raise failure from None
    _log_attempt(mail, {name: answer.words for name, answer in answers.items()}, time.monotonic() - started)
    return answers


def _transaction(
    client: smtplib.SMTP,
    mail: Outgoing,
    sender: str,
    recipients: Sequence[str],
    before_end: Callable[[Sequence[str]], None],
) -> dict[str, Answer]:
    """Do what smtplib's sendmail does, with the mail in blocks. Source: RFC 5321 3.3."""
    client.ehlo_or_helo_if_needed()
    options = [f"size={mail.size_bytes}"] if client.has_extn("size") else []
    code, words = client.mail(sender, options)
    if code != 250:  # noqa: PLR2004 - RFC 5321 4.2.2
        client.rset()
        raise smtplib.SMTPSenderRefused(code, words, sender)
    answers = {recipient: _answer(*client.rcpt(recipient)) for recipient in recipients}
    accepted = [recipient for recipient, answer in answers.items() if answer.is_accepted]
    if not accepted:
        client.rset()
        return answers
    code, words = client.docmd("DATA")
    if code != 354:  # noqa: PLR2004 - RFC 5321 4.2.2
        client.rset()
        raise smtplib.SMTPDataError(code, words)
    for block in mail.blocks():
        _send_block(client, re.sub(rb"(?m)^\.", b"..", block))
    before_end(accepted)
    return answers | dict.fromkeys(accepted, _end(client))


def _send_block(client: smtplib.SMTP, block: bytes) -> None:
    """
    Send a part of the mail.

    Raises:
        SMTPDataError: If the server does not take any more, and has said why before it closed the connection.
        SMTPServerDisconnected: If it has said nothing.
    """
    if client.sock is None:
        raise smtplib.SMTPServerDisconnected("the connection is closed")
    try:
        client.sock.sendall(block)  # smtplib's own send closes the connection, and with it what can still be read
    except OSError as error:
        answer = _last_words(client)
        raise (smtplib.SMTPDataError(*answer) if answer else smtplib.SMTPServerDisconnected(str(error))) from None


def _last_words(client: smtplib.SMTP) -> tuple[int, bytes] | None:
    """Return the refusal that came before the connection broke, if one did, and close it."""
    if client.sock:
        client.sock.settimeout(LAST_WORDS_TIMEOUT_SECONDS)
    try:
        code, words = client.getreply()
    except (smtplib.SMTPException, OSError):
        return None
    finally:
        client.close()
    return (code, words) if code >= 400 else None  # noqa: PLR2004 - RFC 5321 4.2.1


def _end(client: smtplib.SMTP) -> Answer:
    """Send the last line and return the answer to the mail as a whole."""
    if client.sock:
        client.sock.settimeout(ANSWER_TIMEOUT_SECONDS)
    try:
        _send_block(client, b".\r\n")
        code, words = client.getreply()
    except smtplib.SMTPDataError:
        raise
    except (smtplib.SMTPException, OSError) as error:
        raise UnansweredError(f"the mail server did not answer after the whole mail was sent: {error}") from None
    if code != 250:  # noqa: PLR2004 - RFC 5321 4.2.2
        raise smtplib.SMTPDataError(code, words)
    return _answer(code, words)


def _log_attempt(mail: Outgoing, results: Mapping[str, str], seconds: float) -> None:
    for recipient, words in results.items():
        log.info("mail of %s to %s: %s, after %.1f s", size_text(mail.size_bytes), recipient, words, seconds)


def explain(error: Exception) -> BackupError:
    """Return the error to raise for a mail that could not be sent: 4xx and broken connections may pass."""
    advice = "check the Airflow connection smtp_default or SMTP_HOST, SMTP_PORT, SMTP_USER and SMTP_PASS"
    if isinstance(error, smtplib.SMTPResponseException):
        answer = _answer(error.smtp_code, error.smtp_error)
        text = f"the mail server answered {answer.words}; {advice}"
        if answer.is_deferred:
            return TemporaryError(text)
        too_large = answer.code == TOO_LARGE or answer.words.startswith(f"{answer.code} {TOO_LARGE_STATUS}")
        # A server that breaks off in the middle of a line is smtplib's code -1.
        kind = MailTooLargeError if too_large else DeliveryError if answer.code > 0 else TemporaryError
        return kind(text)
    if isinstance(error, (ssl.SSLError, smtplib.SMTPNotSupportedError)):
        return DeliveryError(f"no secure connection to the mail server: {error}; {advice}")
    return TemporaryError(f"the mail server cannot be reached: {error}; {advice}")


def _answer(code: int, words: bytes | str) -> Answer:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return Answer(code, mask(f"{code} {' '.join(text.split())}"))  # some servers repeat what they were sent

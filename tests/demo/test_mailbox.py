"""The mailbox behaves like a mail server of the strict kind, so that tests of delivery mean something."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPIENTS = ["admin1@example.com", "admin2@example.com"]


@contextmanager
def logged_in(mailbox: Mailbox) -> Iterator[smtplib.SMTP]:
    """Give a session over verified TLS, as the mailbox demands it."""
    with smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as session:
        session.starttls(context=ssl.create_default_context(cafile=str(mailbox.certificate)))
        session.login(mailbox.user, mailbox.password)
        yield session


def message(size: int = 10) -> EmailMessage:
    """Return a message with a body of about this many bytes."""
    result = EmailMessage()
    result["Subject"], result["From"] = "สำรองข้อมูล", "backup@example.com"
    result.set_content("x" * size)
    return result


def test_message_is_kept_as_one_file_with_its_recipients(mailbox: Mailbox) -> None:
    """One file a message, whoever it is for; the envelope stands at its top."""
    with logged_in(mailbox) as session:
        session.send_message(message(), to_addrs=RECIPIENTS)
        session.send_message(message(), to_addrs=RECIPIENTS[1:])
    first, second = mailbox.messages()
    assert first.read_text().startswith("X-Envelope-To: admin1@example.com, admin2@example.com\n")
    assert second.name.endswith("_002_admin2@example.com.eml")


def test_login_without_starttls_is_refused(mailbox: Mailbox) -> None:
    """A password never travels in clear."""
    with (
        smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as session,
        pytest.raises((smtplib.SMTPException, OSError), match=r"STARTTLS|AUTH"),
    ):
        session.login(mailbox.user, mailbox.password)


def test_mail_without_login_is_refused(mailbox: Mailbox) -> None:
    """TLS alone is not enough."""
    with smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as session:
        session.starttls(context=ssl.create_default_context(cafile=str(mailbox.certificate)))
        with pytest.raises(smtplib.SMTPResponseException, match="530"):
            session.send_message(message(), to_addrs=RECIPIENTS)


def test_unknown_authority_is_refused_by_the_client(mailbox: Mailbox) -> None:
    """Who does not trust the mailbox's certificate does not send."""
    with (
        smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as session,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        session.starttls(context=ssl.create_default_context())


def test_wrong_password_is_answered_at_once(mailbox: Mailbox) -> None:
    """535, not silence."""
    session = smtplib.SMTP(mailbox.host, mailbox.port, timeout=10)
    session.starttls(context=ssl.create_default_context(cafile=str(mailbox.certificate)))
    with session, pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
        session.login(mailbox.user, "wrong")


@pytest.mark.parametrize("refusal", ["550 no such user", "450 try later"])
def test_named_recipient_is_refused_the_other_gets_the_mail(tmp_path: Path, refusal: str) -> None:
    """Each refusal reaches the sender with its code."""
    with Mailbox(tmp_path, refusals={RECIPIENTS[0]: refusal}) as mailbox, logged_in(mailbox) as session:
        refused = session.send_message(message(), to_addrs=RECIPIENTS)
        assert refused == {RECIPIENTS[0]: (int(refusal[:3]), refusal[4:].encode())}
        assert [mail.name.split("_")[-1] for mail in mailbox.messages()] == ["admin2@example.com.eml"]


def test_message_above_the_limit_is_refused(tmp_path: Path) -> None:
    """552, and nothing is kept."""
    with Mailbox(tmp_path, max_message_bytes=20_000) as mailbox, logged_in(mailbox) as session:
        with pytest.raises(smtplib.SMTPResponseException, match="552"):
            session.send_message(message(40_000), to_addrs=RECIPIENTS)
        assert mailbox.messages() == []

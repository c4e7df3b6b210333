"""The mail, sent to a real server that takes it, refuses it, or is not to be trusted."""

from __future__ import annotations

import email
import email.message
import email.policy
import re
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from include.backup.delivery import Order, choose_delivery, deliver
from include.backup.delivery_result import not_reached
from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.letter import Letter
from include.backup.mail import explain
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.mailbox import Mailbox
from include.demo.sample import load_sample
from tests.fix_pipeline import Pipeline

SENDER = "backup@example.com"
ADMINS = ("admin1@example.com", "admin2@example.com")


@pytest.fixture
def letter(
    postgres_18: EmbeddedPostgres,
    make_pipeline: Callable[[str, str | None], Pipeline],
    new_database: Callable[[EmbeddedPostgres], str],
) -> Letter:
    """A letter about a real archive of the sample."""
    conninfo = new_database(postgres_18)
    load_sample(conninfo, scale=0.01)
    pipeline = make_pipeline(conninfo, None)
    archive, sidecar = pipeline.backup()
    return Letter(
        archive=archive,
        sidecar=sidecar,
        choice=choose_delivery(sidecar.archive_bytes, attachment_max_mb=25, server_max_bytes=None),
        warnings=(),
        link_base_url=None,
        run_url="http://airflow.example.com/dags/critical_backup/runs/x",
        zone=ZoneInfo("Asia/Bangkok"),
    )


def send_letter(mailbox: Mailbox, letter: Letter, password: str | None = None) -> dict[str, str]:
    """Send the letter as the operator does: STARTTLS with a verified certificate, then a login."""
    context = ssl.create_default_context(cafile=str(mailbox.certificate))
    try:
        with smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as client:
            client.starttls(context=context)
            client.login(mailbox.user, password or mailbox.password)
            return not_reached(deliver(client, letter, Order(SENDER, ADMINS, "1")), ADMINS, last_try=False)
    except (smtplib.SMTPException, OSError) as error:
        raise explain(error) from error


def body(message: email.message.EmailMessage, kind: str) -> str:
    """Return the text of the mail's plain or HTML part."""
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_mail_arrives_whole_with_the_archive_attached(mailbox: Mailbox, letter: Letter) -> None:
    """Every administrator is in the envelope, and the attachment is the archive, byte for byte."""
    assert send_letter(mailbox, letter) == {}
    (path,) = mailbox.messages()
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert message["X-Envelope-To"] == ", ".join(ADMINS)
    assert message["Subject"].startswith("Backup with" if letter.sidecar.warnings else "Backup OK")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"]
    (attachment,) = message.iter_attachments()
    assert attachment.get_filename() == letter.archive.name
    assert attachment.get_content() == letter.archive.read_bytes()
    text, html = (body(message, kind) for kind in ("plain", "html"))
    for content in (text, html):
        assert letter.archive.name in content
        assert "credit_transactions" in content
        assert "tar -xzf" in content
    assert not re.search(r"src=(?!.cid:)", html), "nothing is loaded from outside"


def test_one_refused_recipient_is_named_and_the_others_have_it(tmp_path: Path, letter: Letter) -> None:
    """The server's words for each refused recipient come back."""
    with Mailbox(tmp_path / "m", refusals={ADMINS[0]: "550 no such user"}) as mailbox:
        assert send_letter(mailbox, letter) == {ADMINS[0]: "550 no such user"}
        assert len(mailbox.messages()) == 1


@pytest.mark.parametrize(("answer", "kind"), [("550 no", DeliveryError), ("450 later", TemporaryError)])
def test_all_recipients_refused_is_an_error(
    tmp_path: Path, letter: Letter, answer: str, kind: type[BackupError]
) -> None:
    """For good or for now, as the server says."""
    with Mailbox(tmp_path / "m", refusals=dict.fromkeys(ADMINS, answer)) as mailbox:
        with pytest.raises(kind, match="every administrator was refused"):
            send_letter(mailbox, letter)
        assert mailbox.messages() == []


def test_wrong_password_is_final_and_says_where_to_look(mailbox: Mailbox, letter: Letter) -> None:
    """No retry, one line, no secret."""
    with pytest.raises(DeliveryError, match=r"535.*smtp_default") as caught:
        send_letter(mailbox, letter, password="not-the-secret")
    assert "not-the-secret" not in str(caught.value)


def test_mail_whose_text_alone_is_over_the_servers_limit_is_final(tmp_path: Path, letter: Letter) -> None:
    """Nothing smaller than a link can be sent: 552 is not tried again."""
    with Mailbox(tmp_path / "m", max_message_bytes=3_000) as mailbox, pytest.raises(DeliveryError, match="552"):
        send_letter(mailbox, letter)


def test_unknown_certificate_is_final(mailbox: Mailbox, letter: Letter) -> None:
    """A server that cannot prove who it is gets nothing."""
    with (
        smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as client,
        pytest.raises(ssl.SSLCertVerificationError) as caught,
    ):
        client.starttls(context=ssl.create_default_context())
    assert isinstance(explain(caught.value), DeliveryError)
    assert mailbox.messages() == []


def test_server_that_is_down_may_pass(tmp_path: Path, letter: Letter) -> None:
    """A refused connection is worth another try."""
    with Mailbox(tmp_path / "m") as mailbox:
        pass
    with pytest.raises(TemporaryError, match="cannot be reached"):
        send_letter(mailbox, letter)

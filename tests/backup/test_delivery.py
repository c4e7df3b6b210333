"""The mail, without a server: choice, subject, parts, and what an error means."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from include.backup.delivery import Choice, Letter, build_message, choose_delivery
from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.mail import explain
from include.backup.manifest import FileRecord, RunRecord

if TYPE_CHECKING:
    from tests.backup.conftest import MakeSidecar, MakeTable

MB = 1024 * 1024
SENDER = "backup@example.com"
ADMINS = ("ada@example.com", "bob@example.org")
SNAPSHOT_AT = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)
CONTENT = bytes(range(256)) * 50 + b"\r\n.\r\n"

MakeLetter = Callable[..., Letter]


@pytest.fixture
def letter(tmp_path: Path, sidecar: MakeSidecar) -> MakeLetter:
    """Return a maker of letters; keywords of the letter, or of the sidecar."""
    fields = {"choice", "warnings", "link_base_url", "run_url", "zone"}

    def make(**changes: Any) -> Letter:
        own = {key: changes.pop(key) for key in tuple(changes) if key in fields and key != "warnings"}
        own["warnings"] = changes.pop("more_warnings", ())
        facts = sidecar(**changes)
        archive = tmp_path / facts.archive
        archive.write_bytes(CONTENT)
        defaults = {
            "choice": Choice("attachment", "small"),
            "link_base_url": None,
            "run_url": None,
            "zone": timezone.utc,
        }
        return Letter(archive=archive, sidecar=facts, **(defaults | own))

    return make


def build(letter: Letter) -> EmailMessage:
    """Return the mail as it arrives: built, sent as bytes, and read again."""
    sent = build_message(letter, sender=SENDER, recipients=ADMINS).as_bytes(policy=SMTP)
    message = message_from_bytes(sent, policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def texts(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


@pytest.mark.parametrize(
    ("size", "kind"),
    [(0, "attachment"), (25 * MB - 1, "attachment"), (25 * MB, "link"), (25 * MB + 1, "link"), (10**12, "link")],
)
def test_choice_at_the_limit(size: int, kind: str) -> None:
    """Below 25 MB of 1,048,576 bytes it is attached, from there on a link is sent; the reason names the limit."""
    choice = choose_delivery(size, attachment_max_mb=25)
    assert choice.kind == kind
    assert "BACKUP_ATTACHMENT_MAX_MB=25" in choice.reason


def test_choice_limit_zero_never_attaches() -> None:
    """BACKUP_ATTACHMENT_MAX_MB=0 turns attachments off."""
    assert choose_delivery(0, attachment_max_mb=0).kind == "link"


def test_message_attachment_arrives_unchanged(letter: MakeLetter) -> None:
    """The attachment is the archive, byte for byte, under its name, as gzip."""
    message = build(letter())
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == CONTENT
    assert attachment.get_filename() == "critical_backup_20261120_020004.tar.gz"
    assert attachment.get_content_type() == "application/gzip"
    assert "The archive is attached." in texts(message)[0]


def test_message_link_has_no_attachment(letter: MakeLetter) -> None:
    """With a link nothing is attached; both texts have the address."""
    message = build(letter(choice=Choice("link", "30.0 MB is not below"), link_base_url="https://air.example.com/x"))
    assert list(message.iter_attachments()) == []
    address = "https://air.example.com/x/backup/archives/critical_backup_20261120_020004.tar.gz/download"
    assert [address in text for text in texts(message)] == [True, True]


def test_message_no_link_address_names_the_path(letter: MakeLetter) -> None:
    """Where no server answers links, the mail names the path on the backup host and the variable to set."""
    one = letter(choice=Choice("link", "30.0 MB is not below"))
    for text in texts(build(one)):
        assert str(one.archive) in text
        assert "BACKUP_LINK_BASE_URL" in text


def test_message_headers_name_sender_and_every_administrator(letter: MakeLetter) -> None:
    """From, To, Date and Message-ID are there; no auto-responder answers it."""
    message = build(letter())
    assert message["From"] == SENDER
    assert message["To"] == ", ".join(ADMINS)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@example.com>")
    assert abs(message["Date"].datetime.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)) < timedelta(
        minutes=1
    )


def test_message_each_has_its_own_id(letter: MakeLetter) -> None:
    """Two mails are never taken for one."""
    assert build(letter())["Message-ID"] != build(letter())["Message-ID"]


@pytest.mark.parametrize(
    ("in_manifest", "besides", "state"),
    [
        ((), (), "Backup OK"),
        (("a",), (), "Backup with 1 warning"),
        ((), ("b",), "Backup with 1 warning"),
        (("a",), ("b",), "Backup with 2 warnings"),
    ],
)
def test_subject_says_state_database_time_size(
    letter: MakeLetter, in_manifest: tuple[str, ...], besides: tuple[str, ...], state: str
) -> None:
    """The subject alone tells whether all is well, of which database, from when, and how large."""
    message = build(letter(warnings=in_manifest, more_warnings=besides, archive_bytes=5 * MB))
    assert message["Subject"] == f"{state}: shop 2026-11-20 02:00, 5.0 MB"


def test_subject_time_in_the_zone(letter: MakeLetter) -> None:
    """Times are those of BACKUP_TIMEZONE."""
    assert "shop 2026-11-20 09:00," in build(letter(zone=ZoneInfo("Asia/Bangkok")))["Subject"]


def test_message_backfill_says_both_times(letter: MakeLetter) -> None:
    """A backfilled run's mail says when the rows were read, and the day that it stands for, also in the subject."""
    run = RunRecord(run_id="b", kind="backfill", stands_for=SNAPSHOT_AT - timedelta(days=2), reason="")
    message = build(letter(run=run))
    assert message["Subject"].endswith(", stands for 2026-11-18")
    for text in texts(message):
        assert "2026-11-18 02:00:04 UTC" in text
        assert "2026-11-20 02:00:04 UTC" in text
        assert "cannot bring back the past" in " ".join(text.split())


def test_message_reason_of_a_manual_run_shown(letter: MakeLetter) -> None:
    """What the person said who started the run stands in both texts (spec, story 6)."""
    run = RunRecord(run_id="m", kind="manual", stands_for=SNAPSHOT_AT, reason="before migration 42")
    assert ["before migration 42" in text for text in texts(build(letter(run=run)))] == [True, True]


def test_message_shows_every_table_file_and_warning(letter: MakeLetter, table: MakeTable) -> None:
    """Both texts hold the summary: each table with its rows, each configuration file, each warning, the SHA-256."""
    one = letter(
        tables=(
            table("users", "users.sql", ("id",), rows=1234),
            table("buys", "buys.csv", ("id",), rows=7, windowed=True),
        ),
        files=(FileRecord(name="nginx.prod.conf", kind="configuration", mode="0600", bytes=2048, sha256="0" * 64),),
        warnings=("tables not in scope: carts",),
        more_warnings=("the archive is small",),
        run_url="https://airflow.example.com/dags/critical_backup/runs/1",
    )
    pieces = (
        "users", "1,234", "users.sql", "buys", "buys.csv", "nginx.prod.conf", "2.0 KB", "tables not in scope: carts",
        "the archive is small", "5f" * 32, "tar -xzf", "https://airflow.example.com/dags/critical_backup/runs/1",
        "2026-11-20 02:00:04 UTC",
    )  # fmt: skip
    for text in texts(build(one)):
        assert [piece for piece in pieces if piece not in text] == []


@pytest.mark.parametrize(
    ("name", "warned"),
    [("ssl/key.pem", True), (".env.production", True), ("tls/server.key", True), ("nginx.prod.conf", False)],
)
def test_message_secret_files_warned_about(letter: MakeLetter, name: str, warned: bool) -> None:
    """Where private keys or .env travel in clear, the mail says so and names them."""
    files = (FileRecord(name=name, kind="configuration", mode="0600", bytes=1, sha256="0" * 64),)
    for text in texts(build(letter(files=files))):
        assert ("not encrypted" in text) is warned


@pytest.mark.parametrize(
    "database",
    ["shop\nBcc: evil@example.com", "shop\r\nBcc: evil@example.com", "a\rb", "a\N{LINE SEPARATOR}b", "a\x0bb"],
)
def test_message_line_break_in_database_name_adds_no_header(letter: MakeLetter, database: str) -> None:
    """PostgreSQL allows any name; the mail is still sent, and the name cannot add a header."""
    server = letter().sidecar.server.model_copy(update={"database": database})
    message = build(letter(server=server))
    assert message["Bcc"] is None
    assert message["Subject"].startswith("Backup OK: ")
    assert message["To"] == ", ".join(ADMINS)


def test_message_name_that_is_not_english_arrives(letter: MakeLetter) -> None:
    """Thai and emoji in the database's name arrive in subject and texts."""
    server = letter().sidecar.server.model_copy(update={"database": "ร้านค้า 🙏"})
    message = build(letter(server=server, warnings=("ตาราง ใหม่",)))
    assert "ร้านค้า 🙏 2026-11-20" in message["Subject"]
    assert ["ตาราง ใหม่" in text for text in texts(message)] == [True, True]


ERRORS: list[tuple[Exception, type[BackupError], str]] = [
    (smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong password"), DeliveryError, "535 5.7.8 wrong password"),
    (smtplib.SMTPAuthenticationError(454, b"4.7.0 try later"), TemporaryError, "454 4.7.0 try later"),
    (smtplib.SMTPSenderRefused(553, b"not yours", SENDER), DeliveryError, "553 not yours"),
    (smtplib.SMTPDataError(552, b"too large"), DeliveryError, "552 too large"),
    (smtplib.SMTPDataError(451, b"greylisted"), TemporaryError, "451 greylisted"),
    (smtplib.SMTPDataError(451, "greylisted"), TemporaryError, "451 greylisted"),
    (smtplib.SMTPConnectError(421, b"busy"), TemporaryError, "421 busy"),
    (smtplib.SMTPConnectError(554, b"blocked"), DeliveryError, "554 blocked"),
    (smtplib.SMTPHeloError(504, b"who"), DeliveryError, "504 who"),
    (smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), TemporaryError, "unexpectedly closed"),
    (smtplib.SMTPNotSupportedError("STARTTLS extension not supported"), DeliveryError, "STARTTLS"),
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), DeliveryError, "certificate verify failed"),
    (ConnectionRefusedError(111, "Connection refused"), TemporaryError, "Connection refused"),
    (socket.gaierror(-2, "Name or service not known"), TemporaryError, "Name or service not known"),
    (TimeoutError("timed out"), TemporaryError, "timed out"),
    (smtplib.SMTPRecipientsRefused({"a@x": (550, b"no"), "b@x": (551, b"gone")}), DeliveryError, "a@x: 550 no"),
    (smtplib.SMTPRecipientsRefused({"a@x": (550, b"no"), "b@x": (450, b"later")}), TemporaryError, "b@x: 450 later"),
    (smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong\n5.7.8 see https://x"), DeliveryError, "see https://x"),
    (smtplib.SMTPRecipientsRefused({"a@x": (550, b"5.1.1 no\r\n5.1.1 such")}), DeliveryError, "such"),
    (smtplib.SMTPDataError(554, b"\xff\xfe"), DeliveryError, "554"),
]


@pytest.mark.parametrize(("error", "kind", "piece"), ERRORS, ids=[f"{e[0]!r:.60}" for e in ERRORS])
def test_explain_error_decides_whether_to_retry(error: Exception, kind: type[BackupError], piece: str) -> None:
    """4xx and broken connections may pass by waiting, 5xx and no encryption do not; one line says what to check."""
    explained = explain(error)
    assert type(explained) is kind
    message = str(explained)
    assert message.splitlines() == [message]
    assert piece in message
    assert "check " in message

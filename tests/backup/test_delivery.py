"""The mail, without a server: choice, subject, parts, and what an error means."""

from __future__ import annotations

import re
import secrets
import smtplib
import socket
import ssl
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest

from include.backup.delivery import choose_delivery
from include.backup.errors import BackupError, DeliveryError, MailTooLargeError, TemporaryError
from include.backup.letter import Choice, Letter, build_message
from include.backup.link import check_link
from include.backup.mail import explain
from include.backup.manifest import FileRecord, RunRecord
from include.backup.outgoing import BLOCK_BYTES, outgoing
from include.backup.templates import size_text
from tests.fix_archives import ENCRYPTION, PUBLIC_KEY

if TYPE_CHECKING:
    from tests.backup.conftest import MakeLetter
    from tests.fix_archives import MakeTable

MB = 1024 * 1024
SENDER = "backup@example.com"
ADMINS = ("ada@example.com", "bob@example.org")
KEY_FILE = FileRecord(name="ssl/key.pem", kind="configuration", mode="0600", bytes=1, sha256="0" * 64)
SNAPSHOT_AT = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)


def build(letter: Letter) -> EmailMessage:
    """Return the mail as it arrives: built, sent as bytes, and read again."""
    sent = b"".join(build_message(letter, sender=SENDER, recipients=ADMINS).blocks())
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
    choice = choose_delivery(size, attachment_max_mb=25, server_max_bytes=None)
    assert choice.kind == kind
    assert "BACKUP_ATTACHMENT_MAX_MB=25" in choice.reason


def test_choice_limit_zero_never_attaches() -> None:
    """BACKUP_ATTACHMENT_MAX_MB=0 turns attachments off."""
    assert choose_delivery(0, attachment_max_mb=0, server_max_bytes=None).kind == "link"


@pytest.mark.parametrize(
    ("server_max_bytes", "kind"),
    [(None, "attachment"), (30 * MB, "attachment"), (28 * MB, "attachment"), (27 * MB, "link"), (1, "link")],
)
def test_choice_by_the_servers_limit(server_max_bytes: int | None, kind: str) -> None:
    """20 MB are 27.4 MB on the wire: what the server announces decides as well, and the reason has both figures."""
    choice = choose_delivery(20 * MB, attachment_max_mb=25, server_max_bytes=server_max_bytes)
    assert choice.kind == kind
    if server_max_bytes:
        assert "27.4 MB on the wire" in choice.reason
        assert size_text(server_max_bytes) in choice.reason


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 59, 60, 114, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 58])
def test_size_on_the_wire_is_what_is_sent(tmp_path: Path, size: int) -> None:
    """The size told to the server is that of the blocks, and the attachment comes back as it was, at every edge."""
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(secrets.token_bytes(size))
    message = EmailMessage()
    message.set_content("text")
    mail = outgoing(message, archive)
    sent = b"".join(mail.blocks())
    assert mail.size_bytes == len(sent)
    received = message_from_bytes(sent, policy=SMTP)
    assert isinstance(received, EmailMessage)
    (attachment,) = received.iter_attachments()
    assert attachment.get_content() == archive.read_bytes()


def test_message_attachment_arrives_unchanged(letter: MakeLetter) -> None:
    """The attachment is the archive, byte for byte, under its name, as gzip."""
    message = build(letter())
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == letter().archive.read_bytes()
    assert attachment.get_filename() == "critical_backup_20261120_020004.tar.gz"
    assert attachment.get_content_type() == "application/gzip"
    assert "The archive is attached." in texts(message)[0]


def test_message_encrypted_attachment_arrives_unchanged_with_its_command(letter: MakeLetter) -> None:
    """It is no gzip to a mail program; both texts say how it is decrypted, which keys open it, and unpack the plain."""
    name = "critical_backup_20261120_020004.tar.gz"
    one = letter(archive=f"{name}.age", encryption=ENCRYPTION, files=(KEY_FILE,))
    message = build(one)
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == one.archive.read_bytes()
    assert (attachment.get_filename(), attachment.get_content_type()) == (f"{name}.age", "application/octet-stream")
    for text in texts(message):
        for part in (f"age -d -i KEY_FILE -o {name} {name}.age", f"tar -xzf {name} -C restore", PUBLIC_KEY):
            assert part in text
        assert "not encrypted" not in text


def test_message_plain_archive_says_nothing_of_decryption(letter: MakeLetter) -> None:
    """There is nothing to decrypt."""
    for text in texts(build(letter())):
        assert "age -d" not in text


def test_message_link_has_no_attachment(letter: MakeLetter) -> None:
    """With a link nothing is attached; both texts have the address."""
    message = build(letter(choice=Choice("link", "30.0 MB is not below"), link_base_url="https://air.example.com/x"))
    assert list(message.iter_attachments()) == []
    address = "https://air.example.com/x/backup/archives/critical_backup_20261120_020004.tar.gz/download?expires="
    assert [address in text for text in texts(message)] == [True, True]


def test_message_link_says_until_when_and_works_until_then(letter: MakeLetter) -> None:
    """Both texts have the same signed link, and the moment until which the server takes it, in the letter's zone."""
    bangkok = ZoneInfo("Asia/Bangkok")
    one = letter(choice=Choice("link", "large"), link_base_url="https://air.example.com", link_days=3, zone=bangkok)
    plain, html = texts(build(one))
    address = re.search(r"Download: (\S+)", plain)[1]  # type: ignore[index]
    assert address in unescape(html)
    query = dict(parse_qsl(urlsplit(address).query))
    works_until = datetime.fromtimestamp(int(query["expires"]), timezone.utc)
    assert abs(works_until - datetime.now(timezone.utc) - timedelta(days=3)) < timedelta(minutes=1)
    said = f"works until {works_until.astimezone(bangkok):%Y-%m-%d %H:%M:%S} +07 and asks for your login"
    assert [said in text for text in (plain, html)] == [True, True]
    check_link(one.archive.parent, one.archive.name, **query, now=works_until)


def test_message_no_link_address_names_the_path(letter: MakeLetter) -> None:
    """Where no server answers links, the mail names the path on the backup host and the variable to set."""
    one = letter(choice=Choice("link", "30.0 MB is not below"))
    for text in texts(build(one)):
        assert str(one.archive) in text
        assert "BACKUP_LINK_BASE_URL" in text


def test_message_says_when_the_backup_host_has_the_only_copy(letter: MakeLetter) -> None:
    """With a link, and no second copy that is there or coming; what is attached is in every mailbox."""
    link = Choice("link", "large")
    for one, expected in (
        (letter(choice=link), True),
        (letter(choice=link, copy_awaited=True), False),
        (letter(), False),
    ):
        for text in texts(build(one)):
            assert ("BACKUP_COPY_URL" in text) is expected
            assert ("on the backup host alone" in " ".join(text.split())) is expected


def test_message_links_to_the_status_page(letter: MakeLetter) -> None:
    """Both texts have its address, beside the run's; where no link is made, they say that the archive is there."""
    page = "https://airflow.example.com/backup/"
    for text in texts(build(letter(page_url=page, choice=Choice("link", "large")))):
        assert text.count(page) == (2 if "<html" in text else 1)
        assert "the status page" in text
    for text in texts(build(letter())):
        assert "the status page" not in text


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


def test_message_id_is_that_of_the_archive(letter: MakeLetter) -> None:
    """Every try has the same one, so that a mail that arrives twice is known for one; another archive has another."""
    assert build(letter())["Message-ID"] == build(letter())["Message-ID"]
    assert build(letter())["Message-ID"] != build(letter(archive_sha256="6a" * 32))["Message-ID"]


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
    [
        ("ssl/key.pem", True),
        (".env.production", True),
        ("prod.env", True),
        ("tls/SERVER.KEY", True),
        ("deploy/id_ed25519", True),
        ("deploy/id_ed25519.pub", False),
        ("nginx.prod.conf", False),
    ],
)
def test_message_secret_files_warned_about(letter: MakeLetter, name: str, warned: bool) -> None:
    """Where private keys or .env travel in clear, the mail says so and names them."""
    files = (FileRecord(name=name, kind="configuration", mode="0600", bytes=1, sha256="0" * 64),)
    for text in texts(build(letter(files=files))):
        assert ("not encrypted" in text) is warned
        assert ("BACKUP_AGE_RECIPIENTS" in text) is warned


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
    (smtplib.SMTPDataError(552, b"too large"), MailTooLargeError, "552 too large"),
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
    (smtplib.SMTPSenderRefused(552, b"too large", SENDER), MailTooLargeError, "552 too large"),
    (smtplib.SMTPDataError(554, b"5.3.4 message too big"), MailTooLargeError, "5.3.4 message too big"),
    (smtplib.SMTPDataError(-1, b""), TemporaryError, "answered -1"),
    (smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong\n5.7.8 see https://x"), DeliveryError, "see https://x"),
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

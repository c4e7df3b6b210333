"""The mail that brings the archive, or a link to it, to every administrator."""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Literal

from include.backup.errors import BackupError, DeliveryError, TemporaryError
from include.backup.manifest import Sidecar
from include.backup.settings import BYTES_PER_MB
from include.backup.templates import render, size_text

log = logging.getLogger(__name__)

DOWNLOAD_PATH = "/backup/archives/{name}/download"

Answer = tuple[int, bytes | str]


@dataclass(frozen=True)
class Choice:
    """How an archive travels, and why."""

    kind: Literal["attachment", "link"]
    reason: str


def choose_delivery(archive_bytes: int, *, attachment_max_mb: int) -> Choice:
    """Attach an archive below the limit, otherwise send a link. Source: spec FR-3."""
    size = size_text(archive_bytes)
    if archive_bytes < attachment_max_mb * BYTES_PER_MB:
        return Choice("attachment", f"{size} is below BACKUP_ATTACHMENT_MAX_MB={attachment_max_mb}")
    return Choice("link", f"{size} is not below BACKUP_ATTACHMENT_MAX_MB={attachment_max_mb}")


@dataclass(frozen=True)
class Letter:
    """
    What a mail says.

    Args:
        archive: The archive's path.
        sidecar: Its manifest.
        choice: Attachment or link.
        warnings: Besides those in the manifest.
        link_base_url: Where the download is served, if anywhere.
        run_url: The run's page in Airflow, if known.
        zone: For times.
    """

    archive: Path
    sidecar: Sidecar
    choice: Choice
    warnings: tuple[str, ...]
    link_base_url: str | None
    run_url: str | None
    zone: tzinfo

    @property
    def link(self) -> str | None:
        """Where the archive can be fetched; None if BACKUP_LINK_BASE_URL is not set."""
        return self.link_base_url and self.link_base_url + DOWNLOAD_PATH.format(name=self.archive.name)


def build_message(letter: Letter, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail: plain text, HTML, and the archive where it is to be attached."""
    sidecar = letter.sidecar
    warnings = (*letter.warnings, *sidecar.warnings)
    values = {
        "sidecar": sidecar,
        "letter": letter,
        "warnings": warnings,
        "secrets": [f.name for f in sidecar.files if f.kind == "configuration" and _is_secret(f.name)],
    }
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"] = _subject(letter, warnings)
    message.set_content(render("backup_mail.txt.j2", values), cte="quoted-printable")
    message.add_alternative(render("backup_mail.html.j2", values), subtype="html", cte="quoted-printable")
    if letter.choice.kind == "attachment":
        content = letter.archive.read_bytes()
        message.add_attachment(content, maintype="application", subtype="gzip", filename=letter.archive.name)
    return message


def _subject(letter: Letter, warnings: Sequence[str]) -> str:
    sidecar = letter.sidecar
    many = "" if len(warnings) == 1 else "s"
    state = f"Backup with {len(warnings)} warning{many}" if warnings else "Backup OK"
    day = sidecar.snapshot_at.astimezone(letter.zone)
    stands_for = sidecar.run.stands_for.astimezone(letter.zone)
    backfilled = f", stands for {stands_for:%Y-%m-%d}" if sidecar.made_later else ""
    database = " ".join(sidecar.server.database.split())  # a name may hold line breaks, a header may not
    return f"{state}: {database} {day:%Y-%m-%d %H:%M}, {size_text(sidecar.archive_bytes)}{backfilled}"


def _is_secret(name: str) -> bool:
    base = Path(name).name
    return base.endswith((".key", "key.pem", ".p12", ".pfx", "id_rsa", "id_ed25519")) or base.startswith(".env")


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

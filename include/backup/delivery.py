"""The mail that brings the archive, or a link to it, to every administrator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from include.backup.mail import new_message
from include.backup.manifest import Sidecar
from include.backup.settings import BYTES_PER_MB
from include.backup.templates import size_text

DOWNLOAD_PATH = "/backup/archives/{name}/download"


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
    message = new_message(
        "backup_mail", values, subject=_subject(letter, warnings), sender=sender, recipients=recipients
    )
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
    return f"{state}: {sidecar.server.database} {day:%Y-%m-%d %H:%M}, {size_text(sidecar.archive_bytes)}{backfilled}"


def _is_secret(name: str) -> bool:
    base = Path(name).name
    return base.endswith((".key", "key.pem", ".p12", ".pfx", "id_rsa", "id_ed25519")) or base.startswith(".env")

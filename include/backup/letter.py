"""The mail about an archive: what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import Literal

from include.backup.archive_name import stem
from include.backup.backup_id import UNNAMED, Backup
from include.backup.copy_record import CopyRecord
from include.backup.history import History
from include.backup.in_clear import secrets_in_clear
from include.backup.link import SignedLink, signed_link
from include.backup.mail import domain_of, new_message
from include.backup.manifest import Sidecar
from include.backup.outgoing import Outgoing, outgoing
from include.backup.run import utc_now
from include.backup.size_picture import size_picture
from include.backup.templates import size_text


@dataclass(frozen=True)
class Choice:
    """How an archive travels, and why."""

    kind: Literal["attachment", "link"]
    reason: str


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
        history: The nights before, for the picture and for what changed; None leaves both out.
        copy: The second copy, if it is there already.
        copy_awaited: Whether there is to be one.
        link_days: How long the link works.
        page_url: The status page, if its address is known.
        backup: Of which backup.
    """

    archive: Path
    sidecar: Sidecar
    choice: Choice
    warnings: tuple[str, ...]
    link_base_url: str | None
    run_url: str | None
    zone: tzinfo
    history: History | None = None
    copy: CopyRecord | None = None
    copy_awaited: bool = False
    link_days: int = 7
    page_url: str | None = None
    backup: Backup = UNNAMED

    @cached_property
    def link(self) -> SignedLink | None:
        """Where the archive can be fetched, and until when; None if BACKUP_LINK_BASE_URL is not set."""
        if not self.link_base_url:
            return None
        works_until = utc_now().astimezone(self.zone) + timedelta(days=self.link_days)
        return signed_link(self.archive, self.link_base_url, works_until=works_until, backup=self.backup)


def build_message(letter: Letter, *, sender: str, recipients: Sequence[str], edition: str = "") -> Outgoing:
    """
    Return the mail: plain text, HTML, and the archive where it is to be attached.

    Its Message-ID is the archive's: the same at every try, so that a mail that does arrive twice is known for one.

    Args:
        letter: What it says.
        sender: Also whose domain the Message-ID has.
        recipients: Every administrator, also those who have it already.
        edition: Makes another Message-ID, for a mail that somebody wants once more.
    """
    sidecar = letter.sidecar
    warnings = (*letter.warnings, *sidecar.warnings)
    name = f"{stem(letter.archive.name)}.{sidecar.archive_sha256[:16]}{edition}"
    picture_id = f"sizes-{sidecar.archive_sha256[:16]}@{domain_of(sender)}"
    values = {
        "sidecar": sidecar,
        "letter": letter,
        "warnings": warnings,
        "picture_id": picture_id,
        "in_clear": secrets_in_clear(sidecar.archive, sidecar.files),
    }
    message = new_message(
        "backup_mail", values, subject=_subject(letter, warnings), sender=sender, recipients=recipients
    )
    message.replace_header("Message-ID", f"<{name}@{domain_of(sender)}>")
    if letter.history and letter.history.nights:
        _add_picture(message, letter.history, picture_id)
    return outgoing(message, letter.archive if letter.choice.kind == "attachment" else None)


def _add_picture(message: EmailMessage, history: History, picture_id: str) -> None:
    """Put the picture beside the HTML, which shows it by its id: nothing is loaded from outside."""
    html = message.get_body(("html",))
    if html:
        picture = size_picture([size for _, size in history.sizes])
        html.add_related(picture, "image", "png", cid=f"<{picture_id}>", disposition="inline")


def _subject(letter: Letter, warnings: Sequence[str]) -> str:
    sidecar = letter.sidecar
    many = "" if len(warnings) == 1 else "s"
    state = f"Backup with {len(warnings)} warning{many}" if warnings else "Backup OK"
    day = sidecar.snapshot_at.astimezone(letter.zone)
    stands_for = sidecar.run.stands_for.astimezone(letter.zone)
    backfilled = f", stands for {stands_for:%Y-%m-%d}" if sidecar.made_later else ""
    size = size_text(sidecar.archive_bytes)
    return letter.backup.named(f"{state}: {sidecar.server.database} {day:%Y-%m-%d %H:%M}, {size}{backfilled}")

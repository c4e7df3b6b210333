"""Who has the mail of an archive: a small JSON beside the archive, written before and after the server's answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from include.backup.archive_name import delivery_path
from include.backup.durable import write_atomically
from include.backup.errors import BackupError
from include.backup.manifest import Record
from include.backup.rights import published_mode
from include.backup.small_file import read_small_file


class RecipientRecord(Record):
    """
    What became of one recipient's mail.

    `sending`: all of it was sent, no answer is recorded; `unconfirmed`: the same, and the recipient was told so.
    `series` names the try and its retries: clearing the task begins another.
    """

    state: Literal["sending", "unconfirmed", "accepted", "deferred", "refused"]
    series: str
    at: AwareDatetime
    answer: str = ""

    def is_due(self, *, series: str, send_again: bool) -> bool:
        """Whether the recipient shall be sent the mail in this series of tries."""
        if self.state == "accepted":
            return send_again and self.series != series
        if self.state in ("refused", "unconfirmed"):
            return self.series != series  # a person has cleared the task, and knows
        return self.state == "deferred"


class DeliveryRecord(Record):
    """
    The recipients of one archive's mail, by address.

    `link_reason` says why it cannot go as an attachment; `alerted` of whom the others were told that they lack it, and
    in which series of tries.
    """

    recipients: dict[str, RecipientRecord] = Field(default_factory=dict)
    link_reason: str = ""
    alerted: dict[str, str] = Field(default_factory=dict)

    def in_state(self, *states: str) -> dict[str, RecipientRecord]:
        """Return the recipients in one of these states."""
        return {name: entry for name, entry in self.recipients.items() if entry.state in states}

    def untold(self, lacking: Iterable[str]) -> dict[str, str]:
        """Return of whom the others have not been told that they lack the mail, each with the series of tries."""
        series = {name: self.recipients[name].series for name in lacking}
        return {name: value for name, value in series.items() if self.alerted.get(name) != value}


def read_delivery(archive: Path) -> DeliveryRecord:
    """
    Return who has the archive's mail; an empty record if nothing was sent yet.

    Raises:
        BackupError: If the record cannot be read: sending anyway could mean sending twice.
    """
    path = delivery_path(archive)
    try:
        return DeliveryRecord.model_validate_json(read_small_file(path))
    except FileNotFoundError:
        return DeliveryRecord()
    except (OSError, ValueError) as error:
        raise BackupError(
            f"cannot read who has the mail of {archive.name} already: {path} is no delivery record "
            f"({type(error).__name__}); remove it to send the mail to every administrator"
        ) from None


def write_delivery(archive: Path, record: DeliveryRecord) -> None:
    """Record it, synced to the disk, in place of the record before."""
    content = record.model_dump_json(indent=1).encode()
    write_atomically(delivery_path(archive), content, mode=published_mode(archive.parent))

"""Alerts that have not gone every way, by mail and to Slack: kept in BACKUP_DIR until the watch has sent them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from include.backup.durable import write_atomically
from include.backup.notice import Notice
from include.backup.rights import PRIVATE_FOLDER
from include.backup.small_file import read_small_file

log = logging.getLogger(__name__)

Channel = Literal["slack", "mail"]
CHANNELS: tuple[Channel, ...] = ("slack", "mail")  # the mail server may take long

UNSENT_FOLDER = ".unsent_alerts"
WAITS, IS_BEING_SENT = ".json", ".sending"
MAX_UNSENT = 100  # a mail server that is down for long must not fill the disk
# Longer than any way takes: whoever was sending it has been killed.
SENDING_TAKES_AT_MOST = timedelta(minutes=15)
# A webhook that is gone for good must not take the room of mails; every administrator has the mail.
SLACK_ALONE_WAITS_AT_MOST = timedelta(days=1)


@dataclass(frozen=True)
class Unsent:
    """An alert, since when it waits, and the ways that have not taken it."""

    notice: Notice
    since: AwareDatetime
    channels: tuple[Channel, ...] = CHANNELS

    def is_given_up(self, now: datetime) -> bool:
        """Whether it is not worth another try."""
        return self.channels == ("slack",) and now - self.since > SLACK_ALONE_WAITS_AT_MOST


_UNSENT = TypeAdapter(Unsent)


def keep_while_sending(backup_dir: Path, unsent: Unsent) -> Path | None:
    """
    Keep an alert before it is sent: whoever sends it may be killed. Return its file, None if too many wait already.

    Raises:
        OSError: If it cannot be written.
    """
    folder = backup_dir / UNSENT_FOLDER
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if len(list(folder.glob(f"*{WAITS}"))) >= MAX_UNSENT:
        log.warning("%d alerts wait in %s already; this one is not kept", MAX_UNSENT, folder)
        return None
    path = folder / f"{unsent.since:%Y%m%d_%H%M%S_%f}_{secrets.token_hex(4)}{IS_BEING_SENT}"
    write_atomically(path, _UNSENT.dump_json(unsent, indent=1))
    return path


def settle(path: Path, unsent: Unsent) -> None:
    """
    Remember which ways still lack the alert of this file; without any, it is removed.

    Raises:
        OSError: If that cannot be written.
    """
    waiting = path.with_suffix(WAITS)
    if unsent.channels:
        write_atomically(waiting, _UNSENT.dump_json(unsent, indent=1))
    if not unsent.channels or path != waiting:
        path.unlink(missing_ok=True)


def read_unsent(backup_dir: Path, *, now: datetime) -> Iterator[tuple[Path, Unsent]]:
    """Yield the alerts that wait, oldest first, each with its file; one that cannot be read is passed over."""
    for path in sorted((backup_dir / UNSENT_FOLDER).glob("*.*")):
        try:
            if path.suffix == IS_BEING_SENT and now.timestamp() - path.stat().st_mtime < SENDING_TAKES_AT_MOST.seconds:
                continue
            if path.suffix in (WAITS, IS_BEING_SENT):
                yield path, _UNSENT.validate_json(read_small_file(path))
        except (OSError, ValidationError) as error:
            log.warning("%s is passed over: %s", path, error)

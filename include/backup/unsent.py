"""Alerts that could not be sent: kept in BACKUP_DIR until the watch has sent them."""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from include.backup.durable import write_atomically
from include.backup.notice import Notice
from include.backup.rights import PRIVATE_FOLDER
from include.backup.small_file import read_small_file

log = logging.getLogger(__name__)

UNSENT_FOLDER = ".unsent_alerts"
MAX_UNSENT = 100  # a mail server that is down for long must not fill the disk
_NOTICE = TypeAdapter(Notice)


def keep_unsent(backup_dir: Path, notice: Notice, *, now: datetime) -> None:
    """
    Keep an alert for the watch.

    Raises:
        OSError: If it cannot be written.
    """
    folder = backup_dir / UNSENT_FOLDER
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if len(list(folder.glob("*.json"))) >= MAX_UNSENT:
        log.warning("%d alerts wait in %s already; this one is not kept", MAX_UNSENT, folder)
        return
    content = json.dumps(dataclasses.asdict(notice), indent=1).encode()
    write_atomically(folder / f"{now:%Y%m%d_%H%M%S}_{secrets.token_hex(4)}.json", content)


def read_unsent(backup_dir: Path) -> Iterator[tuple[Path, Notice]]:
    """Yield the alerts that are kept, oldest first, each with its file; one that cannot be read is passed over."""
    for path in sorted((backup_dir / UNSENT_FOLDER).glob("*.json")):
        try:
            yield path, _NOTICE.validate_json(read_small_file(path))
        except (OSError, ValidationError) as error:
            log.warning("%s is passed over: %s", path, error)

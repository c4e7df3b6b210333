"""The status files: when the last good backup was, and how large. Read without Airflow by the health check."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from pathlib import Path

from include.backup.durable import write_atomically
from include.backup.manifest import Sidecar
from include.backup.rights import published_mode
from include.backup.run import utc_now
from include.backup.settings import BYTES_PER_MB
from include.backup.small_file import read_small_file
from include.backup.templates import size_text

log = logging.getLogger(__name__)

LAST_SUCCESS_FILE = ".last_backup_success"
LAST_SIZE_FILE = ".last_backup_size_mb"


def update_status(sidecar: Sidecar, backup_dir: Path) -> bool:
    """
    Record the archive as the last success: its snapshot time (ISO 8601, UTC) and its size in whole MB.

    Returns:
        False if a later one is recorded already (an old run was cleared); then nothing changes.
    """
    recorded = read_last_success(backup_dir)
    if recorded and sidecar.snapshot_at < recorded <= utc_now():  # one in the future is a clock's mistake
        log.info("the status stays: a later success, %s, is recorded already", recorded.isoformat())
        return False
    size_mb = sidecar.archive_bytes // BYTES_PER_MB
    mode = published_mode(backup_dir)
    write_atomically(backup_dir / LAST_SIZE_FILE, f"{size_mb}\n".encode(), mode=mode)
    moment = sidecar.snapshot_at.astimezone(timezone.utc).isoformat()
    write_atomically(backup_dir / LAST_SUCCESS_FILE, f"{moment}\n".encode(), mode=mode)
    return True


def read_last_success(backup_dir: Path) -> datetime | None:
    """Return the recorded time of the last success, aware; None if there is none or it cannot be read."""
    try:
        text = read_small_file(backup_dir / LAST_SUCCESS_FILE).decode()
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except (OSError, ValueError):
        return None
    return moment if moment.tzinfo else None


def size_warning(archive_bytes: int, *, min_mb: int, max_mb: int) -> str | None:
    """Return what is odd about an archive's size, if it lies outside the limits. Source: spec FR-4."""
    if archive_bytes < min_mb * BYTES_PER_MB:
        return f"the archive has {size_text(archive_bytes)}, less than BACKUP_MIN_SIZE_MB={min_mb}: are rows missing?"
    if archive_bytes > max_mb * BYTES_PER_MB:
        return (
            f"the archive has {size_text(archive_bytes)}, more than BACKUP_MAX_SIZE_MB={max_mb}: "
            "has a table grown, or come into the scope?"
        )
    return None

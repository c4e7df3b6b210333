"""What the health check must know of several backups, left for it in BACKUP_DIR: it reads neither YAML nor settings."""

from __future__ import annotations

import json

from include.backup.durable import write_atomically
from include.backup.fleet import Fleet, usable_settings_of
from include.backup.health import CHECKPOINT_AGE, FLEET_FILE
from include.backup.rights import published_mode
from include.backup.settings import Settings


def write_limits(fleet: Fleet, environment: Settings) -> None:
    """
    Leave the limits of the backups in BACKUP_DIR; where there is only the one without an id, take them away.

    Args:
        fleet: The backups; if the file that names them is wrong, what is there stays.
        environment: Where BACKUP_DIR is.

    Raises:
        OSError: If it cannot be written.
    """
    path = environment.backup_dir / FLEET_FILE
    if fleet.errors:
        return
    if not any(backup.id for backup in fleet.backups):
        path.unlink(missing_ok=True)
        return
    limits = {backup.id: _variables(usable_settings_of(backup, environment)) for backup in fleet.backups}
    content = json.dumps({"backups": limits}, indent=1).encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content, mode=published_mode(environment.backup_dir))


def _variables(settings: Settings) -> dict[str, str | int]:
    of_checkpoints = {CHECKPOINT_AGE: settings.backup_checkpoint_max_age_minutes}
    return {
        "BACKUP_TIMEZONE": settings.backup_timezone,
        "BACKUP_MAX_AGE_HOURS": settings.backup_max_age_hours,
        "BACKUP_MIN_SIZE_MB": settings.backup_min_size_mb,
        "BACKUP_MAX_SIZE_MB": settings.backup_max_size_mb,
        **(of_checkpoints if settings.backup.is_checkpoints else {}),
    }

"""The backups that scope.yaml names, and the settings of each: those of the environment with its own entry's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from include.backup.backup_id import ID, UNNAMED, Backup
from include.backup.checkpoints import checkpoint_settings
from include.backup.errors import ScopeError, SettingsError
from include.backup.fleet_file import BACKUPS, SCOPE_FILE, SCOPE_KEYS, read_mapping
from include.backup.names import printable
from include.backup.setting_types import is_off
from include.backup.settings import (
    OF_ALL_BACKUPS,
    PACKAGED_SCOPE_FILE,
    Settings,
    heartbeat_of,
    load_settings,
    load_usable_settings,
    settings_with,
    usable_settings_with,
)

SETTINGS = "settings"
CHECKPOINT_SCHEDULE = "BACKUP_CHECKPOINT_SCHEDULE"
# The keys that have a name of their own, and the setting that each is.
NAMED_SETTINGS = {
    "connection": "BACKUP_CONNECTION",
    "schedule": "BACKUP_SCHEDULE",
    "recipients": "ADMIN_EMAILS",
    "pool": "BACKUP_POOL",
}
KEYS = {*NAMED_SETTINGS, *SCOPE_KEYS, SCOPE_FILE, SETTINGS}
EXAMPLE = "see docs/FLEET.md"


@dataclass(frozen=True)
class Fleet:
    """
    What a scope file names.

    Args:
        backups: In its order, the one without an id first; also those whose entries are wrong.
        errors: What is wrong with the file as a whole or with an id, so that backups may be missing here.
    """

    backups: tuple[Backup, ...]
    errors: tuple[str, ...] = ()


def read_fleet(path: Path) -> Fleet:
    """
    Return the backups of a scope file, each with its checkpoints if it has any.

    The one without an id alone where the file cannot be read: its run says why.
    """
    try:
        content = read_mapping(path)
    except ScopeError as error:
        return Fleet((UNNAMED,), (str(error),))
    entries = content.get(BACKUPS)
    if entries is None:
        return Fleet(tuple(_with_checkpoints((UNNAMED,), {})))
    if not isinstance(entries, dict):
        return Fleet((UNNAMED,), (f"{path}: {BACKUPS} is {entries!r}; expected a backup for each id; {EXAMPLE}",))
    wrong = [key for key in entries if not isinstance(key, str) or not ID.fullmatch(key)]
    errors = tuple(
        printable(f"{path}: {BACKUPS}: {key!r} is no id, so that backup is not made; expected up to 31 small letters, ")
        + "digits and _, a letter first, neither critical_backup… nor …checkpoints"
        for key in wrong
    )
    unnamed = (UNNAMED,) if "tables" in content or "windowed" in content else ()
    own = (*unnamed, *(Backup(key) for key in entries if key not in wrong))
    return Fleet(tuple(_with_checkpoints(own, entries)), errors)


def known_fleet() -> Fleet:
    """Return the backups of the scope file that the environment names; the settings need not be right."""
    return read_fleet(Path(os.environ.get("BACKUP_SCOPE_FILE") or PACKAGED_SCOPE_FILE))


def _with_checkpoints(backups: Iterable[Backup], entries: Mapping[Any, Any]) -> Iterator[Backup]:
    """Yield each backup and, after it, its checkpoints if it has any; whether the schedule is right is seen later."""
    everywhere = os.environ.get(CHECKPOINT_SCHEDULE)
    for backup in backups:
        yield backup
        entry = entries.get(backup.id)
        settings = entry.get(SETTINGS) if isinstance(entry, dict) else None
        if not is_off((settings if isinstance(settings, dict) else {}).get(CHECKPOINT_SCHEDULE, everywhere)):
            yield backup.checkpoints


def settings_of(backup: Backup, environment: Settings | None = None) -> Settings:
    """
    Return the settings of a backup.

    Args:
        backup: Which.
        environment: What `load_settings` gave just now, so that it is not read again for each of many.

    Raises:
        SettingsError: One line: of the environment as `load_settings`, or of the entry its file, id, key, what was
            seen and what is expected.
    """
    environment = environment or load_settings()
    if not backup.id:
        return environment
    settings = _settings_of_entry(backup.parent, environment) if backup.parent.id else environment
    if backup.is_checkpoints:
        if settings.backup_checkpoint_schedule is None:
            raise SettingsError(f"{CHECKPOINT_SCHEDULE} is not set (any more), so there are no {backup.id}")
        settings = checkpoint_settings(settings)
    return _own(settings, backup, heartbeat_of(backup.id))


def _settings_of_entry(backup: Backup, environment: Settings) -> Settings:
    try:
        return settings_with(_checked_values(environment.scope_file, backup), environment)
    except (SettingsError, ScopeError) as error:
        text = str(error)
        for key, variable in NAMED_SETTINGS.items():
            text = text.replace(f"{variable}=", f"{key}=")
        raise SettingsError(f"{environment.scope_file}: {BACKUPS}.{backup.id}: {text}") from None


def usable_settings_of(backup: Backup, environment: Settings | None = None) -> Settings:
    """
    Return the settings of a backup with what the environment or the default says in place of each wrong value.

    For whoever reports that something is wrong: above all it is known where the backup lies and who gets a mail.
    Takes what `settings_of` takes.

    Raises:
        SettingsError: If it is not even known to whom.
    """
    environment = environment or load_usable_settings()
    if not backup.id:
        return environment
    try:
        entry = _entry(environment.scope_file, backup.parent) if backup.parent.id else {}
    except ScopeError:
        entry = {}
    settings = usable_settings_with(_values(entry), environment)
    if backup.is_checkpoints:
        settings = checkpoint_settings(settings)
    try:
        return _own(settings, backup, heartbeat_of(backup.id))
    except SettingsError:
        return _own(settings, backup, None)


def _own(settings: Settings, backup: Backup, heartbeat: SecretStr | None) -> Settings:
    """Return the settings with everything apart that two backups must not share."""
    url = settings.backup_copy_url
    changes = {
        "backup_dir": backup.folder(settings.backup_dir),
        "backup_copy_url": f"{url}/{backup.id}" if url else None,
        # One switch for several would hear of the others' success while this one is silent.
        "backup_heartbeat_url": heartbeat,
    }
    return settings.model_copy(update=changes).of(backup)


def _entry(path: Path, backup: Backup) -> Mapping[str, Any]:
    entries = read_mapping(path).get(BACKUPS)
    if not isinstance(entries, dict) or backup.id not in entries:
        raise ScopeError(f"there is no such backup in the file (any more); {EXAMPLE}")
    entry = entries[backup.id]
    if not isinstance(entry, dict):
        raise ScopeError(f"seen {entry!r}, expected connection and tables, at least; {EXAMPLE}")
    return entry


def _checked_values(path: Path, backup: Backup) -> dict[str, str]:
    entry = _entry(path, backup)
    wrong = [*_wrong_keys(entry), *_wrong_settings(entry)]
    if wrong:
        raise SettingsError("; ".join(wrong))
    return _values(entry)


def _wrong_keys(entry: Mapping[str, Any]) -> list[str]:
    unknown = [str(key) for key in entry if key not in KEYS]
    wrong = [f"key {key!r} is not known; expected one of {', '.join(sorted(KEYS))}" for key in unknown]
    if not entry.get("connection"):
        wrong.append("connection is missing; expected the Airflow connection of the database")
    own = sorted(SCOPE_KEYS & set(entry))
    if entry.get(SCOPE_FILE) and own:
        wrong.append(f"{SCOPE_FILE} and {', '.join(own)}; expected the one or the other")
    elif not entry.get(SCOPE_FILE) and not {"tables", "windowed"} & set(own):
        wrong.append(f"no table is taken; expected tables, windowed or {SCOPE_FILE}")
    return wrong


def _wrong_settings(entry: Mapping[str, Any]) -> list[str]:
    settings = entry.get(SETTINGS) or {}
    if not isinstance(settings, dict):
        return [f"{SETTINGS}={settings!r}: expected names and values, as of environment variables"]
    wrong = []
    for name in settings:
        if name in NAMED_SETTINGS.values():
            key = next(key for key, variable in NAMED_SETTINGS.items() if variable == name)
            wrong.append(f"{SETTINGS}.{name} has a key of its own; expected {key!r} beside {SETTINGS!r}")
        elif name in OF_ALL_BACKUPS:
            wrong.append(f"{SETTINGS}.{name} is one for all backups, or a secret; expected it in the environment")
        elif not isinstance(name, str) or name != name.upper() or name.lower() not in Settings.model_fields:
            wrong.append(f"{SETTINGS}.{name} is no setting; expected one of specs/011-automated-backup/spec.md")
    values = {**{key: entry[key] for key in NAMED_SETTINGS if key in entry}, **settings}
    empty = [str(name) for name, value in values.items() if value is None or isinstance(value, dict) or value == ""]
    return wrong + [f"{name} has no value that can be one; expected a text or a number" for name in empty]


def _values(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the entry's settings as environment variables would have them; what could not be one is left out."""
    settings = entry.get(SETTINGS)
    given = {variable: entry[key] for key, variable in NAMED_SETTINGS.items() if key in entry}
    if isinstance(settings, dict):
        given |= {name: value for name, value in settings.items() if name not in OF_ALL_BACKUPS}
    return {
        name: _text(value)
        for name, value in given.items()
        if isinstance(name, str) and name.lower() in Settings.model_fields and value not in (None, "", {})
    }


def _text(value: Any) -> str:
    if value is False:
        return "off"  # YAML takes a bare off for this; as a variable it says the same
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

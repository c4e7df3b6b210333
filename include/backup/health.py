"""
Whether the backups are healthy, from the files in BACKUP_DIR alone: what scripts/backup-monitor.sh runs.

The standard library only, and nothing else of this package: it is run as a script by `python3 -I -S`, and the imports
of pydantic or Airflow take longer than the whole check may.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple

LAST_SUCCESS_FILE = ".last_backup_success"
LAST_SIZE_FILE = ".last_backup_size_mb"
# Where scope.yaml names several backups, backup_watch leaves their limits here: this program reads no YAML.
FLEET_FILE = ".backups.json"
ARCHIVE_NAME = re.compile(r"critical_backup_[0-9]{8}_[0-9]{6}\.tar\.gz(\.age)?")
CHECKPOINT_AGE = "BACKUP_CHECKPOINT_MAX_AGE_MINUTES"  # only in what is left for checkpoints
BYTES_PER_MB = 1024 * 1024
SAME_NAMES = 60  # so many archives of the hour before have later names than the first of the same hour again
CLOCKS_DIFFER = timedelta(minutes=5)  # between the worker and whoever looks
USAGE = "usage: backup-monitor.sh [--json]"


MOUNT = "Mount the volume of the backups at BACKUP_DIR, readable for this process; nothing there was changed."
FIRST_BACKUP = "Trigger critical_backup, or wait for its next slot."
LOOK_AT_RUN = (
    "Open the newest run of critical_backup: the last line of its red task's log says what to do. If there is no run: "
    "is the DAG paused, or the scheduler down? Trigger it once the cause is mended; earlier archives are untouched."
)
MEND_CLOCK = "Set the clocks of this host and of the workers right, then trigger critical_backup."
MEND_SETTING = "Set the variable right and start this process again."
NEW_BACKUP = "Find out who changed BACKUP_DIR, then trigger critical_backup for a new archive."
OLDER_ARCHIVE = (
    "Do not count on this archive: restore from the newest one whose drill passed. Mend the cause, then trigger "
    "restore_drill."
)


class Unhealthy(Exception):  # noqa: N818 - not an error of this program, but what it is asked for
    """The reason why the backups are not healthy, and what to do, each in one line."""

    def __init__(self, reason: str, remedy: str = NEW_BACKUP) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Limits(NamedTuple):
    """
    Where to look, and what is good: the settings of the same names.

    `max_age_minutes` is the limit of checkpoints, in place of the hours; 0 for all others.
    """

    backup_dir: str
    zone: tzinfo
    max_age_hours: int
    min_size_mb: int
    max_size_mb: int
    backup_id: str = ""
    max_age_minutes: int = 0

    @property
    def longest_hours(self) -> float:
        """How old the last success may be."""
        return self.max_age_minutes / 60 or self.max_age_hours

    @property
    def age_setting(self) -> str:
        """The setting that says so, with its value."""
        if self.max_age_minutes:
            return f"{CHECKPOINT_AGE}={self.max_age_minutes}"
        return f"BACKUP_MAX_AGE_HOURS={self.max_age_hours}"

    def age_text(self, hours: float) -> str:
        """Return an age in the unit of the limit."""
        return f"{hours * 60:.0f} minutes" if self.max_age_minutes else f"{hours:.1f} hours"


class Report(NamedTuple):
    """The answer: `reason` is one line, `remedy` says what to do; `facts` is what was seen, as far as the look went."""

    healthy: bool
    reason: str
    warnings: tuple[str, ...]
    facts: dict[str, Any]
    remedy: str = ""


def read_limits(environment: Mapping[str, str]) -> Limits:
    """Return the limits from the environment; a variable that is missing or empty has its default. Raise Unhealthy."""
    zone = environment.get("BACKUP_TIMEZONE") or "UTC"
    try:
        known_zone = timezone.utc if zone == "UTC" else _zone(zone)
    except (KeyError, ValueError, OSError):
        raise Unhealthy(
            f"BACKUP_TIMEZONE={zone!r} is not a time zone here; expected for example 'UTC'", MEND_SETTING
        ) from None
    return Limits(
        backup_dir=environment.get("BACKUP_DIR") or "/backups",
        zone=known_zone,
        max_age_hours=_whole_number(environment, "BACKUP_MAX_AGE_HOURS", 25),
        min_size_mb=_whole_number(environment, "BACKUP_MIN_SIZE_MB", 1),
        max_size_mb=_whole_number(environment, "BACKUP_MAX_SIZE_MB", 100),
    )


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - a tenth of the whole check, and in UTC nobody needs it

    return ZoneInfo(name)


def read_fleet_limits(environment: Mapping[str, str]) -> tuple[Limits, ...]:
    """Return the limits of every backup; those of the environment alone if there is only the one. Raise Unhealthy."""
    own = read_limits(environment)
    path = _join(own.backup_dir, FLEET_FILE)
    if not os.path.lexists(path):
        return (own,)
    fleet = _read_json(path, ("backups", dict))["backups"]
    found = []
    for backup_id, entry in fleet.items():
        variables = {name: str(value) for name, value in entry.items()} if isinstance(entry, dict) else {}
        folder = _join(own.backup_dir, backup_id) if backup_id else own.backup_dir
        limits = read_limits(variables if backup_id else environment)
        minutes = _whole_number(variables, CHECKPOINT_AGE, 0)
        found.append(limits._replace(backup_dir=folder, backup_id=backup_id, max_age_minutes=minutes))
    return tuple(found) or (own,)


def check_fleet(fleet: Sequence[Limits], *, now: datetime) -> Report:
    """
    Look at every backup; the worst one's answer is that of all, and says whose it is.

    Args:
        fleet: Of at least one.
        now: Aware.
    """
    reports = {limits.backup_id: check_health(limits, now=now) for limits in fleet}
    if len(reports) == 1:
        return next(iter(reports.values()))
    bad = {backup_id: report for backup_id, report in reports.items() if not report.healthy}
    if bad:
        backup_id, worst = next(iter(bad.items()))
        reason = f"{len(bad)} of {len(reports)} backups; {_dag_id(backup_id)}: {worst.reason}"
    else:
        backup_id, worst = max(reports.items(), key=lambda pair: pair[1].facts["age_hours"])
        reason = f"{len(reports)} backups; the oldest, {_dag_id(backup_id)}: {worst.reason}"
    warnings = tuple(f"{_dag_id(which)}: {line}" for which, report in reports.items() for line in report.warnings)
    states = {_dag_id(which): report.healthy for which, report in reports.items()}
    return worst._replace(reason=reason, warnings=warnings, facts={**worst.facts, "backups": states})


def _dag_id(backup_id: str) -> str:
    return f"critical_backup_{backup_id}" if backup_id else "critical_backup"


def check_health(limits: Limits, *, now: datetime) -> Report:
    """
    Look at the status files, the newest archive with its manifest and drill, and the disk.

    Args:
        limits: Where to look, and what is good.
        now: Aware.
    """
    facts: dict[str, Any] = {}
    warnings: list[str] = []
    try:
        archives = _archives(limits)
        disk = os.statvfs(limits.backup_dir)
        facts["free_bytes"] = disk.f_bavail * disk.f_frsize
        _check_last_success(limits, now, facts)
        _check_newest(limits, archives, facts)
        _check_drill(limits, archives, facts)
        # A run needs room for the archive and a twentieth, or for two while it encrypts. One more is the warning.
        copies = 3 if facts["archive"].endswith(".age") else 2
        sizes = {"archive_bytes": facts["archive_bytes"], "free_bytes": facts["free_bytes"]}
        warnings += odd_figures(limits, **sizes, copies=copies)
    except Unhealthy as unhealthy:
        return Report(False, _one_line(str(unhealthy)), (), facts, remedy_for(limits.backup_id, unhealthy.remedy))
    return Report(True, _summary(limits, facts), tuple(warnings), facts)


def remedy_for(backup_id: str, remedy: str) -> str:
    """Return what to do, with the names of the DAGs that a backup has."""
    dags = r"\b(critical_backup|restore_backup|restore_drill)\b"
    return re.sub(dags, rf"\1_{backup_id}", remedy) if backup_id else remedy


def age_hours(moment: datetime, *, now: datetime, zone: tzinfo) -> float:
    """
    Return the hours since a moment by the clocks on the wall, or in truth where those are fewer.

    From 02:00 to 02:00 are 24 hours on the wall, 25 in truth when summer time ends. When it begins, a run at 02:00 is
    at 03:00 on the wall, 25 hours after the one before, but 24 in truth. Neither is a backup that is missing.

    Args:
        moment: Aware.
        now: Aware.
        zone: Whose clocks.
    """
    on_the_wall = now.astimezone(zone).replace(tzinfo=None) - moment.astimezone(zone).replace(tzinfo=None)
    return min(on_the_wall, now - moment) / timedelta(hours=1)


def odd_figures(limits: Limits, *, archive_bytes: int, free_bytes: int, copies: int = 2) -> list[str]:
    """Return what is odd, but no reason to call the backups unhealthy: one line each. Room for `copies` is enough."""
    odd = []
    size = f"the newest archive has {archive_bytes / BYTES_PER_MB:.1f} MB"
    if archive_bytes < limits.min_size_mb * BYTES_PER_MB:
        odd.append(f"{size}, less than BACKUP_MIN_SIZE_MB={limits.min_size_mb}")
    if archive_bytes > limits.max_size_mb * BYTES_PER_MB:
        odd.append(f"{size}, more than BACKUP_MAX_SIZE_MB={limits.max_size_mb}")
    if free_bytes < copies * archive_bytes:
        free = f"{free_bytes / BYTES_PER_MB:.0f} MB are free"
        odd.append(f"{free}, less than {copies} times the newest archive: soon no backup will fit")
    return odd


def _archives(limits: Limits) -> list[str]:
    """Return the names of the archives, newest first."""
    folder = limits.backup_dir
    if limits.backup_id and os.path.isdir(os.path.dirname(folder)) and not os.path.lexists(folder):  # noqa: PTH112, PTH120 - see below
        raise Unhealthy(f"{folder} is not there: no backup of {limits.backup_id} has run yet", FIRST_BACKUP)
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib would double the time that the imports take
    except FileNotFoundError:
        raise Unhealthy(f"BACKUP_DIR={folder} is not there: is the volume mounted?", MOUNT) from None
    except OSError as error:
        raise Unhealthy(f"BACKUP_DIR={folder} cannot be read: {error.strerror}", MOUNT) from None
    if not names:
        raise Unhealthy(
            f"BACKUP_DIR={folder} is empty: no backup has run yet, or the volume is not mounted", FIRST_BACKUP
        )
    return sorted(filter(ARCHIVE_NAME.fullmatch, names), reverse=True)


def _check_last_success(limits: Limits, now: datetime, facts: dict[str, Any]) -> None:
    path = _join(limits.backup_dir, LAST_SUCCESS_FILE)
    try:
        text = _read(path)
    except FileNotFoundError:
        raise Unhealthy(f"no backup has succeeded yet: {path} is not there", FIRST_BACKUP) from None
    last = _moment(text.decode(errors="replace").strip(), path)
    facts["last_success_at"] = last.isoformat()
    if last > now + CLOCKS_DIFFER:
        raise Unhealthy(
            f"{path} has a time in the future, {_time_text(last, limits)}: which clock is wrong?", MEND_CLOCK
        )
    facts["age_hours"] = age = round(age_hours(last, now=now, zone=limits.zone), 2)
    if age > limits.longest_hours:
        raise Unhealthy(
            f"the last backup that succeeded is {limits.age_text(age)} old, of {_time_text(last, limits)}; "
            f"expected at most {limits.age_setting}",
            LOOK_AT_RUN,
        )
    size_path = _join(limits.backup_dir, LAST_SIZE_FILE)
    try:
        facts["last_size_mb"] = int(_read(size_path))
    except FileNotFoundError:
        raise Unhealthy(f"{size_path} is not there, though {LAST_SUCCESS_FILE} is") from None
    except ValueError:
        raise Unhealthy(f"{size_path} holds no whole number") from None


def _check_newest(limits: Limits, archives: list[str], facts: dict[str, Any]) -> None:
    if not archives:
        raise Unhealthy(f"BACKUP_DIR={limits.backup_dir} holds no archive: the backups that succeeded are gone")
    last_success = datetime.fromisoformat(facts["last_success_at"])
    facts["archive"] = newest = archives[0]
    path, manifest = _manifest(limits, newest)
    if _moment(manifest["snapshot_at"], path) < last_success:
        # In the hour that comes twice, archives of its first time have the later names.
        since = (name for name in archives[1:SAME_NAMES] if _is_since(limits, name, last_success))
        facts["archive"] = newest = next(since, newest)
        path, manifest = _manifest(limits, newest)
    archive_path = _join(limits.backup_dir, newest)
    try:
        size = os.stat(archive_path).st_size  # noqa: PTH116 - see _archives
        # The manifest is written when the archive has passed the verification, and never again.
        facts["verified_at"] = datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc).isoformat()  # noqa: PTH116
    except OSError as error:
        raise Unhealthy(f"{archive_path} cannot be read: {error.strerror}") from None
    facts["archive_bytes"] = size
    if size != manifest["archive_bytes"]:
        raise Unhealthy(f"{archive_path} has {size} bytes, its manifest says {manifest['archive_bytes']}")
    if _moment(manifest["snapshot_at"], path) < last_success:
        raise Unhealthy(f"the archive of the last success, {facts['last_success_at']}, is gone; the newest is {newest}")


def _is_since(limits: Limits, archive: str, moment: datetime) -> bool:
    try:
        path, manifest = _manifest(limits, archive)
        return _moment(manifest["snapshot_at"], path) >= moment
    except Unhealthy:
        return False


def _manifest(limits: Limits, archive: str) -> tuple[str, dict[str, Any]]:
    path = _companion(limits, archive, ".manifest.json")
    return path, _read_json(path, ("archive_bytes", int), ("snapshot_at", str))


def _check_drill(limits: Limits, archives: list[str], facts: dict[str, Any]) -> None:
    """Look for the last drill; one of the newest archive that failed is a reason, an older one is history."""
    facts["drilled_at"] = facts["drill_passed"] = None
    newest = facts["archive"]
    for archive in (newest, *(name for name in archives if name != newest)):
        path = _companion(limits, archive, ".drill.json")
        if os.path.lexists(path):
            drill = _read_json(path, ("drilled_at", str), ("passed", bool))
            facts["drilled_at"] = _moment(drill["drilled_at"], path).isoformat()
            facts["drill_passed"] = drill["passed"]
            if archive == newest and not drill["passed"]:
                why = drill.get("error") or "no reason"
                raise Unhealthy(f"the newest archive, {archive}, failed its drill: {why}", OLDER_ARCHIVE)
            return


def _summary(limits: Limits, facts: dict[str, Any]) -> str:
    def moment(name: str) -> str:
        return _time_text(datetime.fromisoformat(facts[name]), limits)

    drill = "no drill yet"
    if facts["drilled_at"]:
        drill = f"last drill {'passed' if facts['drill_passed'] else 'failed'} {moment('drilled_at')}"
    return (
        f"last backup {limits.age_text(facts['age_hours'])} old, of {moment('last_success_at')}; "
        f"{facts['archive']} {facts['archive_bytes'] / BYTES_PER_MB:.1f} MB, verified {moment('verified_at')}; "
        f"{drill}; {facts['free_bytes'] / BYTES_PER_MB / 1024:.1f} GB free"
    )


def _whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = (environment.get(name) or str(default)).strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Unhealthy(f"{name}={text!r} is not a whole number; expected for example {default}", MEND_SETTING)
    return int(text)


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _companion(limits: Limits, archive: str, suffix: str) -> str:
    return _join(limits.backup_dir, archive.removesuffix(".age").removesuffix(".tar.gz") + suffix)


def _read(path: str) -> bytes:
    """Return a file's content. Raise Unhealthy if it cannot be read, FileNotFoundError if it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe must not make the check wait
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unhealthy(f"{path} is not an ordinary file")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unhealthy(f"{path} cannot be read: {error.strerror}") from None


def _read_json(path: str, *expected: tuple[str, type]) -> dict[str, Any]:
    try:
        content = json.loads(_read(path))
    except FileNotFoundError:
        raise Unhealthy(f"{path} is not there") from None
    except (ValueError, RecursionError):
        raise Unhealthy(f"{path} is not JSON") from None
    for name, kind in expected:
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise Unhealthy(f"{path} has no {name}, or it is no {kind.__name__}")
    return dict(content)


def _moment(text: str, path: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if moment.tzinfo:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise Unhealthy(f"{path} holds {text[:40]!r}, expected a time with its zone")


def _time_text(moment: datetime, limits: Limits) -> str:
    try:
        return f"{moment.astimezone(limits.zone):%Y-%m-%d %H:%M:%S %Z}"
    except OverflowError:
        return moment.isoformat()


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def _answer(arguments: list[str], environment: Mapping[str, str]) -> Report:
    if set(arguments) - {"--json"}:
        return Report(False, _one_line(f"{arguments!r} is not understood; {USAGE}"), (), {})
    try:
        return check_fleet(read_fleet_limits(environment), now=datetime.now(timezone.utc))
    except Unhealthy as unhealthy:
        return Report(False, _one_line(str(unhealthy)), (), {}, unhealthy.remedy)
    except Exception as error:  # noqa: BLE001 - a stack trace is no line of reason
        return Report(False, _one_line(f"the health check itself failed: {type(error).__name__}: {error}"), (), {})


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Print the answer, one line (or one JSON object with `--json`), and return the exit status: 0 or 1."""
    report = _answer(arguments, environment)
    if "--json" in arguments:
        answer = {"healthy": report.healthy, "reason": report.reason, "remedy": report.remedy}
        answer |= {"warnings": report.warnings, **report.facts}
        print(json.dumps(answer))
    else:
        state = "OK" if report.healthy else "UNHEALTHY"
        line = "; warning: ".join((f"{state}: {report.reason}", *report.warnings))
        print(line.encode("ascii", "backslashreplace").decode())  # whatever the locale of whoever asks
    return 0 if report.healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

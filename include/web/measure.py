"""The values of the metrics, now: from the settings, from BACKUP_DIR and from Airflow's runs."""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from include.backup.archive_list import ArchiveEntry, ArchiveList
from include.backup.backup_id import UNNAMED, Backup
from include.backup.drill_record import read_drill
from include.backup.errors import SettingsError
from include.backup.fleet import settings_of, usable_settings_of
from include.backup.health import Limits, Unhealthy, age_hours, check_health, read_limits
from include.backup.masking import mask
from include.backup.missed import slots
from include.backup.nights import judge_nights
from include.backup.overview import CALENDAR_DAYS, limits_of, night_rules
from include.backup.run_outcome import RunOutcome
from include.backup.settings import Settings
from include.backup.status import read_last_success
from include.web.gauges import Values

log = logging.getLogger(__name__)

HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS
WINDOWS = {"7d": timedelta(days=7), "30d": timedelta(days=30)}
FAILURES = WINDOWS["30d"]
# Further back than any window: a night counts as missed only after the first that something is known of.
LOOK_BACK = timedelta(days=CALENDAR_DAYS)
HAS_BACKUP = {"done", "late", "backfilled"}
NOT_JUDGED = {"pending", "unknown"}
DRILL_DAYS = {"always": 0, "weekly": 7, "monthly": 28}
NO_STEP = "none"


class _Folder(NamedTuple):
    """BACKUP_DIR: the archives of the last `CALENDAR_DAYS`, newest first, and the values that it gives."""

    recent: Sequence[ArchiveEntry]
    values: Values


ReadRuns = Callable[[datetime], Sequence[RunOutcome]]


def measure(environment: Mapping[str, str], read_runs: ReadRuns, *, now: datetime, backup: Backup = UNNAMED) -> Values:
    """
    Look at the settings, at BACKUP_DIR and at Airflow's runs.

    Never fails: a source that cannot be read has `up` 0, its reason in the log, and what comes from it is missing.
    Whoever watches learns which one it is, and still sees what the others say.

    Args:
        environment: For what the health check reads of it, which does not need the other settings to be right.
        read_runs: Returns the runs that stand for a given moment or a later one.
        now: Aware.
        backup: Which.
    """
    look_back = FAILURES if backup.is_checkpoints else LOOK_BACK
    settings, outcomes = _settings(backup), _outcomes(read_runs, since=now - look_back)
    folder = _folder(environment, backup, now=now)
    read = {"settings": settings, "backup_dir": folder, "airflow": outcomes}
    values: Values = {"up": {source: float(found is not None) for source, found in read.items()}, "healthy": 0.0}
    if settings and settings.backup_drill != "off":
        values["drill_interval_seconds"] = DRILL_DAYS[settings.backup_drill] * DAY_SECONDS
    if outcomes is not None:
        values |= run_values(outcomes, now=now)
    if folder:
        values |= folder.values
    if settings and folder and outcomes is not None and not backup.is_checkpoints:  # they may be left out
        values["success_ratio"] = success_ratios(settings, folder.recent, outcomes, now=now)
    return values


def run_values(outcomes: Iterable[RunOutcome], *, now: datetime) -> Values:
    """Return what Airflow's runs say; they may be in any order."""
    every = list(outcomes)
    failed = (run for run in every if run.state == "failed" and run.stands_for > now - FAILURES)
    values: Values = {
        "run_in_progress": float(any(run.state in ("queued", "running") for run in every)),
        "failed_runs": Counter(run.failed_task or NO_STEP for run in failed),
    }
    ended = [(run.ended_at, run) for run in every if run.ended_at and run.state != "left_out"]
    ended.sort(key=lambda pair: pair[0])
    if ended:
        ended_at, last = ended[-1]
        values["last_run_success"] = float(last.state == "success")
        values["last_run_end_timestamp_seconds"] = ended_at.timestamp()
    took = [run.took.total_seconds() for _, run in ended if run.state == "success" and run.took]
    if took:
        values["last_success_duration_seconds"] = took[-1]
    return values


def folder_values(limits: Limits, archives: ArchiveList, recent: Sequence[ArchiveEntry], *, now: datetime) -> Values:
    """
    Return what lies in BACKUP_DIR.

    Args:
        limits: Where it is, and what is good.
        archives: Those in it; their manifests are not read.
        recent: Those of the last days, newest first.
        now: Aware.

    Raises:
        OSError: If it cannot be read.
    """
    folder = Path(limits.backup_dir)
    disk = os.statvfs(folder)
    values: Values = {
        "healthy": float(check_health(limits, now=now).healthy),
        "max_age_seconds": limits.longest_hours * HOUR_SECONDS,
        "archives": float(len(archives)),
        "archives_size_bytes": float(sum(_sizes(folder / name for name in archives.names))),
        "disk_free_bytes": float(disk.f_bavail * disk.f_frsize),
        "disk_size_bytes": float(disk.f_blocks * disk.f_frsize),
    }
    # After weeks without a backup the newest archive is still the one that there is to restore from.
    newest = next(
        (entry.head for entry in recent or archives.entries(limit=1) if entry.head and not entry.problem), None
    )
    if newest:
        values |= {"archive_size_bytes": float(newest.archive_bytes), "archive_rows": float(newest.rows)}
    return values | _last_success(limits, now=now) | _last_drill(folder, archives)


def _last_success(limits: Limits, *, now: datetime) -> Values:
    moment = read_last_success(Path(limits.backup_dir))
    try:
        return (
            {
                "last_success_timestamp_seconds": moment.timestamp(),
                "age_seconds": age_hours(moment, now=now, zone=limits.zone) * HOUR_SECONDS,
            }
            if moment
            else {}
        )
    except OverflowError:  # a date at the end of the calendar: the file is damaged, and `healthy` is 0
        return {}


def _last_drill(folder: Path, archives: ArchiveList) -> Values:
    """Return the newest archive's drill that there is: weekly drills leave archives without one."""
    drill = next((drill for name in archives.names if (drill := read_drill(folder / name))), None)
    if not drill:
        return {}
    return {
        "drill_success": float(drill.passed),
        "drill_timestamp_seconds": drill.drilled_at.timestamp(),
        "drill_duration_seconds": drill.seconds,
    }


def success_ratios(
    settings: Settings, entries: Iterable[ArchiveEntry], outcomes: Iterable[RunOutcome], *, now: datetime
) -> dict[str, float]:
    """
    Return the share of the nights that have their backup, by window; a window without a night to judge is not in it.

    Args:
        settings: When the nights are, and what is late.
        entries: The archives of the last `CALENDAR_DAYS`, newest first.
        outcomes: Airflow's runs of them, newest first.
        now: Aware.
    """
    every = slots(settings.backup_schedule, settings.backup_timezone, after=now - LOOK_BACK, until=now)
    judged = [
        (night.slot, night.state in HAS_BACKUP)
        for night in judge_nights(every, entries, outcomes, night_rules(settings, now=now))
        if night.state not in NOT_JUDGED
    ]
    within = {name: [good for slot, good in judged if slot > now - window] for name, window in WINDOWS.items()}
    return {name: mean(nights) for name, nights in within.items() if nights}


def _settings(backup: Backup) -> Settings | None:
    try:
        return settings_of(backup)
    except SettingsError as error:
        log.warning("metrics of %s without the settings: %s", backup.dag_id, error)
        return None


def _outcomes(read_runs: ReadRuns, *, since: datetime) -> Sequence[RunOutcome] | None:
    try:
        return read_runs(since)
    except SQLAlchemyError as error:
        log.warning("metrics without Airflow's runs: %s", mask(" ".join(str(error).split())))
        return None


def _folder(environment: Mapping[str, str], backup: Backup, *, now: datetime) -> _Folder | None:
    try:
        limits = limits_of(usable_settings_of(backup)) if backup.id else read_limits(environment)
        archives = ArchiveList(Path(limits.backup_dir))
        recent = archives.since(now - LOOK_BACK, limits.zone)
        return _Folder(recent, folder_values(limits, archives, recent, now=now))
    except (Unhealthy, SettingsError, OSError) as error:
        log.warning("metrics of %s without BACKUP_DIR: %s", backup.dag_id, mask(str(error)))
        return None


def _sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        try:
            facts = path.lstat()
        except OSError:
            continue  # it has expired since the folder was read
        if stat.S_ISREG(facts.st_mode):
            yield facts.st_size

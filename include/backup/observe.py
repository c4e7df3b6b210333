"""What the watch sees in BACKUP_DIR: how old the last success is, which nights are missed, what sizes are odd."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from include.backup import watch_notices as notices
from include.backup.anomaly import odd_sizes
from include.backup.incident import read_incident
from include.backup.manifest import Sidecar, readable_archives
from include.backup.missed import missed_slots, slots
from include.backup.overview import limits_of
from include.backup.retention import RetentionPolicy
from include.backup.settings import Settings
from include.backup.status import read_last_success
from include.backup.vanished import vanished_archives
from include.backup.watch import REPEAT_AFTER, Lasting, Observation, Once

STALE, FOLDER = "stale", "folder"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MISSED_DAYS = 30


def age_hours(since: datetime, now: datetime, zone: ZoneInfo) -> float:
    """
    Return how old something is, in hours on the wall clock, but never more than have passed.

    On the wall a day has 24 hours also when it had 25, so the autumn change raises no alarm. In spring the wall counts
    an hour that never was; without the limit a backup of 02:00, which then runs at 03:00, would be late at once.
    """
    wall = now.astimezone(zone).replace(tzinfo=None) - since.astimezone(zone).replace(tzinfo=None)
    return min(wall, now - since) / HOUR


def observe(
    settings: Settings,
    *,
    first_look_at: datetime,
    now: datetime,
    url: str | None,
    known: Mapping[str, datetime] | None = None,
) -> Observation:
    """
    Look at BACKUP_DIR.

    Args:
        settings: Where, when and how large.
        first_look_at: Counts as long as there is no success.
        now: Aware.
        url: The page of critical_backup in Airflow, if its address is known.
        known: The snapshot times of the archives that earlier looks have seen, by name.
    """
    folder = settings.backup_dir
    try:
        os.listdir(folder)  # noqa: PTH208 - glob passes over a folder that it may not read
    except OSError as error:
        if _is_new(settings, error, known):
            return Observation(lasting=_stale(settings, [], first_look_at=first_look_at, now=now, url=url))
        notice = notices.unreadable(folder, error, url, settings.backup)
        problem = Lasting(FOLDER, notice, "BACKUP_DIR can be read again")
        return Observation(lasting=(problem,), unknown=frozenset({STALE}), complete=False)
    archives = sorted((sidecar for _, sidecar in readable_archives(folder)), key=lambda sidecar: sidecar.snapshot_at)
    present = {sidecar.archive: sidecar.snapshot_at for sidecar in archives}
    known = {**(known or {}), **present}
    gone = vanished_archives(known, present, RetentionPolicy.of(settings), now=now)
    lost = Once(tuple(f"{name} is gone" for name in gone), partial(notices.vanished, folder, len(present), url))
    stale = _stale(settings, archives, first_look_at=first_look_at, now=now, url=url)
    once, was_told = [lost], False
    # Of checkpoints none is missed, and an odd size is told of the nightly archive: it would be told of each of many.
    if settings.backup.is_checkpoints:
        was_told = _failure_was_told(settings, now=now)
    else:
        once += [*_odd(settings, archives, now=now, url=url), _missed(settings, archives, now=now, url=url)]
    return Observation(
        lasting=() if was_told else stale,
        unknown=frozenset({STALE}) if was_told else frozenset(),
        once=tuple(once),
        # What is gone is still missed at the next look: it is told once, and comes back with its volume.
        archives={name: at for name, at in known.items() if name in present or name in gone},
    )


def _is_new(settings: Settings, error: OSError, known: Mapping[str, datetime] | None) -> bool:
    """Whether the folder of a backup with an id is not there because its first run has yet to make it."""
    is_missing = isinstance(error, FileNotFoundError) and settings.backup_dir.parent.is_dir()
    return bool(settings.backup.id) and is_missing and not known


def _failure_was_told(settings: Settings, *, now: datetime) -> bool:
    """Whether it was told that the runs fail: then that the newest is too old is news only after a day."""
    incident = read_incident(settings.backup_dir, settings.backup.dag_id)
    return incident is not None and now - incident.since < REPEAT_AFTER


def _stale(
    settings: Settings, archives: list[Sidecar], *, first_look_at: datetime, now: datetime, url: str | None
) -> tuple[Lasting, ...]:
    zone = ZoneInfo(settings.backup_timezone)
    success = read_last_success(settings.backup_dir)
    in_future = success is not None and success > now + HOUR  # servers' clocks differ by seconds, not by hours
    age = age_hours(success or first_look_at, now, zone)
    limits = limits_of(settings)
    if age <= limits.longest_hours and not in_future:
        return ()
    newest = archives[-1].archive if archives else "none"
    notice = notices.stale(
        notices.Staleness(success, first_look_at, age, limits),
        newest,
        zone=zone,
        url=url,
        backup=settings.backup,
    )
    return (Lasting(STALE, notice, "Checkpoints succeed again" if limits.max_age_minutes else "Backups succeed again"),)


def _odd(settings: Settings, archives: list[Sidecar], *, now: datetime, url: str | None) -> list[Once]:
    """Return what is odd about the archives of the last day: every archive is among them at some look."""
    limits = {"min_mb": settings.backup_min_size_mb, "max_mb": settings.backup_max_size_mb}
    recent = [sidecar for sidecar in archives if now - sidecar.snapshot_at < DAY]
    reasons = [(sidecar, odd_sizes(sidecar, archives, **limits).lines) for sidecar in recent]
    return [Once((f"odd size of {s.archive}",), partial(notices.odd_size, s, why, url)) for s, why in reasons if why]


def _missed(settings: Settings, archives: list[Sidecar], *, now: datetime, url: str | None) -> Once:
    """Return the missed nights; what retention has removed was not missed."""
    days = timedelta(days=min(MISSED_DAYS, settings.backup_retention_days))
    every = slots(settings.backup_schedule, settings.backup_timezone, after=now - days, until=now)
    # A run may take BACKUP_RUN_TIMEOUT_MINUTES, and begin late.
    grace = timedelta(minutes=settings.backup_run_timeout_minutes) + HOUR
    missed = {slot.isoformat(): slot for slot in missed_slots(every, archives, now=now, grace=grace)}
    notice_for = partial(notices.missed, missed, every, ZoneInfo(settings.backup_timezone), url, backup=settings.backup)
    return Once(tuple(missed), notice_for)

"""Are we safe? One sentence with the reason, what else wants attention, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from include.backup import health
from include.backup.archive_list import ArchiveEntry, ArchiveList
from include.backup.backup_id import Backup
from include.backup.missed import backfill_commands, neighbours, slots
from include.backup.nights import Night, NightRules, judge_nights
from include.backup.run_outcome import RunOutcome
from include.backup.settings import Settings
from include.backup.unsent import read_unsent

CALENDAR_DAYS = 90
CHECKPOINTS_LOOK_BACK = timedelta(days=2)
NEXT_SLOT_WITHIN = timedelta(days=400)
_WAYS = {"slack": "to Slack", "mail": "by mail"}


@dataclass(frozen=True)
class AirflowFacts:
    """
    What only Airflow knows.

    Args:
        outcomes: The runs of the time that `look_back` says, newest first.
        paused: Whether the DAG is paused.
        missing_pool: The pool of its export, if Airflow has none of that name; empty if it has.
    """

    outcomes: tuple[RunOutcome, ...]
    paused: bool
    missing_pool: str = ""


@dataclass(frozen=True)
class Concern:
    """
    Something that wants attention.

    Args:
        text: What is true.
        remedy: What to do.
        run_id: The run to look at, if there is one.
    """

    text: str
    remedy: str
    run_id: str | None = None


@dataclass(frozen=True)
class Verdict:
    """
    Whether the backups are as they should be.

    Args:
        state: `safe`; `attention`: safe, but; `unsafe`; `new`: nothing was backed up yet.
        sentence: The answer and its reason.
        remedy: What to do when not safe; empty otherwise.
        concerns: What else wants attention, the most pressing first.
    """

    state: Literal["safe", "attention", "unsafe", "new"]
    sentence: str
    remedy: str
    concerns: tuple[Concern, ...]


@dataclass(frozen=True)
class Overview:
    """
    What there is to know at one look.

    Args:
        verdict: Whether the backups are as they should be.
        health: What the health check says, with its figures.
        nights: The slots of the last `CALENDAR_DAYS`, oldest first; none of checkpoints.
        recent: The archives of that time, newest first.
        archives: All of them, to page through; None if BACKUP_DIR cannot be read.
        next_at: When the next scheduled run is due, aware; None if the DAG is paused.
        missed: The first and the last slot of each group of missed nights, oldest first.
        backfill: The commands that make up for them, in the same order.
        in_clear: The private keys and .env files in the newest archive that whoever gets it can read.
    """

    verdict: Verdict
    health: health.Report
    nights: tuple[Night, ...]
    recent: tuple[ArchiveEntry, ...]
    archives: ArchiveList | None
    next_at: datetime | None
    missed: tuple[tuple[datetime, datetime], ...]
    backfill: tuple[str, ...]
    in_clear: tuple[str, ...]


def look(settings: Settings, airflow: AirflowFacts, *, now: datetime) -> Overview:
    """
    Look at everything.

    Args:
        settings: Where, when and how large.
        airflow: What only Airflow knows.
        now: Aware.
    """
    zone = ZoneInfo(settings.backup_timezone)
    report = health.check_health(limits_of(settings), now=now)
    begin = now - timedelta(days=CALENDAR_DAYS)
    try:
        archives = ArchiveList(settings.backup_dir)
    except OSError:  # the report says so
        archives = None
    recent = tuple(archives.since(begin, zone)) if archives else ()
    # Of checkpoints one that is left out is nothing to make up for, and nobody reads a calendar of thousands.
    is_nightly = not settings.backup.is_checkpoints
    every = slots(settings.backup_schedule, settings.backup_timezone, after=begin, until=now) if is_nightly else []
    nights = judge_nights(every, recent, airflow.outcomes, night_rules(settings, now=now)) if archives else ()
    next_at = None if airflow.paused else _next_slot(settings, now)
    concerns = tuple(_concerns(settings, airflow, report, nights, recent, now=now))
    missed = [night.slot for night in nights if night.state == "missed"]
    newest = next((entry.head for entry in recent if entry.head), None)
    return Overview(
        verdict=_verdict(report, concerns, recent, airflow, settings=settings, now=now, next_at=next_at),
        health=report,
        nights=nights,
        recent=recent,
        archives=archives,
        next_at=next_at,
        missed=neighbours(missed, every),
        backfill=backfill_commands(missed, every, zone, settings.backup),
        in_clear=newest.in_clear if newest else (),
    )


def look_back(backup: Backup) -> timedelta:
    """Return how far back Airflow's runs are looked at: there are a hundred checkpoints and more in a day."""
    return CHECKPOINTS_LOOK_BACK if backup.is_checkpoints else timedelta(days=CALENDAR_DAYS)


def limits_of(settings: Settings) -> health.Limits:
    """Return what the health check needs to know of a backup."""
    return health.Limits(
        backup_dir=str(settings.backup_dir),
        zone=ZoneInfo(settings.backup_timezone),
        max_age_hours=settings.backup_max_age_hours,
        min_size_mb=settings.backup_min_size_mb,
        max_size_mb=settings.backup_max_size_mb,
        backup_id=settings.backup.id,
        max_age_minutes=settings.backup_checkpoint_max_age_minutes if settings.backup.is_checkpoints else 0,
    )


def night_rules(settings: Settings, *, now: datetime) -> NightRules:
    """Return what nights are judged by."""
    return NightRules(
        now=now,
        deadline=timedelta(minutes=settings.backup_deadline_minutes),
        grace=timedelta(minutes=settings.backup_run_timeout_minutes, hours=1),
        kept_for=timedelta(days=settings.backup_retention_days),
    )


def _next_slot(settings: Settings, now: datetime) -> datetime | None:
    # Most schedules have a slot within days, and the list of a year's slots takes long.
    for ahead in (timedelta(hours=1), timedelta(days=2), timedelta(days=32), NEXT_SLOT_WITHIN):
        found = slots(settings.backup_schedule, settings.backup_timezone, after=now, until=now + ahead)
        if found:
            return found[0]
    return None


def _verdict(
    report: health.Report,
    concerns: tuple[Concern, ...],
    recent: Sequence[ArchiveEntry],
    airflow: AirflowFacts,
    *,
    settings: Settings,
    now: datetime,
    next_at: datetime | None,
) -> Verdict:
    zone, backup = ZoneInfo(settings.backup_timezone), settings.backup
    upcoming = f"next at {clock_text(next_at, now=now, zone=zone)}" if next_at else "none is planned"
    if not report.healthy:
        failed = any(run.state == "failed" for run in airflow.outcomes)
        if report.remedy == health.remedy_for(backup.id, health.FIRST_BACKUP) and not recent and not failed:
            return Verdict("new", f"No backup yet; {upcoming}.", report.remedy, concerns)
        reason = report.reason if report.reason.endswith("?") else f"{report.reason}."
        return Verdict("unsafe", f"Not safe: {reason}", report.remedy, concerns)
    age = age_text(now - datetime.fromisoformat(report.facts["last_success_at"]))
    newest = next((entry for entry in recent if entry.name == report.facts["archive"]), None)
    drill = newest.drill if newest else None
    proven = (
        f"verified and restored in {drill.seconds:,.0f} s" if drill and drill.passed else "verified, not yet drilled"
    )
    state: Literal["safe", "attention"] = "attention" if concerns else "safe"
    if backup.is_checkpoints:
        limit = settings.backup_checkpoint_max_age_minutes
        return Verdict(state, f"Last checkpoint {age} ago, at most {limit} min are allowed; {upcoming}.", "", concerns)
    return Verdict(state, f"Last backup {age} ago, {proven}; {upcoming}.", "", concerns)


def _concerns(
    settings: Settings,
    airflow: AirflowFacts,
    report: health.Report,
    nights: Sequence[Night],
    recent: Sequence[ArchiveEntry],
    *,
    now: datetime,
) -> Iterator[Concern]:
    """Yield what wants attention, the most pressing first; what the health check found is the verdict's own."""
    ended = next((run for run in airflow.outcomes if run.state in ("success", "failed")), None)
    if ended and ended.state == "failed":
        where = f"failed in {ended.failed_task}" if ended.failed_task else "failed"
        yield Concern(
            f"The last run, {ended.run_id}, {where}.",
            "Open it: the last line of the red task's log says what to do; mend that, then clear the task.",
            ended.run_id,
        )
    if airflow.paused:
        yield Concern(f"{settings.backup.dag_id} is paused: no backup is made by itself.", "Unpause it in Airflow.")
    if airflow.missing_pool:
        yield Concern(
            f"Airflow has no pool {airflow.missing_pool}: export_database waits for ever, and no backup is made.",
            f"Make it, with as many slots as may export at once: airflow pools set {airflow.missing_pool} 2 exports",
        )
    unsent = [unsent for _, unsent in read_unsent(settings.backup_dir, now=now)]
    if unsent:
        ways = " and ".join(sorted({_WAYS[channel] for alert in unsent for channel in alert.channels}))
        what = f"{len(unsent)} alerts, the last of which follows," if len(unsent) > 1 else "An alert"
        yield Concern(
            f"{what} could not be sent {ways}: {unsent[-1].notice.title}.",
            "Look at why in BACKUP_LOG_FILE, which has the server's words. backup_watch tries again every hour.",
        )
    yield from _night_concerns(nights, recent)
    yield from _archive_concerns(settings, recent)
    for warning in report.warnings:
        yield Concern(f"{warning[0].upper()}{warning[1:]}.", "Mend it, or set the limit that it names.")


def _count(number: int, singular: str, plural: str) -> str:
    return f"One {singular}" if number == 1 else f"{number} {plural}"


def _night_concerns(nights: Sequence[Night], recent: Sequence[ArchiveEntry]) -> Iterator[Concern]:
    missed = [night for night in nights if night.state == "missed"]
    if missed:
        yield Concern(
            f"{_count(len(missed), 'night was', 'nights were')} missed: no run, no archive.",
            f"Backfill {'them' if len(missed) > 1 else 'it'}: "
            "a backfill takes what the database holds now, with that night's cut-off.",
        )
    damaged = {entry.head.run.run_id for entry in recent if entry.problem and entry.head}  # they are there, and named
    lost = [night.outcome.run_id for night in nights if night.state == "lost" and night.outcome]
    lost = [run_id for run_id in lost if run_id not in damaged]
    if lost:
        yield Concern(
            f"{_count(len(lost), 'archive is gone before its', 'archives are gone before their')} time, "
            f"the last of run {lost[-1]}.",
            "Find out who removed them from BACKUP_DIR; the copies in the administrators' mailboxes are sound.",
            lost[-1],
        )


def _archive_concerns(settings: Settings, recent: Sequence[ArchiveEntry]) -> Iterator[Concern]:
    broken = [entry for entry in recent if entry.problem]
    if broken:
        yield Concern(
            f"{_count(len(broken), 'archive is', 'archives are')} not to be used, "
            f"the newest {broken[0].name}: {broken[0].problem}.",
            "Do not restore from it; find out who or what has changed it.",
        )
    newest = next((entry for entry in recent if not entry.problem), None)
    lacking = newest.delivery.in_state("refused", "deferred", "unconfirmed") if newest and newest.delivery else {}
    if newest and lacking:
        yield Concern(
            f"The mail of {newest.name} did not reach {', '.join(lacking)}.",
            "Clear the mail task of its run: it is sent to those who lack it.",
            newest.head.run.run_id if newest.head else None,
        )
    if recent and settings.backup_drill != "off" and not any(e.drill and e.drill.passed for e in recent):
        yield Concern("No archive has been proven by restoring it.", f"Trigger {settings.backup.drill_dag_id}.")


def age_text(age: timedelta) -> str:
    """Return an age as people say it, for example `6 h`, `40 min`, `3 days`."""
    minutes = max(int(age.total_seconds() // 60), 0)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"  # noqa: PLR2004 - two days


def clock_text(moment: datetime, *, now: datetime, zone: ZoneInfo) -> str:
    """Return a coming moment as people say it: `02:00` within a day, else with its date."""
    local = moment.astimezone(zone)
    return f"{local:%H:%M}" if moment - now < timedelta(days=1) else f"{local:%Y-%m-%d %H:%M}"

"""The JSON that the endpoints answer with; every field says in the OpenAPI description what it is."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from include.backup.archive_list import ArchiveEntry
from include.backup.nights import Night, NightState
from include.backup.overview import Overview
from include.backup.run import Kind


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Health(Answer):
    """As little as a monitor needs; the reason is for those who are logged in."""

    status: Literal["healthy", "unhealthy"]
    """Whether there is a recent, sound archive."""
    age_hours: float | None
    """Hours since the state that the last success holds; null if no success is recorded that can be read."""


class Drill(Answer):
    """What restoring the archive into a scratch database showed."""

    drilled_at: datetime
    """When the drill ended."""
    passed: bool
    """Whether every table came back with the rows and the SHA-256 of the manifest."""
    seconds: float
    """How long the restore took."""
    error: str
    """Why it did not pass; empty if it did."""


class Archive(Answer):
    """One archive. What its manifest would say is null where that cannot be read."""

    name: str
    """The file's name, with the time of its snapshot in BACKUP_TIMEZONE."""
    problem: str
    """Why it is not to be restored from; empty if nothing is known against it."""
    size_bytes: int | None
    """The size that was verified."""
    sha256: str | None
    """SHA-256 of the file, hexadecimal: also the download's ETag."""
    snapshot_at: datetime | None
    """The state that its rows show."""
    run_id: str | None
    """Airflow's id of the run that made it."""
    kind: Kind | None
    """What started that run."""
    stands_for: datetime | None
    """The slot of a scheduled or backfilled run; the start of a manual one."""
    reason: str | None
    """What the person said who started the run; empty for others."""
    tables: int | None
    """How many tables' rows are in it."""
    rows: int | None
    """How many rows are in it."""
    warnings: tuple[str, ...] | None
    """What a person should know, as in its mail."""
    verified_at: datetime | None
    """When it was read back whole and held against its manifest."""
    drill: Drill | None
    """Its last drill; null if there was none."""
    expires_at: datetime | None
    """When retention may remove it; null for one that stays whatever its age."""

    @classmethod
    def of(cls, entry: ArchiveEntry, *, expires_at: datetime | None) -> Archive:
        """Return the answer for an archive."""
        head, drill = entry.head, entry.drill
        return cls(
            name=entry.name,
            problem=entry.problem,
            size_bytes=head and head.archive_bytes,
            sha256=head and head.archive_sha256,
            snapshot_at=head and head.snapshot_at,
            run_id=head and head.run.run_id,
            kind=head and head.run.kind,
            stands_for=head and head.run.stands_for,
            reason=head and head.run.reason,
            tables=head and head.tables,
            rows=head and head.rows,
            warnings=head and head.warnings,
            verified_at=entry.verified_at,
            drill=drill
            and Drill(drilled_at=drill.drilled_at, passed=drill.passed, seconds=drill.seconds, error=drill.error),
            expires_at=expires_at,
        )


class History(Answer):
    """A page of the list of archives, newest first."""

    total: int
    """How many archives there are."""
    limit: int
    """How many the page may hold."""
    offset: int
    """How many newer ones come before it."""
    archives: tuple[Archive, ...]
    """The archives."""


class ConcernAnswer(Answer):
    """Something that wants attention."""

    text: str
    """What is true."""
    remedy: str
    """What to do."""


class NightAnswer(Answer):
    """One slot of the schedule."""

    slot: datetime
    """When the run was due."""
    state: NightState
    """What became of it; `lost`: its archive is gone too early, or damaged, `unknown`: before anything is known."""
    archive: str | None
    """The archive that stands for it, if it is still there."""
    run_id: str | None
    """Airflow's run of it, if Airflow still has it."""

    @classmethod
    def of(cls, night: Night) -> NightAnswer:
        """Return the answer for a night."""
        return cls(
            slot=night.slot,
            state=night.state,
            archive=night.entry and night.entry.name,
            run_id=night.outcome and night.outcome.run_id,
        )


class Status(Answer):
    """Are we safe? The same that the status page says."""

    state: Literal["safe", "attention", "unsafe", "new"]
    """`attention`: safe, but something wants attention; `new`: nothing was backed up yet."""
    sentence: str
    """The answer and its reason."""
    remedy: str
    """What to do when not safe; empty otherwise."""
    concerns: tuple[ConcernAnswer, ...]
    """What else wants attention, the most pressing first."""
    last_success_at: datetime | None
    """The state that the last success holds."""
    age_hours: float | None
    """Hours since then, as the limit BACKUP_MAX_AGE_HOURS counts them."""
    next_at: datetime | None
    """When the next scheduled run is due; null if the DAG is paused."""
    free_bytes: int | None
    """Free on the disk of BACKUP_DIR."""
    archives: int
    """How many archives there are."""
    nights: tuple[NightAnswer, ...]
    """The slots of the last 90 days, oldest first."""
    backfill: tuple[str, ...]
    """The commands that make up for the nights that were missed."""
    in_clear: tuple[str, ...]
    """The private keys and .env files in the newest archive that whoever gets it can read."""

    @classmethod
    def of(cls, overview: Overview) -> Status:
        """Return the answer for what was seen."""
        verdict, facts = overview.verdict, overview.health.facts
        return cls(
            state=verdict.state,
            sentence=verdict.sentence,
            remedy=verdict.remedy,
            concerns=tuple(ConcernAnswer(text=each.text, remedy=each.remedy) for each in verdict.concerns),
            last_success_at=facts.get("last_success_at"),
            age_hours=facts.get("age_hours"),
            next_at=overview.next_at,
            free_bytes=facts.get("free_bytes"),
            archives=len(overview.archives or ()),
            nights=tuple(map(NightAnswer.of, overview.nights)),
            backfill=overview.backfill,
            in_clear=overview.in_clear,
        )


class SettingAnswer(Answer):
    """One setting."""

    value: str | None
    """The value in force; null if it is not set, `***` if it is a secret that is set."""
    default: str | None
    """The value without the variable; null if there is none."""


class Config(Answer):
    """The settings of the api-server's backup. Workers have environments of their own."""

    settings: dict[str, SettingAnswer]
    """By the variables' names."""

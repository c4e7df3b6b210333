"""What the watch says and when: once for an incident, daily while it lasts, once when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field, ValidationError

from include.backup.manifest import Record
from include.backup.notice import Notice

# A day, less what hourly looks may differ by.
REPEAT_AFTER = timedelta(hours=23, minutes=30)


@dataclass(frozen=True)
class Lasting:
    """
    Something that is wrong until it is mended.

    Args:
        key: The incident; a later look finds it again by this.
        notice: What to say while it lasts.
        over: The title of the message when it is over.
    """

    key: str
    notice: Notice
    over: str


@dataclass(frozen=True)
class Once:
    """
    Things to tell once each, together.

    Args:
        keys: What they are told apart by.
        notice_for: Returns what to say of some of the keys.
    """

    keys: tuple[str, ...]
    notice_for: Callable[[tuple[str, ...]], Notice]


@dataclass(frozen=True)
class Observation:
    """
    What one look has found.

    Args:
        lasting: What is wrong now.
        once: What to tell once.
        unknown: Keys of incidents that this look could not judge: they are neither new nor over.
        complete: Whether `once` holds everything; if not, nothing that was told or seen is forgotten.
        archives: The snapshot times of the archives that have to be there at the next look, by name.
    """

    lasting: tuple[Lasting, ...] = ()
    once: tuple[Once, ...] = ()
    unknown: frozenset[str] = field(default_factory=frozenset)
    complete: bool = True
    archives: Mapping[str, datetime] = field(default_factory=dict)


class Incident(Record):
    """An incident that was told and is not over."""

    since: AwareDatetime
    told_at: AwareDatetime
    title: str
    over: str


class Memory(Record):
    """What the watch knows from earlier looks."""

    first_look_at: AwareDatetime
    incidents: dict[str, Incident] = Field(default_factory=dict)
    told: tuple[str, ...] = ()
    archives: dict[str, AwareDatetime] = Field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """A message to send, and what to remember once it is sent."""

    notice: Notice
    memory: Memory


def read_memory(stored: object, *, now: datetime) -> Memory:
    """Return what was stored; an empty memory that begins now if there is nothing, or nothing that can be read."""
    try:
        return Memory.model_validate(stored)
    except ValidationError:
        return Memory(first_look_at=now)


def plan_alerts(seen: Observation, memory: Memory, *, now: datetime) -> tuple[list[Alert], Memory]:
    """
    Return the messages to send, in order, and what to remember at the end.

    Each message carries the memory of itself and those before it: if one cannot be sent, the next look sends it and
    repeats none.

    Args:
        seen: What this look has found.
        memory: What earlier looks left.
        now: Aware.
    """
    alerts: list[Alert] = []

    def say(notice: Notice, **changes: object) -> None:
        nonlocal memory
        memory = memory.model_copy(update=changes)
        alerts.append(Alert(notice, memory))

    for finding in seen.lasting:
        known = memory.incidents.get(finding.key)
        if known is None or now - known.told_at >= REPEAT_AFTER:
            incident = Incident(
                since=known.since if known else now, told_at=now, title=finding.notice.title, over=finding.over
            )
            say(finding.notice, incidents=memory.incidents | {finding.key: incident})
    still = {finding.key for finding in seen.lasting} | seen.unknown
    for key, incident in memory.incidents.items():
        if key not in still:
            left = {other: value for other, value in memory.incidents.items() if other != key}
            say(_over(incident, now), incidents=left)
    for group in seen.once:
        new = tuple(key for key in group.keys if key not in memory.told)
        if new:
            say(group.notice_for(new), told=(*memory.told, *new))
    if seen.complete:
        present = {key for group in seen.once for key in group.keys}
        told = tuple(key for key in memory.told if key in present)
        memory = memory.model_copy(update={"told": told, "archives": dict(seen.archives)})
    return alerts, memory


def _over(incident: Incident, now: datetime) -> Notice:
    hours = (now - incident.since) / timedelta(hours=1)
    return Notice(
        state="ok",
        title=incident.over,
        text=f"It is over: {incident.title}.",
        facts=(("Lasted", f"{hours:.0f} hours since it was noticed"),),
        next_steps=("Nothing. Nights that were missed are named in a mail of their own.",),
        url=None,
    )

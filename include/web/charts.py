"""What the charts draw, as JSON for the script, and the same in a sentence for whoever cannot see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from include.backup.figures import RESTORE_OBJECTIVE_SECONDS, NightFigures
from include.backup.settings import BYTES_PER_MB, Settings
from include.backup.templates import size_text
from include.web.rendering import duration_text

Unit = Literal["MB", "s"]


@dataclass(frozen=True)
class Limit:
    """A line that the values should stay below, or above."""

    label: str
    value: float


@dataclass(frozen=True)
class Chart:
    """
    One chart.

    Args:
        name: Of the element it is drawn in.
        title: What it shows.
        unit: Of its values and limits.
        times: Of the nights, in Unix seconds.
        values: One for each time; None where there is none.
        odd: Whether the value is far from those before it, one for each time.
        limits: The lines.
        summary: The same in words.
    """

    name: str
    title: str
    unit: Unit
    times: tuple[int, ...]
    values: tuple[float | None, ...]
    odd: tuple[bool, ...]
    limits: tuple[Limit, ...]
    summary: str

    @property
    def data(self) -> dict[str, Any]:
        """What the script draws."""
        limits = [{"label": limit.label, "value": limit.value} for limit in self.limits]
        return {"unit": self.unit, "times": self.times, "values": self.values, "odd": self.odd, "limits": limits}


def charts_of(figures: Sequence[NightFigures], settings: Settings) -> tuple[Chart, ...]:
    """Return the charts of the nights, oldest first: size, duration, restore."""
    sizes = tuple(None if f.size_bytes is None else f.size_bytes / BYTES_PER_MB for f in figures)
    seconds = tuple(f.seconds for f in figures)
    drills = tuple(f.drill_seconds for f in figures)
    odd_sizes, odd_seconds = tuple(f.odd_size for f in figures), tuple(f.odd_seconds for f in figures)
    size_limits = [Limit("at most", settings.backup_max_size_mb)]
    if settings.backup_min_size_mb:
        size_limits.append(Limit("at least", settings.backup_min_size_mb))
    late = Limit("late after", 60.0 * settings.backup_deadline_minutes)
    objective = Limit("objective", float(RESTORE_OBJECTIVE_SECONDS))
    times = tuple(int(f.slot.timestamp()) for f in figures)
    none_odd = (False,) * len(figures)
    return (
        Chart(
            "size", "Size", "MB", times, sizes, odd_sizes, tuple(size_limits), _summary(sizes, odd_sizes, _megabytes)
        ),
        Chart("duration", "Duration", "s", times, seconds, odd_seconds, (late,), _summary(seconds, odd_seconds)),
        Chart("restore", "Restore in the drill", "s", times, drills, none_odd, (objective,), _summary(drills)),
    )


def _megabytes(value: float) -> str:
    return size_text(value * BYTES_PER_MB)


def _summary(
    values: Sequence[float | None], odd: Sequence[bool] = (), text: Callable[[float], str] = duration_text
) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "No figures yet."
    sentence = f"Last {text(known[-1])}, usually {text(median(known))}, from {text(min(known))} to {text(max(known))}"
    far = sum(odd)
    return f"{sentence}; {far} unlike the nights before." if far else f"{sentence}."

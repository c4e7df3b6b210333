"""The report of a contest: its figures as JSON, a chart, and a page with what they say."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from benchmarks.chart import chart
from benchmarks.machine import busy_cores, machine, versions
from benchmarks.wishes import MB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.contest import Ratio
    from benchmarks.figures import Figures, Promise

__all__ = ["Story", "machine_lines", "megabytes", "table", "verdicts", "write_page", "write_report"]

ENOUGH_ROUNDS = 5
BUSY_CORES = 0.5


@dataclass(frozen=True)
class Story:
    """What a report tells besides the figures. name: Of its files. method: How it was measured. sizes: Of what."""

    name: str
    title: str
    method: str
    sizes: str


def write_report(figures: Figures, story: Story, folder: Path) -> Path:
    """Write the three files, NAME.json, .svg and .md, in place of those of an earlier run. Return the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / story.name
    files.with_suffix(".json").write_text(json.dumps(figures.as_json(), indent=1, ensure_ascii=False) + "\n")
    files.with_suffix(".svg").write_text(chart(figures, title=story.title))
    files.with_suffix(".md").write_text(as_markdown(figures, story))
    return files.with_suffix(".md")


def as_markdown(figures: Figures, story: Story) -> str:
    """Return the table, what it says, and how it was measured."""
    name, title = story.name, story.title
    written = f"Written by `python -m benchmarks.{name}` on {figures.made_at:%Y-%m-%d}, {figures.rounds} rounds"
    sections = [
        f"# {title}",
        f"{written}; for programs: [{name}.json]({name}.json).",
        "\n".join(f"- {line}" for line in verdicts(figures)),
        "\n".join(_doubts(figures)),
        f"![{title}]({name}.svg)",
        table(figures),
        story.sizes,
        "## Where the time goes",
        *(_stages(figures, name) for name in figures.competitors),
        "## How it was measured",
        story.method.rstrip(),
        machine_lines(figures.machine),
        "Versions: " + ", ".join(f"{name} {value}" for name, value in figures.versions.items()) + ".",
        "Server: " + ", ".join(f"{name} {value}" for name, value in figures.settings.items()) + ".",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def write_page(name: str, title: str, sections: Sequence[str], folder: Path) -> Path:
    """Write NAME.md for a benchmark that is no contest: its sections, and what it was taken on. Return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"In its last minute {busy_cores():.1f} cores were busy, with its own work and that of others."
    written = f"Written by `python -m benchmarks.{name}` on {datetime.now(timezone.utc):%Y-%m-%d}. {busy}"
    programs = "Versions: " + ", ".join(f"{program} {version}" for program, version in versions().items()) + "."
    page = folder / f"{name}.md"
    page.write_text("\n\n".join([f"# {title}", written, *sections, machine_lines(machine()), programs]) + "\n")
    return page


def verdicts(figures: Figures) -> list[str]:
    """Return a line for each promise: the ratio seen, and whether it is kept."""
    return [_verdict(promise, figures.promised(promise)) for promise in figures.promises]


def _verdict(promise: Promise, ratio: Ratio) -> str:
    kept = "kept" if ratio.median <= promise.at_most else "**not kept**"
    if promise.at_most < 1:
        times = [1 / one for one in ratio.rounds]
        return (
            f"`{ratio.competitor}` is **{1 / ratio.median:.2f} times** as fast as `{ratio.peer}` "
            f"({min(times):.2f} to {max(times):.2f}): the promise, at least {1 / promise.at_most:g} times, is {kept}."
        )
    return (
        f"`{ratio.competitor}` takes **{ratio.median:.2f} times** as long as `{ratio.peer}` ({min(ratio.rounds):.2f} "
        f"to {max(ratio.rounds):.2f}): the promise, at most {promise.at_most:g} times, is {kept}."
    )


def _doubts(figures: Figures) -> list[str]:
    doubts = []
    if figures.rounds < ENOUGH_ROUNDS:
        doubts.append(f"- Only {figures.rounds} of at least {ENOUGH_ROUNDS} rounds: not to be relied on.")
    if figures.busy_cores_before > BUSY_CORES:
        doubts.append(
            f"- {figures.busy_cores_before:.1f} cores were busy before it began: disturbed, not to be relied on."
        )
    return doubts


def table(figures: Figures) -> str:
    """Return the seconds of everybody, and the ratios to the last one."""
    lines = ["| | median s | fastest | slowest | ratio, median | lowest | highest |", "|---|--:|--:|--:|--:|--:|--:|"]
    for name in figures.competitors:
        seconds = figures.seconds(name)
        ratio = figures.ratios.get(name)
        compared = (ratio.median, min(ratio.rounds), max(ratio.rounds)) if ratio else (1.0, 1.0, 1.0)
        cells = [f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds), *compared)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _stages(figures: Figures, name: str) -> str:
    stages = (f"{stage} {seconds:.2f} s" for stage, seconds in figures.stages(name).items())
    return f"`{name}`: {', '.join(stages)}."


def machine_lines(machine: Mapping[str, str]) -> str:
    """Return what the figures were taken on, as a list."""
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())


def megabytes(size_bytes: int) -> str:
    """Return a size for people."""
    return f"{size_bytes / MB:,.1f} MB"

"""The report on restoring: restore.json, restore.svg, and restore.md with what the figures say."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

from benchmarks.chart import chart
from benchmarks.wishes import MB

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contest import Ratio
    from benchmarks.figures import Figures, Sizes

__all__ = ["write_report"]

ENOUGH_ROUNDS = 5
BUSY_CORES = 0.5
TITLE = "Restoring: from the file on disk to a database ready for use"

METHOD = """\
Everybody starts with files on disk and ends with a new database that has the same rows, every index and key, and
planner statistics (`ANALYZE` on both sides). restore.sh is timed from the `.tar.gz` on, so unpacking counts; it also
checks every file's SHA-256 and counts every table's rows, which pg_restore does not, and that counts as well.
pg_restore reads a directory dump (`pg_dump -Fd -j2`, its usual compression) of a database that this archive was
restored into: the same tables and, where only a window was taken, the same rows. Making the database counts for both.

Competitors take turns in an order that is shuffled for each pair of rounds and turned round within it. Before each
run the databases of the others are dropped and the server is started again; the files are in the system's page cache
for everybody. After each run the rows of every table, indexes and constraints are counted, outside the time taken.
Ratios are formed within a round; the median is of these ratios.
"""


def write_report(figures: Figures, folder: Path) -> None:
    """Write the three files; those of an earlier run are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "restore.json").write_text(json.dumps(figures.as_json(), indent=1, ensure_ascii=False) + "\n")
    (folder / "restore.svg").write_text(chart(figures, title=TITLE))
    (folder / "restore.md").write_text(as_markdown(figures))


def as_markdown(figures: Figures) -> str:
    """Return the table, what it says, and how it was measured."""
    sections = [
        f"# {TITLE}",
        f"Written by `make bench` on {figures.made_at:%Y-%m-%d}; for programs: [restore.json](restore.json).",
        "\n".join(_verdict(figures, ratio) for ratio in figures.ratios.values()),
        "\n".join(_doubts(figures)),
        f"![{TITLE}](restore.svg)",
        _table(figures),
        _sizes(figures.sizes),
        "## Where the time goes",
        *(_stages(figures, name) for name in figures.competitors),
        "## How it was measured",
        METHOD.rstrip(),
        "\n".join(f"- {name}: {value}" for name, value in figures.machine.items()),
        "Server: " + ", ".join(f"{name} {value}" for name, value in figures.settings.items()) + ".",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _verdict(figures: Figures, ratio: Ratio) -> str:
    kept = "kept" if ratio.median <= figures.promise else "**not kept**"
    spread = f"{min(ratio.rounds):.2f} to {max(ratio.rounds):.2f}"
    return (
        f"- `{ratio.competitor}` takes **{ratio.median:.2f} times** as long as `{ratio.peer}` ({spread}): "
        f"the promise, at most {figures.promise:g} times, is {kept}."
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


def _table(figures: Figures) -> str:
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


def _sizes(sizes: Sizes) -> str:
    return (
        f"The archive has {_mb(sizes.archive_bytes)} ({_mb(sizes.unpacked_bytes)} unpacked, {sizes.rows:,} rows of "
        f"{sizes.tables} tables), taken from {_mb(sizes.tables_bytes)} of tables and {_mb(sizes.indexes_bytes)} of "
        f"indexes; the directory dump has {_mb(sizes.dump_bytes)}."
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MB:,.1f} MB"

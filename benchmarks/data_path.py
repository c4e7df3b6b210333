r"""`python -m benchmarks.data_path`: export, archive and verification, against bare COPY, pg_dump and the plain way."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from benchmarks.backup import back_up
from benchmarks.contest import hold_contest
from benchmarks.exporters import ByCopy, ByPgDump, ByPlainWay, ByProduct, Field, selections_of
from benchmarks.figures import Figures, Promise
from benchmarks.machine import busy_cores, machine, versions
from benchmarks.program import run_benchmark
from benchmarks.programs import run_program
from benchmarks.report import Story, megabytes, table, verdicts, write_report
from benchmarks.restorers import restored_copy
from benchmarks.source import prepare_source, table_bytes
from benchmarks.wishes import MB, command_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.contest import Competitor, Run
    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

PRODUCT, PLAIN, ONE_COPY, DIRECTORY_DUMP = "product", "plain", "copy1", "fd"
NAMES = (PRODUCT, PLAIN, DIRECTORY_DUMP, "fc", "copy2", ONE_COPY)
VERIFIED_MB_PER_CORE_SECOND = 300  # promised
PROMISES = ((PRODUCT, ONE_COPY, 1.5), (PRODUCT, PLAIN, 1 / 4.5), (PRODUCT, DIRECTORY_DUMP, 1.0))

TITLE = "The data path: from the rows in the database to a verified archive"
METHOD = """\
The database has old rows and rows of the last three months in two transaction tables, generated in the server, beside
the demo's sample. `Critical Backup` takes the tables of scope.yaml, of transactions the last three months, by its own
steps with the package's settings: export from one snapshot, compressed as it streams (2 connections), archive (synced
to the disk), verification (every byte read again, unpacked, hashed, its rows counted), and the final name (synced).
`the plain way` is what scripts do: `pg_dump -t` of each whole table, `psql \\copy` of the recent rows, `tar -czf`,
`gzip -t`. It takes the same rows save those that only a reference from the window makes worth taking, a few thousand.
`pg_dump -Fd -j2` and `-Fc` (usual compression) cannot take a part of a table: they dump a second database that holds
just the rows of the archive, which was restored into it, and verify nothing. `bare COPY` runs the product's own COPY
statements in psql to /dev/null: nothing is compressed, kept or checked. With two connections the tables are shared out
so that both have as much to do.

Everything is prepared before the clock starts: each run finds a server just started (empty shared buffers, the pages
in the system's cache), an empty folder, and nothing waiting for the disk. Competitors take turns in an order that is
shuffled for each pair of rounds and turned round within it; ratios are formed within a round, and the median is of
these ratios.
"""


def main(arguments: list[str] | None = None) -> int:
    """Hold the contest, print its table, and with all competitors write the report; slow is not a failure."""
    parser = command_line(__doc__)
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {','.join(NAMES)}: then no report is written")
    options = parser.parse_args(arguments)
    only = options.only.split(",")
    if unknown := sorted(set(only) - set(NAMES)):
        parser.error(f"--only {','.join(unknown)}: expected some of {','.join(NAMES)}")
    return run_benchmark(options, lambda server, work, wishes, progress: report(server, work, wishes, progress, only))


def report(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress, only: list[str]) -> None:
    """Measure, show the table, and write the report if everybody took part."""
    figures = measure_data_path(server, work, wishes, progress, only)
    print(f"\n{table(figures)}\n\n" + "\n".join(verdicts(figures)))
    print("written: " + ", ".join(f"{name[8:]} {megabytes(size)}" for name, size in _written(figures).items()))
    if set(only) == set(NAMES):
        title = "The data path: from the rows in the database to a verified archive"
        print(
            f"report: {write_report(figures, Story('data_path', title, METHOD, _sizes(figures)), wishes.report_folder)}"
        )


def measure_data_path(
    server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress, only: Sequence[str] = NAMES
) -> Figures:
    """Prepare source, copy and folder, then hold the contest. Raises BenchmarkError if somebody fails."""
    made_at, busy = datetime.now(timezone.utc), busy_cores()
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    backups = work / "backups"
    backups.mkdir()
    with progress.step("An archive of it, and a database with just its rows"):
        archive, sidecar, _ = back_up(server, backups)
        rows_database = restored_copy(server, archive, sidecar, work)
    with progress.step("What gzip -6 would have made of it"):
        gzip_bytes = by_gzip(archive, server.client_environment)
    field = Field(server, rows_database, sidecar, selections_of(server), work / "run")
    everybody: dict[str, Competitor] = {
        PRODUCT: ByProduct(field),
        PLAIN: ByPlainWay(field),
        DIRECTORY_DUMP: ByPgDump(field, ("-Fd", "-j2")),
        "fc": ByPgDump(field, ("-Fc",)),
        "copy2": ByCopy(field, 2),
        ONE_COPY: ByCopy(field, 1),
    }
    competitors = [everybody[name] for name in NAMES if name in only]

    def show(run: Run) -> None:
        progress.say(f"  round {run.round} of {wishes.rounds}: {run.competitor:<28}{run.seconds:8.2f} s")

    runs = hold_contest(competitors, rounds=wishes.rounds, show=show)
    tables_bytes, indexes_bytes = table_bytes(server)
    return Figures(
        made_at=made_at,
        machine=machine(),
        settings=server.settings(),
        versions=versions(),
        busy_cores_before=busy,
        sizes={
            "tables_bytes": tables_bytes,
            "indexes_bytes": indexes_bytes,
            "rows": sidecar.rows,
            "tables": len(sidecar.tables),
            "unpacked_bytes": sum(file.bytes for file in sidecar.files),
            "archive_by_gzip_bytes": gzip_bytes,
            **{f"written {name}": size for name, size in field.written_bytes.items()},
        },
        competitors=tuple(competitor.name for competitor in competitors),
        promises=tuple(
            Promise(everybody[own].name, everybody[peer].name, at_most)
            for own, peer, at_most in PROMISES
            if {own, peer} <= set(only)
        ),
        runs=runs,
    )


def by_gzip(archive: Path, environment: Mapping[str, str]) -> int:
    """Pack an archive's own tar once more, by gzip -6, in its place; return the bytes."""
    commands: tuple[list[str | Path], ...] = (["gzip", "-d", archive], ["gzip", "-6", archive.with_suffix("")])
    for command in commands:
        run_program(command, environment=environment, folder=archive.parent)
    size_bytes = archive.stat().st_size
    archive.unlink()
    return size_bytes


def _written(figures: Figures) -> dict[str, int]:
    return {name: size for name, size in figures.sizes.items() if name.startswith("written ")}


def _sizes(figures: Figures) -> str:
    sizes = figures.sizes
    taken = f"{megabytes(sizes['unpacked_bytes'])} of files, {sizes['rows']:,} rows of {sizes['tables']} tables"
    out_of = f"{megabytes(sizes['tables_bytes'])} of tables with {megabytes(sizes['indexes_bytes'])} of indexes"
    lines = [
        f"{taken}, out of {out_of}.",
        "",
        "| on the disk afterwards | size | of the archive packed by `gzip -6` |",
        "|---|--:|--:|",
    ]
    by_gzip_bytes = sizes["archive_by_gzip_bytes"]
    lines += [
        f"| `{name.removeprefix('written ')}` | {megabytes(size)} | {size / by_gzip_bytes:.3f} |"
        for name, size in sorted(_written(figures).items(), key=lambda item: item[1])
    ]
    kept = "kept" if sizes[f"written {ByProduct.name}"] <= by_gzip_bytes else "**not kept**"
    lines += ["", f"The promise, an archive that is not larger than `gzip -6` would make it, is {kept}."]
    needed = figures.processor_seconds(ByProduct.name, "verify")
    speed = sizes["unpacked_bytes"] / MB / needed
    kept = "kept" if speed >= VERIFIED_MB_PER_CORE_SECOND else "**not kept**"
    needs = f"Verification needs {needed:.2f} s of the cores: {speed:.0f} MB of rows for each second of one."
    lines += ["", f"{needs} The promise, at least {VERIFIED_MB_PER_CORE_SECOND} MB, is {kept}."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

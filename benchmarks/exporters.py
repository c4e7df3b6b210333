"""Who takes the rows out: this product, bare COPY as the limit, pg_dump, and the plain way of scripts."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.backup import back_up, plan_rows
from benchmarks.errors import BenchmarkError
from benchmarks.programs import Stage, run_program
from benchmarks.server import SOURCE
from include.backup.catalog import read_catalog
from include.backup.references import take_along
from include.backup.scope import load_scope
from include.backup.settings import PACKAGED_SCOPE_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.server import BenchmarkServer
    from include.backup.manifest import Manifest
    from include.backup.selection import Selection

__all__ = ["ByCopy", "ByPgDump", "ByPlainWay", "ByProduct", "Field", "selections_of"]


@dataclass(frozen=True)
class Field:
    """
    What all share.

    Args:
        server: Holds the source, and beside it a database with only the rows that are taken.
        rows_database: That database.
        manifest: Of an archive made before: what everybody has to take.
        selections: The product's own choice of rows, as COPY statements.
        folder: For what is written; empty between the runs.
        written_bytes: Filled by each run: what the competitor has left on the disk.
    """

    server: BenchmarkServer
    rows_database: str
    manifest: Manifest
    selections: tuple[Selection, ...]
    folder: Path
    written_bytes: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> Path:
        """Give everybody the same start: an empty folder, a server just started, nothing waiting for the disk."""
        self.server.start_afresh()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.sync()
        return self.folder

    def finish(self, competitor: str, result: Path | None) -> None:
        """Note the size of the result, a file or a folder, and remove everything."""
        if result:
            files = [file for file in (result, *result.rglob("*")) if file.is_file()]
            self.written_bytes[competitor] = sum(file.stat().st_size for file in files)
        shutil.rmtree(self.folder)

    def program(self, *command: str | Path) -> float:
        """Run a program to its end and return its seconds. Raises BenchmarkError if it fails."""
        seconds, _ = run_program(command, environment=self.server.client_environment, folder=self.folder)
        return seconds


def selections_of(server: BenchmarkServer) -> tuple[Selection, ...]:
    """Return the rows that the product takes of the source, those taken along included."""
    scope = load_scope(PACKAGED_SCOPE_FILE)
    with server.database().connect() as session:
        catalog = read_catalog(session)
        return take_along(session, catalog, plan_rows(scope, catalog))


@dataclass(frozen=True)
class ByProduct:
    """Export, archive and verification, through the product's own steps; then the archive has its name."""

    field: Field
    name: str = "Critical Backup"

    def run(self) -> tuple[Stage, ...]:
        """Make one archive. Raises BenchmarkError if it has other rows than the first one."""
        folder = self.field.prepare()
        archive, sidecar, stages = back_up(self.field.server, folder)
        if (sidecar.rows, sidecar.tables) != (self.field.manifest.rows, self.field.manifest.tables):
            raise BenchmarkError(f"{sidecar.rows} rows in the archive, expected {self.field.manifest.rows}")
        self.field.finish(self.name, archive)
        return stages


@dataclass(frozen=True)
class ByCopy:
    """The same COPY statements in bare psql sessions, to /dev/null: nothing compressed, kept or checked."""

    field: Field
    connections: int

    @property
    def name(self) -> str:
        """Return what the report calls it."""
        return f"bare COPY, {self.connections} connection{'s' if self.connections > 1 else ''}"

    def run(self) -> tuple[Stage, ...]:
        """Read all rows once; with several connections the last one counts."""
        folder = self.field.prepare()
        scripts = [folder / f"copy{number}.sql" for number in range(self.connections)]
        for script, statements in zip(scripts, self._shares(), strict=True):
            script.write_text("".join(f"{statement};\n" for statement in statements))

        def copy(script: Path) -> float:
            psql = ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", SOURCE, "-o", os.devnull)
            return self.field.program(*psql, "-f", script)

        with ThreadPoolExecutor(self.connections) as pool:
            seconds = max(pool.map(copy, scripts))
        self.field.finish(self.name, None)
        return (Stage("COPY", seconds),)

    def _shares(self) -> list[list[str]]:
        """Return the statements of each connection: the largest table first, always to who has least to do."""
        sizes = {table.qualified: table.bytes for table in self.field.manifest.tables}
        shares: list[tuple[int, list[str]]] = [(0, []) for _ in range(self.connections)]
        for selection in sorted(self.field.selections, key=lambda one: -sizes[one.table.name]):
            size, statements = min(shares, key=lambda share: share[0])
            shares.remove((size, statements))
            shares.append((size + sizes[selection.table.name], [*statements, selection.copy_statement]))
        return [statements for _, statements in shares]


@dataclass(frozen=True)
class ByPgDump:
    """pg_dump in one of its own formats, of a database that holds just these rows; it verifies nothing."""

    field: Field
    options: Sequence[str]

    @property
    def name(self) -> str:
        """Return the command."""
        return " ".join(("pg_dump", *self.options))

    def run(self) -> tuple[Stage, ...]:
        """Dump once."""
        result = self.field.prepare() / "dump"
        seconds = self.field.program("pg_dump", *self.options, "-f", result, self.field.rows_database)
        self.field.finish(self.name, result)
        return (Stage("pg_dump", seconds),)


@dataclass(frozen=True)
class ByPlainWay:
    r"""As scripts do it: pg_dump of each whole table, psql \copy of the recent rows, tar -czf, gzip -t."""

    field: Field
    name: str = "the plain way"

    def run(self) -> tuple[Stage, ...]:
        """Make one .tar.gz and test it."""
        folder = self.field.prepare()
        files = folder / "files"
        files.mkdir()
        dumps = copies = 0.0
        for selection in self.field.selections:
            table, window = selection.table.name, selection.window
            if window is None:
                dumps += self.field.program("pg_dump", "-t", table.sql, "-f", files / f"{table.name}.sql", SOURCE)
                continue
            rows = f"SELECT * FROM {table.sql} t WHERE {window.inside('t')}"
            command = rf"\copy ({rows}) TO '{files / table.name}.csv' WITH (FORMAT csv, HEADER)"
            copies += self.field.program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", SOURCE, "-c", command)
        archive = folder / "backup.tar.gz"
        packing = self.field.program("tar", "-czf", archive, "-C", folder, "files")
        testing = self.field.program("gzip", "-t", archive)
        self.field.finish(self.name, archive)
        return (
            Stage("pg_dump per table", dumps),
            Stage(r"psql \copy", copies),
            Stage("tar -czf", packing),
            Stage("gzip -t", testing),
        )

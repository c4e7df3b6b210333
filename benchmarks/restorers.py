"""Who restores: the archive's own restore.sh, and pg_restore; each from a file on disk to a database ready for use."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from benchmarks.errors import BenchmarkError
from benchmarks.programs import Stage, run_program, stages_of
from benchmarks.server import COPY

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import BenchmarkServer
    from include.backup.manifest import Manifest, Sidecar

__all__ = ["ByPgRestore", "ByScript", "Ground", "restored_copy"]

STRUCTURE = """
SELECT (SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'public'::regnamespace AND indisvalid),
       (SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND convalidated)
"""


@dataclass(frozen=True)
class Ground:
    """What all competitors share. manifest: The archive's. dump: A directory dump of the same rows."""

    server: BenchmarkServer
    archive: Path
    manifest: Manifest
    dump: Path
    folder: Path

    def require_same(self, database: str) -> None:
        """Raise BenchmarkError unless a restored database has every row of the archive, and the source's indexes."""
        with psycopg.connect(self.server.conninfo(database)) as restored:
            counts = sql.SQL(" UNION ALL ").join(
                sql.SQL("SELECT {}, count(*) FROM {}").format(str(table.qualified), sql.SQL(table.qualified.sql))
                for table in self.manifest.tables
            )
            seen = {str(name): int(count) for name, count in restored.execute(counts)}
            structure = restored.execute(STRUCTURE).fetchone()
        expected = {str(table.qualified): table.rows for table in self.manifest.tables}
        different = [f"{name} {seen[name]} (expected {rows})" for name, rows in expected.items() if seen[name] != rows]
        if different:
            raise BenchmarkError(f"{database} has other rows than the archive: {', '.join(different)}")
        with psycopg.connect(self.server.conninfo(self.server.database().name)) as source:
            wanted = source.execute(STRUCTURE).fetchone()
        if structure != wanted:
            raise BenchmarkError(f"{database} has {structure} indexes and constraints, the source has {wanted}")


@dataclass(frozen=True)
class ByScript:
    """The archive is unpacked, then its restore.sh does everything."""

    ground: Ground
    jobs: int

    @property
    def name(self) -> str:
        """Return the command."""
        return f"restore.sh --jobs {self.jobs}"

    def run(self) -> tuple[Stage, ...]:
        """Restore into a new database; the stages are those that restore.sh announces."""
        server = self.ground.server
        server.start_afresh()
        target = server.scratch("script")
        folder = self.ground.folder / "unpacked"
        folder.mkdir()
        unpack: list[str | Path] = ["tar", "-xzf", self.ground.archive, "-C", folder]
        unpacking, _ = run_program(unpack, environment=server.client_environment, folder=folder)
        url = f"postgresql://{target.user}@{target.host}:{target.port}/{target.name}"
        command: list[str | Path] = ["sh", folder / "restore.sh", "--jobs", str(self.jobs), url]
        seconds, lines = run_program(command, environment=server.client_environment, folder=folder)
        self.ground.require_same(target.name)
        shutil.rmtree(folder)
        return (Stage("unpack the archive", unpacking), *_rows_as_one(stages_of(lines, seconds)))


def _rows_as_one(stages: tuple[Stage, ...]) -> list[Stage]:
    """Return restore.sh's stages; between schema and sequences it names files, or, with several jobs, tables."""
    names = [stage.name for stage in stages]
    first, last = names.index("schema") + 1, names.index("sequences")
    rows = Stage("rows", sum(stage.seconds for stage in stages[first:last]))
    return [*stages[:first], rows, *stages[last:]]


@dataclass(frozen=True)
class ByPgRestore:
    """createdb, pg_restore of the directory dump, and the ANALYZE that restore.sh does as well."""

    ground: Ground
    jobs: int

    @property
    def name(self) -> str:
        """Return the command."""
        return f"pg_restore -j{self.jobs}"

    def run(self) -> tuple[Stage, ...]:
        """Restore into a new database."""
        server = self.ground.server
        server.start_afresh()
        target = server.scratch("pg_restore").name
        commands: dict[str, list[str | Path]] = {
            "create the database": ["createdb", "-T", "template0", target],
            "pg_restore": ["pg_restore", "--exit-on-error", f"-j{self.jobs}", "-d", target, self.ground.dump],
            "ANALYZE": ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, "-c", "ANALYZE"],
        }
        stages = []
        for name, command in commands.items():
            seconds, _ = run_program(command, environment=server.client_environment, folder=self.ground.folder)
            stages.append(Stage(name, seconds))
        self.ground.require_same(target)
        return tuple(stages)


def restored_copy(server: BenchmarkServer, archive: Path, manifest: Sidecar, folder: Path) -> str:
    """Restore an archive into a database that stays until the end of the program; return its name."""
    ByScript(Ground(server, archive, manifest, folder / "dump", folder), 2).run()
    copy = sql.Identifier(COPY)
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy))
        restored = sql.Identifier(server.scratch("script").name)
        session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(restored, copy))
    with psycopg.connect(server.conninfo(COPY), autocommit=True) as session:
        session.execute("VACUUM")  # as the source was: who reads the rows first shall not have to mark them
        session.execute("CHECKPOINT")
    return COPY

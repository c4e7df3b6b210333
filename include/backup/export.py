"""Rows leave the database: all from one snapshot, over several connections, compressed as they stream."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from pydantic import AwareDatetime

from include.backup.catalog import Catalog, ForeignKey, Session, read_catalog
from include.backup.clients import Clients
from include.backup.database import Database, explain
from include.backup.errors import AnotherExportError, BackupError, TemporaryError
from include.backup.export_files import FileExport
from include.backup.gzip_part import PartRecord
from include.backup.leaving import Leaving, find_leaving
from include.backup.locks import name_holders
from include.backup.manifest import Record, SequenceRecord, ServerRecord, TableRecord
from include.backup.names import QualifiedName
from include.backup.pace import Pace
from include.backup.progress import Progress
from include.backup.references import tables_referred_to, take_along
from include.backup.run import utc_now
from include.backup.selection import Selection, by_name
from include.backup.sequences import read_sequences
from include.backup.streams import Streams

log = logging.getLogger(__name__)

# One number for this product: no two exports of one database at a time, whatever host they run on.
ADVISORY_LOCK = 0x63726974_6261636B
TURN_POLL_SECONDS = 2.0


class ExportResult(Record):
    """What export_database leaves for the steps after it: the parts on disk and what is in them."""

    snapshot_at: AwareDatetime
    cut_off: AwareDatetime
    server: ServerRecord
    clients: dict[str, str]
    tables: tuple[TableRecord, ...]
    parts: tuple[PartRecord, ...]
    sequences: tuple[SequenceRecord, ...]
    left_out: tuple[str, ...]
    policy_roles: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Exported:
    """The parts, those of rows in the order in which they are loaded, and the tables in them."""

    schema: PartRecord
    rows: tuple[PartRecord, ...]
    constraints: PartRecord
    tables: tuple[TableRecord, ...]


class Export:
    """
    One export. `run` does it; `cancel` may be called from a signal handler or another thread.

    Args:
        database: Where the rows are.
        clients: psql and pg_dump, not older than the server.
        folder: Where the compressed parts go; must exist.
        parallel: How many connections carry rows at once.
        bytes_per_second: How many bytes of rows all of them take at most; 0 for as many as there are.
        waits: Whether it waits for another run that is exporting the database.
        is_taken: Whether an archive of that moment's name is there: the snapshot waits for a second that is free.
    """

    def __init__(
        self,
        database: Database,
        clients: Clients,
        folder: Path,
        *,
        parallel: int,
        bytes_per_second: int = 0,
        waits: bool = True,
        is_taken: Callable[[datetime], bool] = lambda _: False,
    ) -> None:
        self._database = database
        self._clients = clients
        self._folder = folder
        self._parallel = parallel
        self._waits = waits
        self._is_taken = is_taken
        self._streams = Streams(database, folder)
        self._progress = Progress(folder)
        self._pace = Pace(bytes_per_second, self._streams.cancelled)
        self._warnings: list[str] = []
        self._session: Session | None = None

    def run(self, plan: Callable[[Catalog], tuple[Selection, ...]], *, cut_off: datetime) -> ExportResult:
        """
        Export everything.

        Args:
            plan: Given what the snapshot's catalog holds, says which rows of which tables are taken.
            cut_off: The start of the default window, for the record.

        Raises:
            TemporaryError: If the connection broke, a lock was not to be had, or resources were short.
            AnotherExportError: If another run is exporting, and this one does not wait.
            BackupError: If a table is missing, may not be read, or a client program failed otherwise.
        """
        try:
            with self._database.connect() as session:
                return self._run_in_session(session, plan, cut_off)
        except BaseException as error:
            # Nothing of it is of use to another try, and the disk may be what was short.
            for path in self._folder.glob("*.gz"):
                path.unlink(missing_ok=True)
            if isinstance(error, TemporaryError):
                raise name_holders(error, self._database) from None
            raise

    def _run_in_session(
        self, session: Session, plan: Callable[[Catalog], tuple[Selection, ...]], cut_off: datetime
    ) -> ExportResult:
        self._session = session
        try:
            self._wait_for_turn(session)
            return self._run_in_snapshot(session, plan, cut_off)
        except psycopg.Error as error:
            if self._streams.cancelled.is_set():
                raise TemporaryError(f"exporting {self._database}: cancelled") from None
            raise explain(error, f"exporting {self._database}") from None
        finally:
            self._session = None
            self._streams.end()

    def cancel(self) -> None:
        """Stop: end the child processes, so that their queries end, and let `run` raise."""
        self._streams.cancelled.set()
        if self._session and not self._session.closed:
            self._session.cancel()
        self._streams.end()

    def _wait_for_turn(self, session: Session) -> None:
        """Two runs never export at the same time (a backfill ignores max_active_runs)."""
        waited = 0.0
        while not session.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK]).fetchone()[0]:  # type: ignore[index]
            if not self._waits:
                raise AnotherExportError(f"another run is exporting {self._database}")
            if waited % 60 == 0:
                log.info("another run is exporting %s; waiting for it to end", self._database)
            if self._streams.cancelled.wait(TURN_POLL_SECONDS):
                raise TemporaryError("the export was cancelled while it waited for its turn")
            waited += TURN_POLL_SECONDS

    def _run_in_snapshot(
        self, session: Session, plan: Callable[[Catalog], tuple[Selection, ...]], cut_off: datetime
    ) -> ExportResult:
        # The locks come before the snapshot: a TRUNCATE in between would leave the snapshot an empty table.
        planned = plan(read_catalog(session))
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        names = ", ".join(selection.table.name.sql for selection in planned)
        session.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        # In the hour that comes twice each name does, too.
        while self._is_taken(utc_now()):
            time.sleep(0.05)
        snapshot = session.execute("SELECT pg_export_snapshot()").fetchone()[0]  # type: ignore[index]
        snapshot_at = utc_now()
        started = time.monotonic()
        catalog = read_catalog(session)
        selections = plan(catalog)
        sequences = tuple(read_sequences(session, catalog))
        files = FileExport(snapshot, self._clients, self._streams, self._folder, self._progress, self._pace)
        exported = self._export_files(session, catalog, selections, files)
        parts = (exported.schema, *exported.rows, files.sequences(sequences), exported.constraints)
        session.execute("COMMIT")
        log.info("the snapshot was held for %.1f s", time.monotonic() - started)
        # The archive is named by the second of its snapshot: the next export may only begin in another one.
        # A second at most, also if the clock is set back meanwhile.
        while utc_now() <= snapshot_at and time.monotonic() - started < 1:
            time.sleep(0.05)
        return ExportResult(
            snapshot_at=snapshot_at,
            cut_off=cut_off,
            server=catalog.server,
            clients={"pg_dump": self._clients.version, "psql": self._clients.version},
            tables=exported.tables,
            parts=parts,
            sequences=sequences,
            left_out=tuple(sorted(str(name) for name in catalog.tables.keys() - by_name(selections).keys())),
            policy_roles=catalog.policy_roles,
            warnings=(*self._warnings, *files.warnings),
        )

    def _export_files(
        self, session: Session, catalog: Catalog, planned: tuple[Selection, ...], files: FileExport
    ) -> _Exported:
        """Write schema, rows and constraints; whatever references may bring, most rows are known already."""
        in_load_order = tuple(dict.fromkeys(selection.file for selection in planned))
        known = _largest_first(planned, without=tables_referred_to(catalog, planned))
        with (
            self._progress.reported(len(in_load_order) + 2),
            ThreadPoolExecutor(self._parallel, thread_name_prefix="export") as pool,
        ):
            schema = pool.submit(files.dump, "pre-data", "schema.sql")
            # One worker stays free for the constraints: a dump that comes late may find objects gone.
            early = list(known)[: self._parallel - 1]
            rows = {file: pool.submit(files.rows, file, known[file]) for file in early}
            try:
                selections, not_valid = self._follow_references(session, catalog, planned)
            except BaseException as error:
                was_cancelled = self._streams.cancelled.is_set()
                self.cancel()
                if isinstance(error, psycopg.Error) and not was_cancelled:
                    raise explain(error, f"following references in {self._database}") from None
                raise
            constraints = pool.submit(files.dump, "post-data", "constraints.sql", not_valid)
            for file, of_file in _largest_first(selections).items():
                if file not in rows:
                    rows[file] = pool.submit(files.rows, file, of_file)
            self._wait_for((schema, constraints, *rows.values()))
        results = [rows[file].result() for file in in_load_order]
        return _Exported(
            schema=schema.result(),
            rows=tuple(part for part, _ in results),
            constraints=constraints.result(),
            tables=tuple(_with_not_valid(table, not_valid) for _, tables in results for table in tables),
        )

    def _follow_references(
        self, session: Session, catalog: Catalog, planned: tuple[Selection, ...]
    ) -> tuple[tuple[Selection, ...], tuple[ForeignKey, ...]]:
        """Return what is taken with what it refers to, and the foreign keys that are restored NOT VALID."""
        selections = take_along(session, catalog, planned)
        for selection in selections:
            if selection.rows_by_reference:
                log.info(
                    "%s: %d rows from before the window are taken along, because taken rows refer to them",
                    selection.table.name,
                    selection.rows_by_reference,
                )
        return selections, self._look_at_leaving(find_leaving(session, catalog, selections))

    def _look_at_leaving(self, leaving: Iterable[Leaving]) -> tuple[ForeignKey, ...]:
        """Return the foreign keys to be restored NOT VALID; rows may have come since the prerequisites were checked."""
        errors = [one.error for one in leaving if one.error]
        if errors:
            raise BackupError("; ".join(errors))
        self._warnings += [one.warning for one in leaving if one.warning]
        not_valid = [one for one in leaving if one.restored_not_valid]
        for one in not_valid:
            log.warning("%s: %d rows, for example %s", one.warning, one.rows, one.example)
        return tuple(one.key for one in not_valid)

    def _wait_for(self, jobs: Iterable[Future[Any]]) -> None:
        """Wait for all jobs; after the first failure end the others, and raise that failure."""
        jobs = tuple(jobs)
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        failure = next((job.exception() for job in done if job.exception()), None)
        if failure:
            for job in jobs:
                job.cancel()
            self.cancel()
            raise failure


def _largest_first(
    selections: Iterable[Selection], *, without: Collection[QualifiedName] = ()
) -> dict[str, list[Selection]]:
    """Return what goes into each file, save files with one of these tables."""
    files: dict[str, list[Selection]] = {}
    for selection in selections:
        files.setdefault(selection.file, []).append(selection)
    by_size = sorted(files, key=lambda file: -sum(one.table.bytes for one in files[file]))
    return {file: files[file] for file in by_size if not any(one.table.name in without for one in files[file])}


def _with_not_valid(table: TableRecord, not_valid: tuple[ForeignKey, ...]) -> TableRecord:
    names = tuple(key.name for key in not_valid if key.table == table.qualified)
    return table.model_copy(update={"not_valid": names})

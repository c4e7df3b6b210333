"""Rows leave the database: all from one snapshot, over several connections, compressed as they stream."""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from pydantic import AwareDatetime

from include.backup.catalog import Catalog, ForeignKey, Session, read_catalog
from include.backup.clients import Clients
from include.backup.constraints import ConstraintsDump
from include.backup.database import NO_TRANSACTION_TIMEOUT, Database, explain
from include.backup.errors import AnotherExportError, BackupError, ObjectGoneError, TemporaryError
from include.backup.gzip_part import GzipPart, PartRecord, Section, part_path
from include.backup.leaving import Leaving, find_leaving
from include.backup.locks import name_holders
from include.backup.manifest import Record, SequenceRecord, ServerRecord, TableRecord, WindowRecord
from include.backup.names import copy_text_file, is_csv, quote_literal
from include.backup.progress import Progress
from include.backup.references import take_along
from include.backup.run import utc_now
from include.backup.selection import Selection, by_name
from include.backup.streams import DumpHeader, EndMarker, EndMarkerFound, Streams

log = logging.getLogger(__name__)

# One number for this product: no two exports of one database at a time, whatever host they run on.
ADVISORY_LOCK = 0x63726974_6261636B
LOCK_WAIT_MILLISECONDS = 60_000  # of pg_dump; the other sessions' is lock_timeout
LARGE_OBJECTS_RENAMED = 16  # pg_dump's option was --no-blobs before
TURN_POLL_SECONDS = 2.0

_ROWS_HEADER = """\
-- Rows of {tables}. Load after schema.sql, before constraints.sql, and only into empty tables:
-- psql -X -v ON_ERROR_STOP=1 --single-transaction -f {file}
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
SET lc_monetary = 'C';
SET row_security = off;
SELECT pg_catalog.set_config('search_path', '', false);
"""


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


class Export:
    """
    One export. `run` does it; `cancel` may be called from a signal handler or another thread.

    Args:
        database: Where the rows are.
        clients: psql and pg_dump, not older than the server.
        folder: Where the compressed parts go; must exist.
        parallel: How many connections carry rows at once.
        waits: Whether it waits for another run that is exporting the database.
    """

    def __init__(
        self, database: Database, clients: Clients, folder: Path, *, parallel: int, waits: bool = True
    ) -> None:
        self._database = database
        self._clients = clients
        self._folder = folder
        self._parallel = parallel
        self._waits = waits
        self._streams = Streams(database, folder)
        self._progress = Progress(folder)
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
        snapshot = session.execute("SELECT pg_export_snapshot()").fetchone()[0]  # type: ignore[index]
        snapshot_at = utc_now()
        started = time.monotonic()
        catalog = read_catalog(session)
        selections = take_along(session, catalog, plan(catalog))
        not_valid = self._look_at_leaving(find_leaving(session, catalog, selections))
        for selection in selections:
            if selection.rows_by_reference:
                log.info(
                    "%s: %d rows from before the window are taken along, because taken rows refer to them",
                    selection.table.name,
                    selection.rows_by_reference,
                )
        sequences = _read_sequences(session, catalog)
        (schema, *rows, constraints), tables = self._export_files(snapshot, selections, not_valid)
        parts = (schema, *rows, self._write_sequences(sequences), constraints)
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
            tables=tuple(_with_not_valid(table, not_valid) for table in tables),
            parts=parts,
            sequences=sequences,
            left_out=tuple(sorted(str(name) for name in catalog.tables.keys() - by_name(selections).keys())),
            policy_roles=catalog.policy_roles,
            warnings=tuple(self._warnings),
        )

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

    def _export_files(
        self, snapshot: str, selections: tuple[Selection, ...], not_valid: tuple[ForeignKey, ...]
    ) -> tuple[list[PartRecord], list[TableRecord]]:
        files: dict[str, list[Selection]] = {}
        for selection in selections:
            files.setdefault(selection.file, []).append(selection)
        largest_first = sorted(files, key=lambda file: -sum(s.table.bytes for s in files[file]))
        with (
            self._progress.reported(len(files) + 2),
            ThreadPoolExecutor(self._parallel, thread_name_prefix="export") as pool,
        ):
            schema = pool.submit(self._dump, snapshot, "pre-data", "schema.sql")
            constraints = pool.submit(self._dump, snapshot, "post-data", "constraints.sql", not_valid)
            rows = {file: pool.submit(self._export_rows, snapshot, file, files[file]) for file in largest_first}
            self._wait_for((schema, constraints, *rows.values()))
            in_load_order = [rows[file].result() for file in files]
        parts = [schema.result(), *(part for part, _ in in_load_order), constraints.result()]
        return parts, [table for _, tables in in_load_order for table in tables]

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

    def _dump(self, snapshot: str, section: str, file: str, not_valid: tuple[ForeignKey, ...] = ()) -> PartRecord:
        """Write one section of the whole database's schema."""
        arguments = [
            str(self._clients.pg_dump),
            f"--section={section}",
            f"--snapshot={snapshot}",
            "--no-owner",
            "--no-privileges",
            "--no-large-objects" if self._clients.major >= LARGE_OBJECTS_RENAMED else "--no-blobs",
            "--no-tablespaces",  # the target server may not have them
            "--no-subscriptions",  # a restored copy must not start to replicate
            f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}",
            "--no-password",
        ]
        with self._progress.file(file), GzipPart(self._folder, file) as part:
            constraints = ConstraintsDump(part.write, not_valid)
            header = DumpHeader(constraints.take)
            try:
                self._streams.run(arguments, "", header.take, doing=f"pg_dump of the {section} section")
            except ObjectGoneError as error:
                # It was there in the snapshot, and in no table of the scope: those are locked.
                raise TemporaryError(
                    f"{error}; it went while the export began, the next try will not look for it"
                ) from None
            header.flush()
            constraints.flush()
        return part.record("schema" if section == "pre-data" else "constraints")

    def _export_rows(
        self, snapshot: str, file: str, selections: list[Selection]
    ) -> tuple[PartRecord, list[TableRecord]]:
        try:
            return self._write_rows(snapshot, file, selections)
        except EndMarkerFound:
            part_path(self._folder, file).unlink()
        text_file = copy_text_file(file)
        self._warnings.append(
            f"{text_file} (COPY text) is there instead of {file}: a value has a line that is only \\. in it, "
            "which psql and servers before version 18 take for the end of a CSV; it restores like the other tables"
        )
        return self._write_rows(snapshot, text_file, [dataclasses.replace(one, file=text_file) for one in selections])

    def _write_rows(
        self, snapshot: str, file: str, selections: list[Selection]
    ) -> tuple[PartRecord, list[TableRecord]]:
        with self._progress.file(file), GzipPart(self._folder, file) as part:
            if not is_csv(file):
                names = ", ".join(str(selection.table.name) for selection in selections)
                part.write(_ROWS_HEADER.format(tables=names, file=file).encode())
            tables = [self._copy(snapshot, selection, part) for selection in selections]
        return part.record("rows"), tables

    def _copy(self, snapshot: str, selection: Selection, part: GzipPart) -> TableRecord:
        """
        Write one table's rows, COPY text in a COPY statement.

        Raises:
            EndMarkerFound: If they are to be CSV and cannot.
        """
        name = str(selection.table.name)
        framed = not is_csv(selection.file)
        if framed:
            columns = f" ({selection.columns_sql})" if selection.columns_sql else ""
            part.write(f"\nCOPY {selection.table.name.sql}{columns} FROM stdin;\n".encode())
        part.begin_section()
        end_marker = EndMarker()

        def take(block: bytes) -> None:
            part.write(block)
            self._progress.add(part.name, name, block)
            if not framed:
                end_marker.look_at(block)

        script = (
            f"{NO_TRANSACTION_TIMEOUT} \\g /dev/null\n"
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;\n"
            f"SET TRANSACTION SNAPSHOT {quote_literal(snapshot)};\n"
            # Only with \\g does psql keep the server's count; the "file" is the pipe that it writes to anyway.
            f"{selection.copy_statement} \\g /dev/stdout\n"
            "\\warn rows=:ROW_COUNT\n"
            "COMMIT;\n"
        )
        arguments = [
            str(self._clients.psql),
            *["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"],
        ]
        answer = self._streams.run(arguments, script, take, doing=f"exporting {name}")
        section = part.end_section()
        if framed:
            part.write(b"\\.\n")
        else:
            end_marker.end()
        return _table_record(selection, rows=_row_count(answer, name), section=section)

    def _write_sequences(self, sequences: tuple[SequenceRecord, ...]) -> PartRecord:
        with GzipPart(self._folder, "sequences.sql") as part:
            part.write(b"-- Where every sequence stood at the snapshot. Run after the rows are loaded.\n")
            for sequence in sequences:
                part.write(sequence_statement(sequence).encode() + b"\n")
        return part.record("sequences")


def sequence_statement(sequence: SequenceRecord) -> str:
    """Return the SQL statement that puts a sequence where it stood."""
    name = quote_literal(sequence.qualified.sql)
    return f"SELECT pg_catalog.setval({name}, {sequence.last_value}, {str(sequence.is_called).lower()});"


def _table_record(selection: Selection, *, rows: int, section: Section) -> TableRecord:
    window = selection.window
    return TableRecord(
        schema=selection.table.name.schema,
        name=selection.table.name.name,
        file=selection.file,
        partitioned=selection.table.partitioned,
        columns=selection.table.exported_columns,
        types=selection.table.exported_types,
        rows=rows,
        rows_by_reference=selection.rows_by_reference,
        offset=section.offset,
        bytes=section.bytes,
        sha256=section.sha256,
        window=WindowRecord(**dataclasses.asdict(window)) if window else None,
    )


def _with_not_valid(table: TableRecord, not_valid: tuple[ForeignKey, ...]) -> TableRecord:
    names = tuple(key.name for key in not_valid if key.table == table.qualified)
    return table.model_copy(update={"not_valid": names})


def _row_count(answer: str, name: str) -> int:
    """Read psql's count of the rows that the server sent; the verification counts them again."""
    found = re.findall(r"^(?:psql:<stdin>:\d+: )?rows=(\d+)$", answer, re.MULTILINE)
    if not found:
        raise BackupError(f"exporting {name}: psql did not say how many rows it got: {answer.strip()[-300:]!r}")
    return int(found[-1])


def _read_sequences(session: Session, catalog: Catalog) -> tuple[SequenceRecord, ...]:
    """Read every sequence after the snapshot was taken: never behind the rows of the snapshot."""
    if not catalog.sequences:
        return ()
    query = " UNION ALL ".join(
        f"SELECT {quote_literal(name.schema)}, {quote_literal(name.name)}, last_value, is_called FROM {name.sql}"
        for name in (sequence.name for sequence in catalog.sequences)
    )
    return tuple(
        SequenceRecord(schema=schema, name=name, last_value=last_value, is_called=is_called)
        for schema, name, last_value, is_called in session.execute(query)
    )

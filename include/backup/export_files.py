"""The files of an export, each compressed while its rows or its schema come out of psql or pg_dump."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from include.backup.catalog import ForeignKey
from include.backup.clients import Clients
from include.backup.constraints import ConstraintsDump
from include.backup.database import SETTINGS_IF_KNOWN
from include.backup.errors import BackupError, ObjectGoneError, TemporaryError
from include.backup.gzip_part import GzipPart, PartRecord, Section, part_path
from include.backup.manifest import SequenceRecord, TableRecord, WindowRecord
from include.backup.names import copy_text_file, is_csv, quote_literal
from include.backup.pace import Pace
from include.backup.progress import Progress
from include.backup.selection import Selection
from include.backup.streams import DumpHeader, EndMarker, EndMarkerFound, Streams

LOCK_WAIT_MILLISECONDS = 60_000  # of pg_dump; the other sessions' is lock_timeout
LARGE_OBJECTS_RENAMED = 16  # pg_dump's option was --no-blobs before

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


class FileExport:
    """
    Writes the files of one snapshot; several threads may each write one.

    Args:
        snapshot: Its name, which others can take it up by.
        clients: psql and pg_dump.
        streams: Runs them.
        folder: Where the parts go.
        progress: Is told of every block.
        pace: Is waited for after every block.
    """

    def __init__(
        self, snapshot: str, clients: Clients, streams: Streams, folder: Path, progress: Progress, pace: Pace
    ) -> None:
        self.warnings: list[str] = []
        self._snapshot = snapshot
        self._clients = clients
        self._streams = streams
        self._folder = folder
        self._progress = progress
        self._pace = pace

    def dump(self, section: str, file: str, not_valid: tuple[ForeignKey, ...] = ()) -> PartRecord:
        """Write one section of the whole database's schema."""
        arguments = [
            str(self._clients.pg_dump),
            f"--section={section}",
            f"--snapshot={self._snapshot}",
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

    def rows(self, file: str, selections: list[Selection]) -> tuple[PartRecord, list[TableRecord]]:
        """Write the rows of tables that share a file; as COPY text where a CSV cannot hold them."""
        try:
            return self._write_rows(file, selections)
        except EndMarkerFound:
            part_path(self._folder, file).unlink()
        text_file = copy_text_file(file)
        self.warnings.append(
            f"{text_file} (COPY text) is there instead of {file}: a value has a line that is only \\. in it, "
            "which psql and servers before version 18 take for the end of a CSV; it restores like the other tables"
        )
        return self._write_rows(text_file, [dataclasses.replace(one, file=text_file) for one in selections])

    def _write_rows(self, file: str, selections: list[Selection]) -> tuple[PartRecord, list[TableRecord]]:
        with self._progress.file(file), GzipPart(self._folder, file) as part:
            if not is_csv(file):
                names = ", ".join(str(selection.table.name) for selection in selections)
                part.write(_ROWS_HEADER.format(tables=names, file=file).encode())
            tables = [self._copy(selection, part) for selection in selections]
        return part.record("rows"), tables

    def _copy(self, selection: Selection, part: GzipPart) -> TableRecord:
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
            self._pace.took(len(block))

        script = (
            f"{SETTINGS_IF_KNOWN} \\g /dev/null\n"
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;\n"
            f"SET TRANSACTION SNAPSHOT {quote_literal(self._snapshot)};\n"
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

    def sequences(self, sequences: tuple[SequenceRecord, ...]) -> PartRecord:
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
        window=WindowRecord(column=window.column, months=window.months, since=window.since) if window else None,
    )


def _row_count(answer: str, name: str) -> int:
    """Read psql's count of the rows that the server sent; the verification counts them again."""
    found = re.findall(r"^(?:psql:<stdin>:\d+: )?rows=(\d+)$", answer, re.MULTILINE)
    if not found:
        raise BackupError(f"exporting {name}: psql did not say how many rows it got: {answer.strip()[-300:]!r}")
    return int(found[-1])

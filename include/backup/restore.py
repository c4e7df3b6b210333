"""An archive becomes a database again, by its own restore.sh, and is held against its manifest."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from include.backup.age_keys import Identity
from include.backup.age_stream import opened
from include.backup.clients import Clients
from include.backup.database import Database, explain
from include.backup.errors import PrerequisiteError, RestoreError, TemporaryError
from include.backup.leash import group_ends_with_task
from include.backup.manifest import Sidecar, TableRecord, read_sidecar
from include.backup.restore_target import database_exists
from include.backup.row_set import RowSet
from include.backup.settings import BYTES_PER_MB
from include.backup.streams import BLOCK_BYTES, Streams
from include.backup.unpack import unpack_archive
from include.backup.unpacked import unpacked
from include.backup.verify_published import verify_published

log = logging.getLogger(__name__)

CANNOT_CONNECT = 5  # restore.sh's exit status
# What psql and the server say, without what they add, which may be somebody's row.
_REASON = re.compile(
    r"(?!CONTEXT|DETAIL|HINT|LINE|QUERY|STATEMENT).*(ERROR: |FATAL: |error: )|restore\.sh: |server closed"
)
# What is the server's affair, and may pass: it says nothing about the archive.
_MAY_PASS = re.compile(
    r"server closed the connection|connection to server (was lost|.* failed)|could not (receive|send) data|"
    r"terminating connection|the database system is |too many (clients|connections)|remaining connection slots|"
    r"No space left on device|Disk quota exceeded|out of (shared )?memory"
)
SCHEMA = "restored"  # restore.sh's own default for single tables


# A constraint that was added and validated holds: the server has looked at every row. A partitioned index may be
# invalid at the source, too: it is until every partition has one.
_CONSTRAINTS = """
    SELECT count(*) FILTER (WHERE k.convalidated),
           coalesce(array_agg(k.conrelid::regclass || ': ' || k.conname) FILTER (WHERE NOT k.convalidated), '{}'),
           (SELECT coalesce(array_agg(i.indexrelid::regclass::text), '{}')
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' WHERE NOT i.indisvalid)
      FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
     WHERE k.conrelid <> 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""


@dataclass(frozen=True)
class Restored:
    """
    What came back.

    Args:
        schema: Where single tables went in a database that was there; None: where they belong.
        seconds: Of restore.sh alone.
        constraints: How many hold in the restored database.
        not_valid: Those that are NOT VALID there, as they are in the backup.
    """

    schema: str | None
    seconds: float
    tables: int
    rows: int
    constraints: int
    not_valid: tuple[str, ...]


class Restore:
    """
    One restore. `run` does it; `cancel` may be called from a signal handler.

    Args:
        archive: With its manifest beside it.
        target: The new database; restore.sh makes it, or refuses one that has tables.
        clients: psql.
        folder: Where the archive is unpacked; must exist and be empty.
        identities: Private keys, for an encrypted archive; it is decrypted as it is unpacked.
    """

    def __init__(
        self, archive: Path, target: Database, clients: Clients, folder: Path, *, identities: Sequence[Identity] = ()
    ) -> None:
        self._archive = archive
        self._target = target
        self._clients = clients
        self._folder = folder
        self._identities = identities
        self._streams = Streams(target, folder)
        self._child: subprocess.Popen[str] | None = None

    def check(self, *, tables: tuple[str, ...] = (), schema: str = SCHEMA) -> Sidecar:
        """Do all that `run` does before it changes anything; return the archive's manifest. Raises as `run`."""
        sidecar = self._unpack()
        beside = schema if tables and database_exists(self._target) else None
        self._run_script([*_options(tables, beside), "--dry-run"])
        return sidecar

    def run(self, *, tables: tuple[str, ...] = (), schema: str = SCHEMA) -> Restored:
        """
        Verify, unpack, load and compare.

        Args:
            tables: Only these (`name` or `schema.name`, as restore.sh lists them); all if empty.
            schema: Where `tables` go if the database is there already; in a new one they go where they belong.

        Raises:
            VerificationError: If the archive is damaged.
            PrerequisiteError: If it is encrypted, and none of the identities opens it, or the disk has no room for what
                is unpacked.
            TemporaryError: If the server could not be reached, was lost, or is short of something; if it was cancelled.
            RestoreError: If restore.sh failed, or a table differs from the manifest.
        """
        sidecar = self._unpack()
        beside = schema if tables and database_exists(self._target) else None
        started = time.monotonic()
        self._run_script(_options(tables, beside))
        seconds = time.monotonic() - started
        records = [table for table in sidecar.tables if not tables or str(table.qualified) in tables]
        self._compare(sidecar.archive, records, beside)
        constraints, not_valid = self._check_constraints()
        return Restored(
            schema=beside,
            seconds=seconds,
            tables=len(records),
            rows=sum(table.rows for table in records),
            constraints=constraints,
            not_valid=not_valid,
        )

    def _unpack(self) -> Sidecar:
        sidecar = read_sidecar(self._archive)
        _require_room(self._folder, sidecar)
        verify_published(self._archive, sidecar, self._identities)
        with opened(self._archive, self._identities) as file, unpacked(file) as stream:
            unpack_archive(stream, sidecar, self._folder)
        return sidecar

    def cancel(self) -> None:
        """End restore.sh and psql; `run` then raises."""
        self._streams.cancelled.set()
        self._streams.end()
        if self._child and self._child.poll() is None:
            self._child.terminate()

    def _run_script(self, options: list[str]) -> None:
        target = self._target
        # An IPv6 address stands in brackets, a socket's folder has slashes.
        host = f"[{target.host}]" if ":" in target.host else quote(target.host, safe="")
        url = f"postgresql://{quote(target.user, safe='')}@{host}:{target.port}/{quote(target.name, safe='')}"
        environment = target.environment
        for name in ("PGOPTIONS", "PGDATABASE", "PGHOST", "PGPORT", "PGUSER"):
            del environment[name]
        environment["PATH"] = f"{self._clients.psql.parent}{os.pathsep}{environment['PATH']}"
        with subprocess.Popen(
            group_ends_with_task(["sh", str(self._folder / "restore.sh"), *options, url]),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as child:
            self._child = child
            assert child.stdout is not None  # noqa: S101 - both were asked for
            assert child.stderr is not None  # noqa: S101
            errors: list[str] = []
            reader = threading.Thread(target=_keep_lines, args=(child.stderr, errors.append))
            reader.start()
            _keep_lines(child.stdout, lambda line: log.info("%s", line))
            reader.join()
        if child.returncode:
            if self._streams.cancelled.is_set():
                raise TemporaryError(f"{self._archive.name}: the restore was cancelled")
            said = list(filter(_REASON.match, errors))
            may_pass = child.returncode == CANNOT_CONNECT or any(map(_MAY_PASS.search, said))
            kind, reasons = TemporaryError if may_pass else RestoreError, said or errors[-3:]
            raise kind(f"{self._archive.name}: {'; '.join(reasons) or f'restore.sh ended with {child.returncode}'}")

    def _compare(self, archive: str, tables: Iterable[TableRecord], schema: str | None) -> None:
        """Copy every table out again, from where it belongs or from the schema: the same bytes as when exported."""
        different = [str(table.qualified) for table in tables if not self._is_same(table, schema)]
        if different:
            raise RestoreError(
                f"{archive} was restored, but these tables differ from its manifest: {', '.join(different)}"
            )
        log.info("every table has the SHA-256 of the manifest")

    def _check_constraints(self) -> tuple[int, tuple[str, ...]]:
        """Return how many constraints hold, and which are NOT VALID."""
        try:
            with self._target.connect() as session:
                row = session.execute(_CONSTRAINTS).fetchone()
        except psycopg.Error as error:
            raise explain(error, f"looking at the constraints of {self._target}") from None
        assert row is not None  # noqa: S101 - an aggregate always returns one row
        holding, not_valid, broken_indexes = row
        if broken_indexes:
            raise RestoreError(f"{self._target} was restored, but indexes are invalid: {', '.join(broken_indexes)}")
        log.info("%d constraints hold; NOT VALID: %s", holding, ", ".join(not_valid) or "none")
        return holding, tuple(not_valid)

    def _is_same(self, table: TableRecord, schema: str | None) -> bool:
        digest = hashlib.sha256()
        self._copy_out(table, schema, digest.update)
        if digest.hexdigest() == table.sha256:
            return True
        return table.partitioned and self._has_same_rows(table, schema)

    def _has_same_rows(self, table: TableRecord, schema: str | None) -> bool:
        """
        Compare without regard to order: a row may land in another partition than at the source.

        The hash of an enum is that of its number in the catalog, which is another one in another database:
        https://www.postgresql.org/docs/current/ddl-partitioning.html
        """
        restored, exported = RowSet(in_csv=table.in_csv), RowSet(in_csv=table.in_csv)
        self._copy_out(table, schema, restored.update)
        with (self._folder / table.file).open("rb") as file:
            file.seek(table.offset)
            left = table.bytes
            while block := file.read(min(left, BLOCK_BYTES)):
                left -= len(block)
                exported.update(block)
        same = restored.digest == exported.digest
        if same:
            log.info("%s has the same rows as the manifest, in another order", table.qualified)
        return same

    def _copy_out(self, table: TableRecord, schema: str | None, take: Callable[[bytes], None]) -> None:
        arguments = [str(self._clients.psql), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        copied = table.model_copy(update={"schema_name": schema, "partitioned": False}) if schema else table
        script = f"{copied.copy_out_statement} \\g /dev/stdout\n"
        self._streams.run(arguments, script, take, doing=f"comparing {table.qualified}")


def _options(tables: tuple[str, ...], schema: str | None) -> list[str]:
    return [word for table in tables for word in ("--table", table)] + (["--into-schema", schema] if schema else [])


def _keep_lines(stream: object, take: Callable[[str], object]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        if line.strip():
            take(line.rstrip())


def _require_room(folder: Path, sidecar: Sidecar) -> None:
    """Find a full disk out before anything is written: the next backup needs what is left."""
    needed, free = sum(record.bytes for record in sidecar.files), shutil.disk_usage(folder).free
    if free < needed:
        raise PrerequisiteError(
            f"{sidecar.archive} takes {needed / BYTES_PER_MB:,.1f} MB when it is unpacked; in {folder.parent} "
            f"{free / BYTES_PER_MB:,.1f} MB are free: make room"
        )

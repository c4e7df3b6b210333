"""The manifest: the JSON record of one archive, inside it and beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from include.backup.archive_name import ARCHIVE_NAME, PLAIN_NAME, archive_paths, plain_name, sidecar_path
from include.backup.durable import write_atomically
from include.backup.errors import MissingStepError, VerificationError
from include.backup.names import QualifiedName, is_csv, quote, quote_literal
from include.backup.run import Kind
from include.backup.small_file import read_small_file

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST_FILE = "MANIFEST.json"
INFO_FILE = "BACKUP_INFO.txt"

Count = Annotated[int, Field(ge=0, lt=2**63)]
# With years on both sides to reckon with.
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (1000, 9000))
Moment = Annotated[AwareDatetime, Field(ge=_FIRST, lt=_LAST)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileKind = Literal["information", "schema", "rows", "sequences", "constraints", "configuration"]


def _member_name(value: str) -> str:
    """Refuse what could lead out of the folder in which an archive is unpacked."""
    if any(part in ("", ".", "..") for part in value.split("/")) or re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("not the name of a file in an archive")
    return value


class Record(BaseModel):
    """A part of the manifest, or of what a step leaves for the next: frozen."""

    # A field that a later version added is no reason to lose sight of an archive.
    model_config = ConfigDict(extra="ignore", frozen=True)


class RunRecord(Record):
    """Which run made the archive, and the moment it stands for."""

    run_id: str
    kind: Kind
    stands_for: Moment
    reason: str


class ServerRecord(Record):
    """Where the rows came from, and what a new database has to be created with."""

    host: str
    port: int
    version: str
    version_number: int
    database: str
    encoding: str
    collate: str
    ctype: str
    locale_provider: Literal["c", "i", "b"]
    locale: str | None
    icu_rules: str | None

    @property
    def major(self) -> int:
        """The major version, for example 18."""
        return self.version_number // 10000

    @property
    def create_options(self) -> str:
        """
        What CREATE DATABASE … TEMPLATE template0 needs to make a database like this one.

        Source: https://www.postgresql.org/docs/current/sql-createdatabase.html
        """
        options = [f"ENCODING {quote_literal(self.encoding)}"]
        options += [f"LC_COLLATE {quote_literal(self.collate)}", f"LC_CTYPE {quote_literal(self.ctype)}"]
        if self.locale_provider == "i":
            options += ["LOCALE_PROVIDER icu", f"ICU_LOCALE {quote_literal(self.locale or '')}"]
            options += [f"ICU_RULES {quote_literal(self.icu_rules)}"] if self.icu_rules else []
        if self.locale_provider == "b":
            options += ["LOCALE_PROVIDER builtin", f"BUILTIN_LOCALE {quote_literal(self.locale or '')}"]
        return " ".join(options)


class WindowRecord(Record):
    """The part of a table that was taken."""

    column: str
    months: int
    since: Moment


class TableRecord(Record):
    """
    One table's rows: `bytes` and `sha256` are those of its COPY output, which begins at `offset` in the file.

    `not_valid` are its foreign keys that a restore makes NOT VALID, because rows refer to what is not in the backup.
    """

    schema_name: str = Field(alias="schema")
    name: str
    file: str
    partitioned: bool
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Count
    rows_by_reference: Count
    offset: Count
    bytes: Count
    sha256: Sha256
    window: WindowRecord | None
    not_valid: tuple[str, ...] = ()

    @property
    def qualified(self) -> QualifiedName:
        """The table's name."""
        return QualifiedName(self.schema_name, self.name)

    @property
    def columns_sql(self) -> str:
        """The exported columns, quoted, in order."""
        return ", ".join(map(quote, self.columns))

    @property
    def source_sql(self) -> str:
        """The table in a FROM clause, without the rows of tables that inherit from it."""
        return self.qualified.sql if self.partitioned else f"ONLY {self.qualified.sql}"

    @property
    def in_csv(self) -> bool:
        """Whether its rows are CSV with a header, otherwise COPY text."""
        return is_csv(self.file)

    @property
    def copy_out_statement(self) -> str:
        """COPY … TO STDOUT of the restored table: its bytes are those of the export."""
        rows = f"(SELECT {self.columns_sql} FROM {self.source_sql})"
        return f"COPY {rows} TO STDOUT" + (" WITH (FORMAT csv, HEADER)" if self.in_csv else "")


class FileRecord(Record):
    """One member of the archive, uncompressed."""

    name: Annotated[str, AfterValidator(_member_name)]
    kind: FileKind
    mode: Annotated[str, Field(pattern=r"^0[0-7]{3}$")]
    bytes: Count
    sha256: Sha256


class SequenceRecord(Record):
    """A sequence's state; a restore sets it with setval."""

    schema_name: str = Field(alias="schema")
    name: str
    last_value: int
    is_called: bool

    @property
    def qualified(self) -> QualifiedName:
        """The sequence's name."""
        return QualifiedName(self.schema_name, self.name)


class Manifest(Record):
    """What is in an archive. Source: specs/011-automated-backup/data-model.md."""

    format_version: Literal[1]
    archive: Annotated[str, Field(pattern=PLAIN_NAME.pattern)]
    run: RunRecord
    snapshot_at: Moment
    cut_off: Moment
    server: ServerRecord
    clients: dict[str, str]
    configuration_dir: str
    tables: tuple[TableRecord, ...]
    files: tuple[FileRecord, ...]
    sequences: tuple[SequenceRecord, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def made_later(self) -> bool:
        """Whether the rows are not those of the moment that the run stands for: a backfill, or a date in the past."""
        return self.run.kind == "backfill" or self.snapshot_at - self.run.stands_for > timedelta(days=1)

    @property
    def rows(self) -> int:
        """The number of rows in the archive."""
        return sum(table.rows for table in self.tables)


class EncryptionRecord(Record):
    """How an archive is encrypted: the public keys whose private keys open it, and what comes out."""

    format: Literal["age"] = "age"
    recipients: tuple[str, ...]
    plain_bytes: Count
    plain_sha256: Sha256


class Sidecar(Manifest):
    """The manifest beside a verified archive: it also knows the file's name, size and SHA-256, as it lies there."""

    archive: Annotated[str, Field(pattern=ARCHIVE_NAME.pattern)]
    archive_bytes: Count
    archive_sha256: Sha256
    encryption: EncryptionRecord | None = None

    def without_archive_facts(self) -> Manifest:
        """Return the manifest as it is inside the archive."""
        facts = {"archive", "archive_bytes", "archive_sha256", "encryption"}
        return Manifest(**self.model_dump(by_alias=True, exclude=facts), archive=plain_name(self.archive))


def read_sidecar(archive: Path) -> Sidecar:
    """
    Read the manifest beside an archive.

    Raises:
        VerificationError: If it is missing, unreadable or another archive's.
    """
    path = sidecar_path(archive)
    try:
        sidecar = Sidecar.model_validate_json(read_small_file(path))
    except OSError as error:
        raise VerificationError(f"cannot read the manifest {path}: {error.strerror}") from None
    except ValidationError as error:
        raise VerificationError(
            f"{path} is not a manifest: {error.error_count()} wrong values, first: {error.errors()[0]['msg']} "
            f"at {' '.join('.'.join(map(str, error.errors()[0]['loc'])).split())}"
        ) from None
    if sidecar.archive != archive.name:
        raise VerificationError(f"{path} is the manifest of {sidecar.archive}, expected {archive.name}")
    return sidecar


def readable_archives(backup_dir: Path) -> Iterator[tuple[Path, Sidecar]]:
    """Yield the archives of this system's names that are as large as their manifest says, in no order."""
    for path in archive_paths(backup_dir):
        if path.is_file() and not path.is_symlink():
            try:
                sidecar = read_sidecar(path)
                size = path.stat().st_size
                if size == sidecar.archive_bytes:
                    yield path, sidecar
                else:
                    log.warning("%s is passed over: %d bytes, expected %d", path.name, size, sidecar.archive_bytes)
            except VerificationError as error:
                log.warning("%s is passed over: %s", path.name, error)


RecordT = TypeVar("RecordT", bound=BaseModel)


def save_step(folder: Path, name: str, result: BaseModel) -> None:
    """Keep a step's result in the workspace: it is there whole or not at all."""
    write_atomically(folder / f"{name}.json", result.model_dump_json(indent=1, by_alias=True).encode())


def load_step(folder: Path, name: str, model: type[RecordT]) -> RecordT:
    """
    Return what the task `name` left in the workspace.

    Raises:
        MissingStepError: If the task has not run in this workspace.
    """
    try:
        return model.model_validate_json((folder / f"{name}.json").read_bytes())
    except FileNotFoundError:
        raise MissingStepError(f"{name} left no result in {folder}: clear {name} as well") from None
    except ValidationError as error:
        raise MissingStepError(
            f"what {name} left in {folder} cannot be read ({error.error_count()} wrong values): clear {name} as well"
        ) from None

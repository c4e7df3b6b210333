"""What the archive says of itself: MANIFEST.json for programs, BACKUP_INFO.txt and restore.sh for people."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from include.backup.archive_name import archive_name
from include.backup.configuration import ConfigurationResult
from include.backup.export import ExportResult
from include.backup.gzip_part import GzipPart, PartRecord
from include.backup.manifest import (
    FORMAT_VERSION,
    INFO_FILE,
    MANIFEST_FILE,
    FileRecord,
    Manifest,
    Record,
    RunRecord,
    TableRecord,
)
from include.backup.names import quote, restored_name
from include.backup.run import BackupRun
from include.backup.templates import render

SUMS_FILE = "SHA256SUMS"


class SummaryResult(Record):
    """What write_summary leaves for the steps after it."""

    manifest: Manifest
    parts: tuple[PartRecord, ...]


@dataclass(frozen=True)
class SummaryInput:
    """What the steps before have left."""

    export: ExportResult
    configuration: ConfigurationResult
    warnings: tuple[str, ...]


def write_summary(
    run: BackupRun, steps: SummaryInput, folder: Path, *, timezone_name: str, configuration_dir: Path
) -> SummaryResult:
    """
    Write BACKUP_INFO.txt, MANIFEST.json, SHA256SUMS and the restore scripts as parts into the folder.

    Args:
        run: Which run made the archive.
        steps: What is in it.
        folder: Must exist.
        timezone_name: BACKUP_TIMEZONE; the archive's name carries the snapshot's time in it.
        configuration_dir: Where the configuration files came from.
    """
    export = steps.export
    draft = Manifest(
        format_version=FORMAT_VERSION,
        archive=archive_name(export.snapshot_at.astimezone(ZoneInfo(timezone_name))),
        run=RunRecord(run_id=run.run_id, kind=run.kind, stands_for=run.stands_for, reason=run.reason),
        snapshot_at=export.snapshot_at,
        cut_off=export.cut_off,
        server=export.server,
        clients=export.clients,
        configuration_dir=str(configuration_dir),
        tables=export.tables,
        files=tuple(part.file_record for part in (*export.parts, *steps.configuration.parts)),
        sequences=export.sequences,
        left_out=export.left_out,
        # Two steps may have seen the same missing file.
        warnings=tuple(dict.fromkeys((*steps.warnings, *export.warnings, *steps.configuration.warnings))),
    )
    texts = _texts(draft, ZoneInfo(timezone_name), export.policy_roles)
    parts = [_write(folder, name, text) for name, text in texts.items()]
    files = (*(part.file_record for part in parts), *draft.files)
    sums = _write(folder, SUMS_FILE, "".join(map(_sum_line, sorted(files, key=_largest_first))))
    manifest = draft.model_copy(update={"files": (*files, sums.file_record)})
    record = _write(folder, MANIFEST_FILE, manifest.model_dump_json(indent=1, by_alias=True) + "\n")
    return SummaryResult(manifest=manifest, parts=(parts[0], record, sums, *parts[1:]))


def _texts(manifest: Manifest, zone: ZoneInfo, policy_roles: tuple[str, ...]) -> dict[str, str]:
    """Return the files for people, BACKUP_INFO.txt first."""
    values = {
        "manifest": manifest,
        "zone": zone,
        "restored": restored_name(manifest.server.database),
        "whole": list(dict.fromkeys(table.file for table in manifest.tables if not table.in_csv)),
        "copies": [_copy_command(table) for table in manifest.tables if table.in_csv],
        "tables": [
            list(map(shlex.quote, _restore_arguments(table))) for table in sorted(manifest.tables, key=_largest_first)
        ],
        "configurations": [file for file in manifest.files if file.kind == "configuration"],
        "create_options": manifest.server.create_options,
        "policy_roles": policy_roles,
    }
    names = (INFO_FILE, "restore.sh", "restore.sql", "roles.sql", "finish.sql")
    return {name: render(f"{name}.j2", values) for name in names}


def _restore_arguments(table: TableRecord) -> tuple[str, ...]:
    """Return what restore.sh has to know of a table, in the order that its each_table names."""
    definitions = (f"{quote(name)} {sql_type}" for name, sql_type in zip(table.columns, table.types, strict=True))
    return (
        str(table.qualified),
        table.qualified.sql,
        table.file,
        str(table.offset),
        str(table.bytes),
        str(table.rows),
        _copy_options(table),
        table.columns_sql,
        ", ".join(definitions),
        table.source_sql,
        quote(table.name),
    )


def _copy_options(table: TableRecord) -> str:
    """Rows come in frozen, so that nothing has to be written once more when they are read; partitions refuse that."""
    options = (["FORMAT csv", "HEADER"] if table.in_csv else []) + ([] if table.partitioned else ["FREEZE"])
    return ", ".join(options)


def _largest_first(item: FileRecord | TableRecord) -> int:
    """Sort what restore.sh shares out among several processes."""
    return -item.bytes


def _sum_line(file: FileRecord) -> str:
    """Return the file's line for `sha256sum -c`, which marks a name with a backslash or a line feed in it."""
    escaped = file.name.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{'' if escaped == file.name else chr(92)}{file.sha256}  {escaped}\n"


def _copy_command(table: TableRecord) -> str:
    return f"\\copy {table.qualified.sql} ({table.columns_sql}) FROM '{table.file}' WITH (FORMAT csv, HEADER)"


def _write(folder: Path, name: str, text: str) -> PartRecord:
    mode = 0o700 if name.endswith(".sh") else 0o600
    with GzipPart(folder, name, mode=mode) as part:
        part.write(text.encode())
    return part.record("information")

"""What the archive says of itself: MANIFEST.json for programs, BACKUP_INFO.txt and restore.sql for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from include.backup.configuration import ConfigurationResult
from include.backup.export import ExportResult
from include.backup.gzip_part import GzipPart, PartRecord
from include.backup.manifest import (
    FORMAT_VERSION,
    INFO_FILE,
    MANIFEST_FILE,
    FileKind,
    Manifest,
    Record,
    RunRecord,
    TableRecord,
    archive_name,
)
from include.backup.names import QualifiedName, quote
from include.backup.run import BackupRun
from include.backup.templates import render

RESTORE_FILE = "restore.sql"


class SummaryResult(Record):
    """What write_summary leaves for the steps after it."""

    manifest: Manifest
    parts: tuple[PartRecord, ...]


@dataclass(frozen=True)
class Steps:
    """What the steps before have left."""

    export: ExportResult
    configuration: ConfigurationResult
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]


def write_summary(run: BackupRun, steps: Steps, folder: Path, *, timezone_name: str) -> SummaryResult:
    """
    Write BACKUP_INFO.txt, MANIFEST.json and restore.sql as parts into the folder.

    Args:
        run: Which run made the archive.
        steps: What is in it.
        folder: Must exist.
        timezone_name: BACKUP_TIMEZONE; the archive's name carries the snapshot's time in it.
    """
    zone = ZoneInfo(timezone_name)
    export = steps.export
    restore = _write(folder, RESTORE_FILE, render("restore.sql.j2", _restore_values(export)), "schema")
    known = (restore, *export.parts, *steps.configuration.parts)
    draft = Manifest(
        format_version=FORMAT_VERSION,
        archive=archive_name(export.snapshot_at.astimezone(zone)),
        run=RunRecord(run_id=run.run_id, kind=run.kind, stands_for=run.stands_for, reason=run.reason),
        snapshot_at=export.snapshot_at,
        cut_off=export.cut_off,
        server=export.server,
        clients=export.clients,
        tables=export.tables,
        files=tuple(part.file_record for part in known),
        sequences=export.sequences,
        left_out=steps.left_out,
        # Two steps may have seen the same missing file.
        warnings=tuple(dict.fromkeys((*steps.warnings, *export.warnings, *steps.configuration.warnings))),
    )
    values = {
        "manifest": draft,
        "zone": zone,
        "restored": restored_name(draft.server.database),
    }
    info = _write(folder, INFO_FILE, render("BACKUP_INFO.txt.j2", values), "information")
    manifest = draft.model_copy(update={"files": (info.file_record, *draft.files)})
    text = manifest.model_dump_json(indent=1, by_alias=True) + "\n"
    record = _write(folder, MANIFEST_FILE, text, "information")
    return SummaryResult(manifest=manifest, parts=(info, record, restore))


def restored_name(database: str) -> str:
    """Return a name for the restored database that needs no quotes in SQL or in a shell."""
    return re.sub(r"\W", "_", database.lower(), flags=re.ASCII) + "_restored"


def _restore_values(export: ExportResult) -> dict[str, object]:
    whole = dict.fromkeys(table.file for table in export.tables if table.window is None)
    windowed = [table for table in export.tables if table.window]
    return {"whole": list(whole), "copies": [_copy_command(table) for table in windowed]}


def _copy_command(table: TableRecord) -> str:
    columns = ", ".join(map(quote, table.columns))
    name = QualifiedName(table.schema_name, table.name).sql
    return f"\\copy {name} ({columns}) FROM '{table.file}' WITH (FORMAT csv, HEADER)"


def _write(folder: Path, name: str, text: str, kind: FileKind) -> PartRecord:
    with GzipPart(folder, name) as part:
        part.write(text.encode())
    return part.record(kind)

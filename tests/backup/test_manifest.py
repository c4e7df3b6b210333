"""The manifest's readers: sidecars, and what a step left for the next one."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from include.backup.errors import BackupError, MissingStepError, VerificationError
from include.backup.manifest import (
    FileRecord,
    Manifest,
    Record,
    Sidecar,
    TableRecord,
    load_step,
    read_sidecar,
    readable_archives,
    save_step,
    sidecar_path,
)

if TYPE_CHECKING:
    from tests.backup.conftest import BuiltArchive
    from tests.fix_archives import MakeSidecar, MakeTable

NAME = "critical_backup_20261120_020004.tar.gz"


class StepResult(Record):
    """What a step might leave."""

    rows: int
    table: TableRecord | None = None


def one_line(error: BaseException) -> str:
    message = str(error)
    assert message.splitlines() == [message]
    return message


def test_sidecar_written_and_read_is_equal(tmp_path: Path, sidecar: MakeSidecar, table: MakeTable) -> None:
    """Nothing of a sidecar is lost on its way through JSON."""
    written = sidecar(tables=(table("a", "a.csv", ("x",), windowed=True), table("b", "b.sql", ())))
    sidecar_path(tmp_path / NAME).write_text(written.model_dump_json(by_alias=True))
    assert read_sidecar(tmp_path / NAME) == written


def test_sidecar_names_are_those_of_the_data_model(sidecar: MakeSidecar, table: MakeTable) -> None:
    """The JSON has the fields of the data model, and no others."""
    values = sidecar(tables=(table("a", "a.csv", ("x",), windowed=True),)).model_dump(mode="json", by_alias=True)
    assert list(values) == [
        "format_version", "archive", "run", "snapshot_at", "cut_off", "server", "clients", "configuration_dir",
        "tables", "files", "sequences", "left_out", "warnings", "archive_bytes", "archive_sha256",
    ]  # fmt: skip
    assert list(values["run"]) == ["run_id", "kind", "stands_for", "reason"]
    assert list(values["server"]) == [
        "host", "port", "version", "version_number", "database", "encoding", "collate", "ctype", "locale_provider",
        "locale", "icu_rules",
    ]  # fmt: skip
    assert list(values["tables"][0]) == [
        "schema", "name", "file", "partitioned", "columns", "types", "rows", "rows_by_reference", "offset", "bytes",
        "sha256", "window", "not_valid",
    ]  # fmt: skip
    assert list(values["tables"][0]["window"]) == ["column", "months", "since"]
    assert values["snapshot_at"] == "2026-11-20T02:00:04Z"


def test_read_sidecar_missing_named(tmp_path: Path) -> None:
    """An archive without its manifest is unknown; the message names the file that is missing."""
    with pytest.raises(VerificationError) as caught:
        read_sidecar(tmp_path / NAME)
    assert str(sidecar_path(tmp_path / NAME)) in one_line(caught.value)
    assert "No such file" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"colour\\nred": 1}', b'{"format_version": 2}'],
    ids=["empty", "cut", "nothing", "list", "null", "not UTF-8", "deep", "line feed", "version 2"],
)
def test_read_sidecar_unreadable_one_line(tmp_path: Path, content: bytes) -> None:
    """A sidecar that is none is refused in one line that names it."""
    path = sidecar_path(tmp_path / NAME)
    path.write_bytes(content)
    with pytest.raises(VerificationError) as caught:
        read_sidecar(tmp_path / NAME)
    assert str(path) in one_line(caught.value)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format_version": 2}, "format_version"),
        ({"archive_sha256": "5F" * 32}, "archive_sha256"),
        ({"archive_sha256": "5f"}, "archive_sha256"),
        ({"archive_bytes": -1}, "archive_bytes"),
        ({"snapshot_at": "2026-11-20T02:00:04"}, "snapshot_at"),
        ({"tables": None}, "tables"),
    ],
)
def test_read_sidecar_wrong_value_names_its_place(
    tmp_path: Path, sidecar: MakeSidecar, changes: dict[str, object], place: str
) -> None:
    """A wrong value, a time without zone or a field too many is refused with its place."""
    values = sidecar().model_dump(mode="json", by_alias=True) | changes
    sidecar_path(tmp_path / NAME).write_text(json.dumps(values))
    with pytest.raises(VerificationError) as caught:
        read_sidecar(tmp_path / NAME)
    assert f"at {place}" in one_line(caught.value)


def test_read_sidecar_of_another_archive_names_both(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """A sidecar that was copied beside another archive is refused with both names."""
    other = "critical_backup_20261119_020004.tar.gz"
    sidecar_path(tmp_path / other).write_text(sidecar().model_dump_json(by_alias=True))
    with pytest.raises(VerificationError) as caught:
        read_sidecar(tmp_path / other)
    assert NAME in one_line(caught.value)
    assert other in str(caught.value)


def test_readable_archives_only_own_with_manifest(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """Archives with their manifest are given; links, folders, odd names, lone files of either kind are skipped."""

    def put(name: str, text: str | None, *, archive: bool = True) -> Path:
        if archive:
            (tmp_path / name).write_bytes(b"x")
        if text is not None:
            sidecar_path(tmp_path / name).write_text(text)
        return tmp_path / name

    def text_of(name: str) -> str:
        moment = datetime.strptime(name, "critical_backup_%Y%m%d_%H%M%S.tar.gz").replace(tzinfo=timezone.utc)
        return str(sidecar(archive_bytes=1, snapshot_at=moment).model_dump_json(by_alias=True))

    names = [f"critical_backup_2026110{day}_020004.tar.gz" for day in range(1, 9)]
    good = [put(name, text_of(name)) for name in names[:2]]
    put(names[2], None)
    put(names[3], "{")
    put(names[4], text_of(names[0]))
    put(names[5], text_of(names[5]), archive=False)
    put(names[6], text_of(names[6]), archive=False).symlink_to(good[0])
    put(names[7], text_of(names[7]), archive=False).mkdir()
    put(f"{names[0]}.part", text_of(names[0]))
    put(f".{names[0]}", text_of(names[0]))
    put("critical_backup_today.tar.gz", text_of(names[0]))
    found = dict(readable_archives(tmp_path))
    assert sorted(found) == good
    assert all(isinstance(found[path], Sidecar) and found[path].archive == path.name for path in good)


def test_readable_archives_empty_or_missing_folder_none(tmp_path: Path) -> None:
    """No folder, no archives."""
    assert list(readable_archives(tmp_path)) == []
    assert list(readable_archives(tmp_path / "missing")) == []


def test_step_saved_and_loaded_is_equal(tmp_path: Path, table: MakeTable) -> None:
    """What a task leaves is what the next one finds, with aliases and nested records; for nobody else to read."""
    result = StepResult(rows=7, table=table("a", "a.csv", ("x",), windowed=True))
    save_step(tmp_path, "export_database", result)
    assert load_step(tmp_path, "export_database", StepResult) == result
    assert stat.S_IMODE((tmp_path / "export_database.json").stat().st_mode) == 0o600


def test_step_saved_again_replaced(tmp_path: Path) -> None:
    """A step that ran again replaces what it left before, and leaves nothing else."""
    save_step(tmp_path, "export_database", StepResult(rows=1))
    save_step(tmp_path, "export_database", StepResult(rows=2))
    assert load_step(tmp_path, "export_database", StepResult).rows == 2
    assert [path.name for path in tmp_path.iterdir()] == ["export_database.json"]


def test_manifest_saved_as_step_is_equal(tmp_path: Path, built: BuiltArchive) -> None:
    """The manifest that write_summary leaves equals the one that verify_archive loads."""
    save_step(tmp_path, "write_summary", built.manifest)
    assert load_step(tmp_path, "write_summary", Manifest) == built.manifest


def test_load_step_missing_names_the_task(tmp_path: Path) -> None:
    """A step that has not run here is named, as the task to clear."""
    with pytest.raises(MissingStepError) as caught:
        load_step(tmp_path, "export_database", StepResult)
    assert "clear export_database as well" in one_line(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{}", b'{"rows": "many"}'])
def test_load_step_unreadable_names_the_task(tmp_path: Path, content: bytes) -> None:
    """A result that is damaged, or of another version of this package, is as good as missing."""
    (tmp_path / "export_database.json").write_bytes(content)
    with pytest.raises(BackupError) as caught:
        load_step(tmp_path, "export_database", StepResult)
    assert isinstance(caught.value, MissingStepError)
    assert "clear export_database" in one_line(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"mode": "600"}, {"mode": "0800"}, {"mode": "1600"}, {"bytes": -1}, {"sha256": "x" * 64}, {"kind": "other"}],
)
def test_file_record_wrong_value_refused(changes: dict[str, object]) -> None:
    """A record holds nothing that the format does not allow."""
    values = {"name": "a", "kind": "rows", "mode": "0600", "bytes": 0, "sha256": "0" * 64}
    FileRecord.model_validate(values)
    with pytest.raises(ValidationError):
        FileRecord.model_validate(values | changes)


def test_manifest_rows_are_those_of_all_tables(sidecar: MakeSidecar, table: MakeTable) -> None:
    """The rows of an archive are the sum over its tables."""
    assert sidecar().rows == 0
    assert sidecar(tables=(table("a", "a.sql", (), rows=3), table("b", "b.csv", (), rows=4))).rows == 7


def test_sidecar_without_archive_facts_is_the_manifest(sidecar: MakeSidecar) -> None:
    """Without the archive's own size and SHA-256 it is the manifest inside; type and equality included."""
    moment = datetime(2026, 11, 20, 9, tzinfo=timezone(timedelta(hours=7)))
    manifest = sidecar(snapshot_at=moment, archive=NAME).without_archive_facts()
    assert type(manifest) is Manifest
    assert manifest.snapshot_at == moment

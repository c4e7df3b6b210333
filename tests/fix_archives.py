"""Manifests made by hand, and archives that lie in a BACKUP_DIR as a run leaves them: for whoever only lists them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from include.backup.archive_name import archive_name, encrypted_name, sidecar_path
from include.backup.manifest import (
    EncryptionRecord,
    Manifest,
    RunRecord,
    ServerRecord,
    Sidecar,
    TableRecord,
    WindowRecord,
)
from include.backup.settings import BYTES_PER_MB
from include.backup.status import update_status

NOW = datetime.now(timezone.utc).replace(microsecond=0)
SNAPSHOT_AT = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)
CUT_OFF = datetime(2026, 8, 20, tzinfo=timezone.utc)

SIDECAR_ONLY = ("archive", "archive_bytes", "archive_sha256", "encryption")
PUBLIC_KEY = "age1" + "q" * 58  # of nobody
ENCRYPTION = EncryptionRecord(recipients=(PUBLIC_KEY,), plain_bytes=5 << 20, plain_sha256="6e" * 32)

MakeTable = Callable[..., TableRecord]
MakeSidecar = Callable[..., Sidecar]
Publish = Callable[..., Path]


def make_table(name: str, file: str, columns: Sequence[str], **facts: Any) -> TableRecord:
    """Return a table's record; `content` gives its size and SHA-256, `windowed` a window."""
    content = facts.pop("content", b"")
    window = WindowRecord(column="created_at", months=3, since=CUT_OFF) if facts.pop("windowed", False) else None
    values: dict[str, Any] = {
        "schema": "public",
        "partitioned": False,
        "types": ("text",) * len(columns),
        "offset": 0,
        "rows": 0,
        "rows_by_reference": 0,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return TableRecord(name=name, file=file, columns=tuple(columns), window=window, **(values | facts))


def make_manifest(**changes: Any) -> Manifest:
    """Return a manifest of nothing, with the changes."""
    values: dict[str, Any] = {
        "format_version": 1,
        "archive": archive_name(changes.get("snapshot_at", SNAPSHOT_AT)),
        "run": RunRecord(run_id="manual__1", kind="manual", stands_for=SNAPSHOT_AT, reason=""),
        "snapshot_at": SNAPSHOT_AT,
        "cut_off": CUT_OFF,
        "server": ServerRecord(
            host="db.example.com",
            port=5432,
            version="18.0",
            version_number=180000,
            database="shop",
            encoding="UTF8",
            collate="C",
            ctype="C",
            locale_provider="c",
            locale=None,
            icu_rules=None,
        ),
        "configuration_dir": "/config",
        "clients": {"psql": "18.0", "pg_dump": "18.0"},
        "tables": (),
        "files": (),
        "sequences": (),
        "left_out": ("sessions",),
        "warnings": (),
    }
    return Manifest(**(values | changes))


def make_sidecar(**changes: Any) -> Sidecar:
    """Return a sidecar; its keywords replace what the manifest says."""
    facts = {key: changes.pop(key) for key in SIDECAR_ONLY if key in changes}
    values = {"archive_bytes": 5 << 20, "archive_sha256": "5f" * 32} | facts
    return Sidecar(**(make_manifest(**changes).model_dump(by_alias=True) | values))


def publish_archive(
    folder: Path,
    *,
    hours_old: float = 3,
    now: datetime = NOW,
    size: int = 2 * BYTES_PER_MB,
    succeeded: bool = True,
    **changes: Any,
) -> Path:
    """
    Put an archive into a BACKUP_DIR as a run does: archive, manifest and, unless told otherwise, status files.

    Its rows are not there: the file is as large as its manifest says, and empty. Keywords replace the manifest's.
    What the product's own clock judges in minutes wants another `now`: NOW is when the tests were collected.
    """
    taken = now - timedelta(hours=hours_old)
    name = archive_name(taken)
    archive = folder / (encrypted_name(name) if changes.get("encryption") else name)
    made = make_sidecar(archive=archive.name, snapshot_at=taken, archive_bytes=size, **changes)
    with archive.open("wb") as file:
        file.truncate(size)
    archive.chmod(0o600)
    sidecar_path(archive).write_text(made.model_dump_json(by_alias=True))
    sidecar_path(archive).chmod(0o600)
    if succeeded:
        update_status(made, folder)
    return archive


@pytest.fixture(scope="session")
def table() -> MakeTable:
    """Return the maker of tables' records."""
    return make_table


@pytest.fixture(scope="session")
def sidecar() -> MakeSidecar:
    """Return a maker of sidecars."""
    return make_sidecar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty BACKUP_DIR."""
    (tmp_path / "backups").mkdir(mode=0o700)
    return tmp_path / "backups"


@pytest.fixture
def publish(folder: Path) -> Publish:
    """Return `publish_archive` for the folder."""

    def make(**changes: Any) -> Path:
        return publish_archive(folder, **changes)

    return make


def by_zlib(content: bytes) -> bytes | None:
    """Return what the gzip of every machine makes of these members; None if it refuses them."""
    out = b""
    while content:
        member = zlib.decompressobj(wbits=31)
        try:
            out += member.decompress(content)
        except zlib.error:
            return None
        if not member.eof:
            return None
        content = member.unused_data
    return out

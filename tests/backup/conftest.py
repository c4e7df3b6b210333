"""Archives, tables and sidecars made by hand, for the tests of the core."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings

from include.backup.archive import compress_archive
from include.backup.gzip_part import GzipPart, PartRecord
from include.backup.letter import Choice, Letter
from include.backup.manifest import FileKind, Manifest, TableRecord
from tests.fix_archives import MakeSidecar, make_manifest, make_table

# A slow machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

USER_ROWS = b"1\tAda\n2\tsaid \\\\. and\\tleft\\n\n3\t\\N\n"
PURCHASES = b'id,note\n1,"two\n\\.\nlines, ""quoted"""\n2,\n3,""\n'


@dataclass(frozen=True)
class Member:
    """A file to be put into an archive."""

    name: str
    content: bytes
    kind: FileKind
    mode: int = 0o600


@dataclass(frozen=True)
class BuiltArchive:
    """An archive made of parts, and everything that was said about it."""

    path: Path
    manifest: Manifest
    parts: tuple[PartRecord, ...]
    contents: dict[str, bytes]


MEMBERS = (
    Member("BACKUP_INFO.txt", b"what, when, from where\n", "information"),
    Member("restore.sql", b"\\i schema.sql\n", "schema"),
    Member("schema.sql", b"CREATE TABLE users (id int, name text);\n", "schema"),
    Member(
        "users.sql",
        b'-- users\n\nCOPY "public"."users" ("id", "name") FROM stdin;\n' + USER_ROWS + b"\\.\n"
        b'\nCOPY "public"."roles" ("id", "name") FROM stdin;\n\\.\n',
        "rows",
    ),
    Member("purchases.csv", PURCHASES, "rows"),
    Member("sequences.sql", b"", "sequences"),
    Member("constraints.sql", b"-- keys\n", "constraints"),
    Member("nginx.prod.conf", b"x" * 512, "configuration", 0o644),
    Member("ssl/key.pem", b"KEY " * 700, "configuration", 0o400),
)


TABLES = (
    make_table("users", "users.sql", ("id", "name"), rows=3, content=USER_ROWS),
    make_table("roles", "users.sql", ("id", "name")),
    make_table("purchases", "purchases.csv", ("id", "note"), rows=3, content=PURCHASES, windowed=True),
)


@dataclass
class ArchiveBuilder:
    """Builds archives in a folder of its own, each from its own parts; by default of the members and tables above."""

    members: ClassVar[tuple[Member, ...]] = MEMBERS
    tables: ClassVar[tuple[TableRecord, ...]] = TABLES
    member: ClassVar[type[Member]] = Member

    folder: Path
    built: list[BuiltArchive] = field(default_factory=list)

    def build(
        self,
        members: Sequence[Member] = MEMBERS,
        tables: Sequence[TableRecord] = TABLES,
        *,
        change_files: Callable[[PartRecord], PartRecord] = lambda part: part,
        **changes: Any,
    ) -> BuiltArchive:
        """Return an archive whose MANIFEST.json is the manifest with the changes."""
        workspace = self.folder / f"workspace_{len(self.built)}"
        workspace.mkdir()
        parts = [self._part(workspace, member) for member in members]
        files = tuple(change_files(part).file_record for part in parts)
        manifest = make_manifest(**({"files": files, "tables": tuple(tables)} | changes))
        text = manifest.model_dump_json(indent=1, by_alias=True).encode()
        parts.insert(1, self._part(workspace, Member("MANIFEST.json", text, "information")))
        contents = {member.name: member.content for member in members} | {"MANIFEST.json": text}
        path = compress_archive(workspace, [(workspace, parts)], modified_at=manifest.snapshot_at)
        self.built.append(BuiltArchive(path, manifest, tuple(parts), contents))
        return self.built[-1]

    @staticmethod
    def _part(folder: Path, member: Member) -> PartRecord:
        with GzipPart(folder, member.name, mode=member.mode) as part:
            part.write(member.content)
        return part.record(member.kind)


@pytest.fixture
def builder(tmp_path: Path) -> ArchiveBuilder:
    """Return a builder of archives."""
    return ArchiveBuilder(tmp_path)


@pytest.fixture
def built(builder: ArchiveBuilder) -> BuiltArchive:
    """Return a sound archive, not yet verified."""
    return builder.build()


MakeLetter = Callable[..., Letter]


@pytest.fixture
def letter(tmp_path: Path, sidecar: MakeSidecar) -> MakeLetter:
    """Return a maker of letters; keywords of the letter, or of the sidecar."""
    fields = {field.name for field in dataclasses.fields(Letter)} - {"archive", "sidecar"}

    def make(**changes: Any) -> Letter:
        own = {key: changes.pop(key) for key in tuple(changes) if key in fields and key != "warnings"}
        own["warnings"] = changes.pop("more_warnings", ())
        facts = sidecar(**changes)
        archive = tmp_path / facts.archive
        archive.write_bytes(bytes(range(256)) * 50 + b"\r\n.\r\n")
        defaults = {
            "choice": Choice("attachment", "small"),
            "link_base_url": None,
            "run_url": None,
            "zone": timezone.utc,
        }
        return Letter(archive=archive, sidecar=facts, **(defaults | own))

    return make

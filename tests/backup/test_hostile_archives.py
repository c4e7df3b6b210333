"""Archives and manifests that somebody else has made: refused, in bounded memory, and nothing is written outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include.backup.archive_name import sidecar_path
from include.backup.errors import VerificationError
from include.backup.manifest import FileRecord, Manifest, Sidecar, read_sidecar
from include.backup.small_file import MAX_BYTES
from include.backup.unpack import unpack_archive
from include.backup.unpacked import Unpacked
from include.backup.verify import verify_archive

if TYPE_CHECKING:
    from tests.backup.conftest import ArchiveBuilder, BuiltArchive

MEGABYTE = 1 << 20
MEMORY_BYTES = 32 * MEGABYTE
fuzzed = hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])

OUTSIDE = ["/outside", "../outside", "ssl/../../outside", "..", ".", "", "ssl//key", "./users.sql", "a\0b", "a\nb"]


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail if the block takes more memory than a few blocks of reading."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES, f"{peak / MEGABYTE:.0f} MB"


@dataclass
class Zeros(io.RawIOBase):
    """So many bytes of nothing."""

    left: int

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self.left, len(buffer))
        buffer[:size] = bytes(size)
        self.left -= size
        return size


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar header that says anything."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def write_bomb(path: Path, head: bytes, size: int) -> None:
    """Write a gzip of the header and of so many zeros, itself a thousandth of them."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(size // MEGABYTE):
            file.write(bytes(MEGABYTE))


BOMBS: dict[str, Callable[[BuiltArchive], tuple[bytes, str]]] = {
    "known member": lambda _: (header("BACKUP_INFO.txt", 512 * MEGABYTE), "the manifest says"),
    "terabytes": lambda _: (header("BACKUP_INFO.txt", 1 << 45), "the manifest says"),
    "manifest": lambda _: (header("MANIFEST.json", 512 * MEGABYTE), f"expected at most {MAX_BYTES}"),
    "unknown member": lambda _: (header("bomb", 512 * MEGABYTE), "bomb is not in the manifest"),
    "long name": lambda _: (header("././@LongLink", 512 * MEGABYTE, tarfile.GNUTYPE_LONGNAME), "expected at most 4096"),
    "long link": lambda _: (header("././@LongLink", 512 * MEGABYTE, tarfile.GNUTYPE_LONGLINK), "not a plain file"),
    "extended header": lambda _: (header("pax", 512 * MEGABYTE, tarfile.XHDTYPE), "not a plain file"),
    "global header": lambda _: (header("pax", 512 * MEGABYTE, tarfile.XGLTYPE), "not a plain file"),
    "sparse": lambda _: (header("users.sql", 512 * MEGABYTE, tarfile.GNUTYPE_SPARSE), "not a plain file"),
    "zeros": lambda _: (bytes(512), "no end"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused_before_it_is_unpacked(built: BuiltArchive, bomb: str) -> None:
    """Half a gigabyte in half a megabyte, wherever a tar can hide it, costs no memory."""
    head, words = BOMBS[bomb](built)
    write_bomb(built.path, head, 512 * MEGABYTE)
    with bounded_memory(), pytest.raises(VerificationError, match=words):
        verify_archive(built.path, built.manifest)
    folder = built.path.parent / "out"
    folder.mkdir()
    with bounded_memory(), built.path.open("rb") as file, pytest.raises(VerificationError):
        unpack_archive(Unpacked(file), built.manifest, folder)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) == 0


def test_line_without_an_end_is_refused_in_bounded_memory(builder: ArchiveBuilder, monkeypatch: Any) -> None:
    """A manifest that fits the bomb does not help: no server writes such a line. The limit is lowered for the test."""
    monkeypatch.setattr("include.backup.rows.MAX_LINE_BYTES", 8 * MEGABYTE)
    content = b'COPY "public"."users" ("id", "name") FROM stdin;\n' + bytes(64 * MEGABYTE)
    built = builder.build([builder.members[0], builder.member("users.sql", content, "rows")], builder.tables[:1])
    del content
    with bounded_memory(), pytest.raises(VerificationError, match="a line has more than"):
        verify_archive(built.path, built.manifest)


def tar_of(built: BuiltArchive, *members: tuple[bytes, bytes], end: bool = True) -> Path:
    """Write an archive of these headers and contents, and nothing else."""
    blocks = b"".join(head + content + bytes(-len(content) % 512) for head, content in members)
    built.path.write_bytes(gzip.compress(blocks + (bytes(1024) if end else b"")))
    return built.path


KINDS = {
    "link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE,
    "contiguous": tarfile.CONTTYPE, "sparse": tarfile.GNUTYPE_SPARSE, "unknown": b"Z",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_unpack_writes_plain_files_only(built: BuiltArchive, kind: str) -> None:
    """Restore refuses by itself what verify has refused: the file may have been replaced in between."""
    path = tar_of(built, (header("users.sql", 0, KINDS[kind]), b""))
    folder = path.parent / "out"
    folder.mkdir()
    with path.open("rb") as file, pytest.raises(VerificationError, match="not a plain file"):
        unpack_archive(Unpacked(file), built.manifest, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", OUTSIDE)
def test_manifest_with_a_name_that_leads_out_is_not_read(built: BuiltArchive, name: str) -> None:
    """So no archive, however well it fits its manifest, has such a member that anybody would write."""
    values = json.loads(built.manifest.model_dump_json(by_alias=True))
    values["files"][0]["name"] = name
    archive = built.path.with_name(values["archive"])
    sidecar_path(archive).write_text(json.dumps(values | {"archive_bytes": 1, "archive_sha256": "5f" * 32}))
    with pytest.raises(VerificationError, match="not the name of a file in an archive"):
        read_sidecar(archive)


@pytest.mark.parametrize("name", OUTSIDE)
def test_unpack_writes_no_name_that_the_manifest_lacks(built: BuiltArchive, name: str) -> None:
    """Neither above the folder nor in it."""
    path = tar_of(built, (header(name, 1), b"x"))
    folder = path.parent / "deep" / "out"
    folder.mkdir(parents=True)
    with path.open("rb") as file, pytest.raises(VerificationError):
        unpack_archive(Unpacked(file), built.manifest, folder)
    assert list(path.parent.rglob("outside")) == []
    assert list(folder.rglob("*")) == []


def test_unpack_goes_through_no_link_that_lies_there(built: BuiltArchive) -> None:
    """A new file is a new file: what is there is neither followed nor overwritten."""
    folder = built.path.parent / "out"
    folder.mkdir()
    (folder / "users.sql").symlink_to(built.path.parent / "outside")
    with built.path.open("rb") as file, pytest.raises(FileExistsError):
        unpack_archive(Unpacked(file), built.manifest, folder)
    assert not (built.path.parent / "outside").exists()


def test_unpack_of_a_sound_archive_gives_its_files_to_the_owner_alone(built: BuiltArchive) -> None:
    """Each with its content; the modes of the source are for whoever copies them back."""
    folder = built.path.parent / "out"
    folder.mkdir()
    with built.path.open("rb") as file:
        unpack_archive(Unpacked(file), built.manifest, folder)
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: content for name, content in built.contents.items() if name != "MANIFEST.json"
    }
    assert {path.stat().st_mode & 0o777 for path in found.values()} == {0o600}


@pytest.mark.parametrize("change", ["content", "size", "missing"])
def test_archive_changed_after_it_was_verified_is_noticed(built: BuiltArchive, change: str) -> None:
    """What is written is compared once more."""
    records = built.manifest.files
    content = built.contents[records[0].name]
    if change == "content":
        tar_of(built, (header(records[0].name, len(content)), bytes(len(content))))
    if change == "size":
        tar_of(built, (header(records[0].name, 1), content[:1]))
    if change == "missing":
        tar_of(built, (header(records[0].name, len(content)), content))
    folder = built.path.parent / "out"
    folder.mkdir()
    with built.path.open("rb") as file, pytest.raises(VerificationError, match="the archive was verified"):
        unpack_archive(Unpacked(file), built.manifest, folder)


def changed(content: bytes, data: st.DataObject) -> bytes:
    """Return the content with a few changes: bytes replaced, pieces cut, repeated or moved."""
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(len(content) - 1, 0)))
        size = data.draw(st.sampled_from([1, 2, 8, 100, 512, 1024]))
        piece = content[start : start + size]
        kind = data.draw(st.sampled_from(["replace", "cut", "repeat", "insert"]))
        new = {"replace": data.draw(st.binary(max_size=16)), "cut": b"", "repeat": piece * 2, "insert": piece}[kind]
        if kind == "insert":
            start = data.draw(st.integers(0, len(content)))
            size = 0
        content = content[:start] + new + content[start + size :]
    return content


@fuzzed
@given(data=st.data(), inside=st.booleans())
def test_changed_archive_is_refused_or_has_the_same_files(
    built: BuiltArchive, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, inside: bool
) -> None:
    """Changed as a file, or as the tar in a sound gzip: no other error, no other content, nothing outside."""
    whole = built.path.read_bytes()
    place = tmp_path_factory.mktemp("place")
    path = place / "archive.tar.gz"
    path.write_bytes(gzip.compress(changed(gzip.decompress(whole), data), 1) if inside else changed(whole, data))
    folder = place / "out"
    folder.mkdir()
    try:
        verify_archive(path, built.manifest)
        refusal = ""
    except VerificationError as error:
        refusal = str(error)
    try:
        with path.open("rb") as file:
            unpack_archive(Unpacked(file), built.manifest, folder)
        for record in built.manifest.files:
            assert hashlib.sha256((folder / record.name).read_bytes()).hexdigest() == record.sha256
    except (VerificationError, FileExistsError, NotADirectoryError, IsADirectoryError):
        assert refusal.isprintable()
        assert refusal
    assert {entry.name for entry in os.scandir(place)} == {"archive.tar.gz", "out"}


def test_record_of_every_name_that_a_backup_makes_is_read() -> None:
    """The rule for names lets pass what configuration folders hold."""
    for name in ("a", ".env.production", "ssl/key.pem", "a b/ü/…", "..a", "a..", "-x", "x" * 300, "สวัสดี", "a\\b"):
        assert FileRecord(name=name, kind="rows", mode="0600", bytes=0, sha256="5f" * 32).name == name


def test_manifest_and_sidecar_are_equal_after_a_round_trip(built: BuiltArchive) -> None:
    """Bounds on figures and times do not change what a backup writes."""
    text = built.manifest.model_dump_json(by_alias=True)
    assert Manifest.model_validate_json(text) == built.manifest
    sidecar = Sidecar(**built.manifest.model_dump(by_alias=True), archive_bytes=1, archive_sha256="5f" * 32)
    assert sidecar.without_archive_facts() == built.manifest

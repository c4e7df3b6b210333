"""Verification: what is sound passes, and everything else is refused in one clear line."""

from __future__ import annotations

import copy
import gzip
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.backup.errors import VerificationError
from include.backup.gzip_part import PartRecord
from include.backup.manifest import Manifest
from include.backup.verify import verify_archive
from tests.fix_archives import by_zlib

if TYPE_CHECKING:
    from tests.backup.conftest import ArchiveBuilder, BuiltArchive
    from tests.fix_archives import MakeTable

TarMember = tuple[tarfile.TarInfo, bytes]
END_OF_TAR = 1024

LINKS_AND_DEVICES = {
    "symlink": (tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": (tarfile.LNKTYPE, "users.sql"),
    "character device": (tarfile.CHRTYPE, ""),
    "block device": (tarfile.BLKTYPE, ""),
    "pipe": (tarfile.FIFOTYPE, ""),
    "folder": (tarfile.DIRTYPE, ""),
}


def refusal(path: Path, manifest: Manifest) -> str:
    """Return the message with which the archive is refused; any other exception fails the test."""
    with pytest.raises(VerificationError) as caught:
        verify_archive(path, manifest)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert path.name in message
    assert message.endswith("do not restore from it")
    return message


def accepted(path: Path, content: bytes, manifest: Manifest) -> bool:
    """Return whether the content passes; any exception but the one fails the test."""
    path.write_bytes(content)
    try:
        verify_archive(path, manifest)
    except VerificationError:
        return False
    return True


def members_of(built: BuiltArchive) -> list[TarMember]:
    with tarfile.open(built.path) as tar:
        return [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]


def repack(built: BuiltArchive, members: list[TarMember]) -> Path:
    """Write other members into the archive; gzip and tar are sound."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            changed = copy.copy(member)
            changed.size = len(content)
            tar.addfile(changed, io.BytesIO(content))
        size = tar.offset + END_OF_TAR  # tar's own padding to 10 KB is none of ours
    built.path.write_bytes(gzip.compress(raw.getvalue()[:size]))
    return built.path


def recompress(built: BuiltArchive, change: Callable[[bytes], bytes]) -> Path:
    """Change the tar inside; gzip is sound."""
    raw = gzip.decompress(built.path.read_bytes())
    built.path.write_bytes(gzip.compress(change(raw)))
    return built.path


def change_part(name: str, **changes: Any) -> Callable[[PartRecord], PartRecord]:
    """Return a change of what the manifest says of one file."""
    return lambda part: part.model_copy(update=changes) if part.name == name else part


def test_verify_sound_archive_counts_what_it_read(built: BuiltArchive) -> None:
    """Size and SHA-256 are the archive's own, rows and bytes those of its members."""
    content = built.path.read_bytes()
    verified = verify_archive(built.path, built.manifest)
    assert (verified.archive_bytes, verified.archive_sha256) == (len(content), sha256(content).hexdigest())
    assert verified.rows == built.manifest.rows == 6
    assert verified.uncompressed_bytes == sum(record.bytes for record in built.manifest.files)
    assert built.path.read_bytes() == content


def test_verify_repacked_by_others_passes(built: BuiltArchive) -> None:
    """The changes below are refused for what they change, not for the way they are packed."""
    verify_archive(repack(built, members_of(built)), built.manifest)


def test_verify_larger_than_a_block_passes(builder: ArchiveBuilder, table: MakeTable) -> None:
    """Rows that span several blocks of reading are counted and hashed whole."""
    rows = b"".join(b'%d,"line\n%d, ""x"""\n' % (number, number) for number in range(150_000))
    content = b"id,note\n" + rows
    record = table("big", "big.csv", ("id", "note"), rows=150_000, content=content)
    members = [builder.members[0], builder.member("big.csv", content, "rows")]
    big = builder.build(members, [record])
    verified = verify_archive(big.path, big.manifest)
    assert len(content) > 2 << 20
    assert verified.rows == 150_000


def test_verify_truncated_anywhere_refused(built: BuiltArchive) -> None:
    """However much of the end is missing, it is noticed."""
    whole = built.path.read_bytes()
    passed = [size for size in range(len(whole)) if accepted(built.path, whole[:size], built.manifest)]
    assert passed == []


def test_verify_flipped_bit_anywhere_refused_or_harmless(built: BuiltArchive) -> None:
    """A flipped bit is noticed everywhere, save where every unpacker still reads the same bytes."""
    whole = built.path.read_bytes()
    contents = by_zlib(whole)
    wrong = []
    for position in range(len(whole)):
        for bit in (position % 8, (position + 3) % 8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            if accepted(built.path, bytes(flipped), built.manifest) and by_zlib(bytes(flipped)) != contents:
                wrong.append((position, bit))
    assert contents is not None
    assert wrong == []


@pytest.mark.parametrize("bit", [5, 6, 7])
def test_verify_flipped_flag_that_gzip_refuses_refused(built: BuiltArchive, bit: int) -> None:
    """An archive that the system's gzip does not unpack is not sound: it knows no reserved header flags."""
    program = shutil.which("gzip")
    assert program is not None
    flipped = bytearray(built.path.read_bytes())
    flipped[3] ^= 1 << bit
    built.path.write_bytes(flipped)
    assert subprocess.run([program, "-dc"], input=bytes(flipped), capture_output=True, check=False).returncode != 0
    refusal(built.path, built.manifest)


@pytest.mark.parametrize(
    "garbage",
    [
        b"x",
        b"\x1f\x8b",
        b"garbage" * 100,
        gzip.compress(b"x"),
        gzip.compress(b"x" * 512),
        gzip.compress(b"\0" * 512),
        gzip.compress(b"\0" * (2 << 20) + b"x"),
    ],
    ids=["byte", "gzip magic", "text", "member of a byte", "member of a block", "member of zeros", "far away"],
)
def test_verify_garbage_after_the_end_refused(built: BuiltArchive, garbage: bytes) -> None:
    """Nothing follows the end of the archive, neither raw nor compressed."""
    built.path.write_bytes(built.path.read_bytes() + garbage)
    refusal(built.path, built.manifest)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-END_OF_TAR],
        lambda raw: raw[:-512],
        lambda raw: raw[:-512] + b"x" * 512,
        lambda raw: raw + raw,
        lambda raw: raw[:-1],
        lambda raw: raw[: -END_OF_TAR - 1],
        lambda raw: raw[512:],
        lambda _: b"",
        lambda _: b"\0" * END_OF_TAR,
        lambda _: b"text\n",
    ],
    ids=[
        "no end", "one block of end", "junk in the end", "two tars", "a byte short", "padding short", "no header",
        "nothing", "no members", "text",
    ],
)  # fmt: skip
def test_verify_tar_structure_wrong_refused(built: BuiltArchive, change: Callable[[bytes], bytes]) -> None:
    """The tar is read to its end, which is two blocks of zeros and nothing after them."""
    refusal(recompress(built, change), built.manifest)


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 1000, b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_verify_not_an_archive_refused(built: BuiltArchive, content: bytes) -> None:
    """A file that is none of it is refused."""
    built.path.write_bytes(content)
    refusal(built.path, built.manifest)


def test_verify_missing_file_refused(built: BuiltArchive) -> None:
    """A file that is not there is refused, and named; it is not called damaged."""
    built.path.unlink()
    with pytest.raises(VerificationError, match=f"^{built.path} is gone: it has expired, or was removed$"):
        verify_archive(built.path, built.manifest)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "name", ["extra.sql", "/etc/cron.d/x", "../outside", "ssl/../users.sql", "./users.sql", "x\ny"]
)
def test_verify_extra_member_refused(built: BuiltArchive, name: str, first: bool) -> None:
    """A member that the manifest does not list is refused: absolute, with `..`, or another spelling of a known one."""
    extra = [(tarfile.TarInfo(name), b"x")]
    members = members_of(built)
    message = refusal(repack(built, extra + members if first else members + extra), built.manifest)
    assert "is not in the manifest" in message


@pytest.mark.parametrize("kind", LINKS_AND_DEVICES)
@pytest.mark.parametrize("name", ["extra", "users.sql", "ssl/key.pem"])
def test_verify_link_or_device_refused(built: BuiltArchive, kind: str, name: str) -> None:
    """Members are plain files only, also where a link takes the place of a file in the manifest."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = LINKS_AND_DEVICES[kind]
    members = [(old, content) for old, content in members_of(built) if old.name != name]
    assert f"{name} is not a plain file" in refusal(repack(built, [*members, (member, b"")]), built.manifest)


@pytest.mark.parametrize("name", ["users.sql", "MANIFEST.json", "BACKUP_INFO.txt"])
def test_verify_member_twice_refused(built: BuiltArchive, name: str) -> None:
    """The second of two members of one name would replace the first when it is unpacked."""
    members = members_of(built)
    again = next(pair for pair in members if pair[0].name == name)
    assert f"{name} is there twice" in refusal(repack(built, [*members, again]), built.manifest)


@pytest.mark.parametrize(
    "name", ["BACKUP_INFO.txt", "MANIFEST.json", "users.sql", "purchases.csv", "sequences.sql", "ssl/key.pem"]
)
def test_verify_member_missing_named(built: BuiltArchive, name: str) -> None:
    """A member that is not there is named, the empty one and the manifest too."""
    members = [pair for pair in members_of(built) if pair[0].name != name]
    assert f"missing: {name}" in refusal(repack(built, members), built.manifest)


@pytest.mark.parametrize("name", ["BACKUP_INFO.txt", "users.sql", "purchases.csv", "nginx.prod.conf"])
def test_verify_content_changed_refused(built: BuiltArchive, name: str) -> None:
    """Other bytes of the same length are a checksum mismatch; the file is named."""
    swap = bytes.maketrans(b"nx", b"mz")
    members = [(old, content.translate(swap) if old.name == name else content) for old, content in members_of(built)]
    assert name in refusal(repack(built, members), built.manifest)


def test_verify_checksum_mismatch_shows_both(builder: ArchiveBuilder) -> None:
    """The message has what was seen and what the manifest says."""
    other = "0" * 64
    built = builder.build(change_files=change_part("schema.sql", sha256=other))
    seen = sha256(built.contents["schema.sql"]).hexdigest()
    message = refusal(built.path, built.manifest)
    assert f"checksum mismatch in schema.sql: got {seen}, the manifest says {other}" in message


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_verify_size_mismatch_shows_both(builder: ArchiveBuilder, size: int) -> None:
    """A file of another size is refused with both sizes."""
    built = builder.build(change_files=change_part("schema.sql", bytes=size))
    message = refusal(built.path, built.manifest)
    assert f"schema.sql has {len(built.contents['schema.sql'])} bytes, the manifest says {size}" in message


def with_manifest(built: BuiltArchive, text: bytes) -> Path:
    """Replace MANIFEST.json in the archive."""
    members = members_of(built)
    return repack(built, [(m, text if m.name == "MANIFEST.json" else content) for m, content in members])


def test_verify_manifest_of_another_run_refused(built: BuiltArchive) -> None:
    """A manifest that reads well but says something else than the run's is refused."""
    other = built.manifest.model_copy(update={"warnings": ("another",)})
    path = with_manifest(built, other.model_dump_json(by_alias=True).encode())
    assert "MANIFEST.json differs" in refusal(path, built.manifest)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"colour\\nred": 1}', b'{"format_version": 2}'],
    ids=["empty", "cut", "nothing", "list", "null", "not UTF-8", "deep", "line feed", "version 2"],
)
def test_verify_manifest_unreadable_refused_in_one_line(built: BuiltArchive, text: bytes) -> None:
    """A manifest that cannot be read is refused in one line that names it."""
    assert "MANIFEST.json" in refusal(with_manifest(built, text), built.manifest)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {"rows": 2}),
        (0, {"rows": 4}),
        (1, {"rows": 1}),
        (2, {"rows": 2}),
        (2, {"rows": 4}),
        (0, {"columns": ("id", "name", "bio")}),
        (0, {"columns": ("id",)}),
        (0, {"columns": ("name", "id")}),
        (1, {"columns": ("id",)}),
        (2, {"columns": ("id", "note", "at")}),
        (2, {"columns": ("id",)}),
        (2, {"columns": ("note", "id")}),
        (0, {"name": "people"}),
        (0, {"schema_name": "private"}),
    ],
)
def test_verify_rows_or_columns_other_than_the_manifest_refused(
    builder: ArchiveBuilder, number: int, changes: dict[str, Any]
) -> None:
    """What the archive holds is what its manifest says of every table: name, columns in order, and rows."""
    tables = list(builder.tables)
    tables[number] = tables[number].model_copy(update=changes)
    built = builder.build(tables=tables)
    assert tables[number].file in refusal(built.path, built.manifest)


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_verify_table_not_in_the_manifest_refused(builder: ArchiveBuilder, dropped: int) -> None:
    """Rows of a table that the manifest does not know are refused, in plain words."""
    tables = list(builder.tables)
    file = tables.pop(dropped).file
    built = builder.build(tables=tables)
    message = refusal(built.path, built.manifest)
    assert file in message
    assert "unpack" not in message


def test_verify_table_without_its_file_refused(builder: ArchiveBuilder, table: MakeTable) -> None:
    """A table of the manifest whose rows are in no file of the archive is missing."""
    tables = [*builder.tables, table("ghosts", "ghosts.sql", ("id",), rows=99)]
    built = builder.build(tables=tables)
    assert "ghosts" in refusal(built.path, built.manifest)


def test_verify_table_in_a_file_that_is_not_rows_refused(builder: ArchiveBuilder) -> None:
    """Rows are parsed whatever the manifest calls their file."""
    built = builder.build(change_files=change_part("users.sql", kind="configuration"))
    assert "users" in refusal(built.path, built.manifest)

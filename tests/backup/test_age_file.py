"""What can be seen of an age file without a key: its structure, whose lengths must add up."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from include.backup.age_file import CHUNK_BYTES, read_age_file
from include.backup.errors import VerificationError

RECIPIENTS = [x25519.Identity.generate().to_public() for _ in range(3)]


def encrypted(size: int, recipients: int = 1) -> bytes:
    """Return an age file of so many bytes of zeros."""
    content: bytes = pyrage.encrypt(bytes(size), RECIPIENTS[:recipients])
    return content


def structure(folder: Path, content: bytes) -> object:
    """Return what read_age_file sees."""
    path = folder / "x.age"
    path.write_bytes(content)
    return read_age_file(path)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 999_999])
def test_plain_bytes_are_known_without_a_key(tmp_path: Path, size: int) -> None:
    """Also where the last chunk is exactly full, and where there is nothing at all."""
    (tmp_path / "x.age").write_bytes(content := encrypted(size, 3))
    found = read_age_file(tmp_path / "x.age")
    assert (found.bytes, found.plain_bytes) == (len(content), size)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.keys == ("X25519",) * 3


@given(cut=st.integers(1, 2 * CHUNK_BYTES + 400))
def test_truncated_file_never_looks_whole(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever it ends, there is an error or fewer plain bytes than there were."""
    folder, content = tmp_path_factory.getbasetemp(), encrypted(2 * CHUNK_BYTES + 100)
    try:
        found = structure(folder, content[:-cut] if cut < len(content) else b"")
    except VerificationError as error:
        assert "x.age" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert getattr(found, "plain_bytes", math.inf) < 2 * CHUNK_BYTES + 100


@pytest.mark.parametrize("more", [b"x", b"x" * CHUNK_BYTES])
def test_longer_file_holds_more_than_was_put_in(tmp_path: Path, more: bytes) -> None:
    """What is appended shows in the plain bytes, or as a chunk that is not whole."""
    try:
        found = structure(tmp_path, encrypted(CHUNK_BYTES) + more)
    except VerificationError as error:
        assert "not whole" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert getattr(found, "plain_bytes", 0) > CHUNK_BYTES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an age file"),
        (b"\x1f\x8b plain gzip", "is not an age file"),
        (b"age-encryption.org/v2\n", "is not an age file"),
        (b"age-encryption.org/v1\n", "a line of its age header cannot be read"),
        (b"age-encryption.org/v1\n-> X25519 abc\n\xff\xff\n--- x\n", "a line of its age header cannot be read"),
        (b"age-encryption.org/v1\n-> X25519 abc\nAAAA\n--- short\n", "a line of its age header cannot be read"),
        (b"age-encryption.org/v1\n" + b"-> X25519 abc\nAAAA\n" * 6000, "its age header has no end"),
        (b"age-encryption.org/v1\n-> X25519 " + b"a" * 5000, "a line of its age header cannot be read"),
    ],
)
def test_damaged_header_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """One line with the file's name; nothing endless is read."""
    with pytest.raises(VerificationError, match=words) as caught:
        structure(tmp_path, content)
    assert "x.age" in str(caught.value)
    assert "\n" not in str(caught.value)

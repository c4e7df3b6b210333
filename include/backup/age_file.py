"""
The structure of an age file, read without a key: header, nonce, and chunks of 64 KiB whose lengths must add up.

Source: https://c2sp.org/age
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from include.backup.errors import VerificationError

VERSION = b"age-encryption.org/v1\n"
NONCE_BYTES = 16
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
COLUMNS = 64  # of base64 in the body of a stanza; a shorter line ends it
MAX_LINE_BYTES = 4096
MAX_HEADER_LINES = 10_000
BLOCK_BYTES = 1 << 20

_STANZA = re.compile(rb"-> ([\x21-\x7e]+)((?: [\x21-\x7e]+)*)\n")
_BODY = re.compile(rb"[A-Za-z0-9+/]*\n")
_MAC = re.compile(rb"--- [A-Za-z0-9+/]{43}\n")


@dataclass(frozen=True)
class AgeFile:
    """
    What can be seen without a key.

    Args:
        bytes: Of the file.
        sha256: Of the file.
        plain_bytes: Of what it holds.
        keys: The kind of each key that opens it (`X25519`, `ssh-ed25519`, `ssh-rsa`), in order.
    """

    bytes: int
    sha256: str
    plain_bytes: int
    keys: tuple[str, ...]


def read_age_file(path: Path) -> AgeFile:
    """
    Read the whole file, from the disk.

    Raises:
        VerificationError: If it is no age file, or is truncated.
    """
    sha256 = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        kinds = tuple(_header(file, path))
        payload_at = file.tell()
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            sha256.update(block)
            size += len(block)
    plain_bytes = _plain_bytes(size - payload_at, path)
    # Libraries add stanzas that nobody understands, so that nobody relies on there being none.
    keys = tuple(kind for kind in kinds if not kind.endswith("-grease"))
    return AgeFile(size, sha256.hexdigest(), plain_bytes, keys)


def _header(file: BinaryIO, path: Path) -> Iterator[str]:
    """Yield the kind of each stanza; afterwards the file stands at the payload."""
    if file.readline(MAX_LINE_BYTES) != VERSION:
        raise VerificationError(f"{path.name} is not an age file: it does not begin with {VERSION.decode().strip()}")
    in_body = False
    for _ in range(MAX_HEADER_LINES):
        line = file.readline(MAX_LINE_BYTES)
        if in_body:
            _expect(_BODY.fullmatch(line), path)
            in_body = len(line) > COLUMNS
            continue
        if _MAC.fullmatch(line):
            return
        stanza = _expect(_STANZA.fullmatch(line), path)
        yield stanza[1].decode()
        in_body = True
    raise VerificationError(f"{path.name} is damaged: its age header has no end; do not restore from it")


def _expect(match: re.Match[bytes] | None, path: Path) -> re.Match[bytes]:
    if match is None:
        raise VerificationError(f"{path.name} is damaged: a line of its age header cannot be read")
    return match


def _plain_bytes(payload_bytes: int, path: Path) -> int:
    """Return how much the payload holds, if all of its chunks are there."""
    sealed = payload_bytes - NONCE_BYTES
    chunks = -(-sealed // (CHUNK_BYTES + TAG_BYTES))
    last = sealed - (chunks - 1) * (CHUNK_BYTES + TAG_BYTES)
    if sealed < TAG_BYTES or last < TAG_BYTES or (chunks > 1 and last == TAG_BYTES):
        raise VerificationError(f"{path.name} is truncated: its last chunk is not whole; do not restore from it")
    return sealed - chunks * TAG_BYTES

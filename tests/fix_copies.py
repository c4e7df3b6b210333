"""Archives that have content of their own, to be copied elsewhere, and what a place of copies has then."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from pathlib import Path

from include.backup.archive_name import archive_name, decrypt_path, encrypted_name, sidecar_path
from include.backup.copy_place import CopyPlace
from include.backup.manifest import Sidecar
from tests.fix_archives import ENCRYPTION, SNAPSHOT_AT, make_sidecar

SMALL_BYTES = 100_000


def make_archive(
    folder: Path, *, taken: datetime = SNAPSHOT_AT, size: int = SMALL_BYTES, encrypted: bool = False
) -> tuple[Path, Sidecar]:
    """Put an archive of random bytes and what belongs to it into the folder, as far as a copy looks at them."""
    folder.mkdir(exist_ok=True)
    content = secrets.token_bytes(size)
    name = archive_name(taken)
    facts = {"archive": encrypted_name(name), "encryption": ENCRYPTION} if encrypted else {"archive": name}
    digest = hashlib.sha256(content).hexdigest()
    sidecar = make_sidecar(snapshot_at=taken, archive_bytes=size, archive_sha256=digest, **facts)
    archive = folder / sidecar.archive
    archive.write_bytes(content)
    if encrypted:
        decrypt_path(archive).write_text(f"how {archive.name} is decrypted")
    sidecar_path(archive).write_text(sidecar.model_dump_json(indent=1, by_alias=True))
    return archive, sidecar


def content_of(place: CopyPlace, name: str) -> bytes:
    """Return what the place hands out."""
    return b"".join(place.read(name))

"""What an archive that is not encrypted gives to everybody who gets hold of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from include.backup.archive_name import is_encrypted

_SECRET_ENDINGS = (".key", "key.pem", ".p12", ".pfx", ".jks", ".env", ".pgpass")
_SECRET_BEGINNINGS = (".env", "id_rsa", "id_ecdsa", "id_ed25519")


class NamedFile(Protocol):
    """A file of an archive: what the manifest says of it."""

    @property
    def name(self) -> str:
        """Its path in the archive."""

    @property
    def kind(self) -> str:
        """What it is."""


def secrets_in_clear(archive: str, files: Iterable[NamedFile]) -> tuple[str, ...]:
    """Return the names of private keys and .env files in the archive of that name; none if it is encrypted."""
    if is_encrypted(archive):
        return ()
    return tuple(file.name for file in files if file.kind == "configuration" and is_secret(file.name))


def is_secret(name: str) -> bool:
    """Whether a file of this name usually holds a private key or passwords."""
    base = Path(name).name.lower()
    return base.endswith(_SECRET_ENDINGS) or (base.startswith(_SECRET_BEGINNINGS) and not base.endswith(".pub"))

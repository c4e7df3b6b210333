"""What an archive that is not encrypted gives to everybody who gets hold of it."""

from __future__ import annotations

from pathlib import Path

from include.backup.manifest import Sidecar

_SECRET_ENDINGS = (".key", "key.pem", ".p12", ".pfx", ".jks", ".env", ".pgpass")
_SECRET_BEGINNINGS = (".env", "id_rsa", "id_ecdsa", "id_ed25519")


def secrets_in_clear(sidecar: Sidecar) -> tuple[str, ...]:
    """Return the names of private keys and .env files in the archive; none if it is encrypted."""
    if sidecar.encryption:
        return ()
    return tuple(file.name for file in sidecar.files if file.kind == "configuration" and is_secret(file.name))


def is_secret(name: str) -> bool:
    """Whether a file of this name usually holds a private key or passwords."""
    base = Path(name).name.lower()
    return base.endswith(_SECRET_ENDINGS) or (base.startswith(_SECRET_BEGINNINGS) and not base.endswith(".pub"))

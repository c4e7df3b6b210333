"""
Keys of age: for whom archives are encrypted, and who opens them. Private keys are in no error and no log.

Source: https://age-encryption.org/v1, https://github.com/woodruffw/pyrage
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import pyrage

from include.backup.archive_name import is_encrypted
from include.backup.errors import PrerequisiteError

# The library's classes have no base in common, and it ships no types.
Recipient: TypeAlias = Any
Identity: TypeAlias = Any

MAX_KEY_FILE_BYTES = 1 << 20
SHOWN_CHARACTERS = 12  # of a key that is wrong, to find it by
NOT_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_PRIVATE = re.compile(r"AGE-(SECRET-KEY|PLUGIN)-|PRIVATE KEY", re.IGNORECASE)
_EXPECTED = "expected age1… (of age-keygen), ssh-ed25519 … or ssh-rsa …, separated by commas"


def check_recipients(text: str) -> tuple[str, ...]:
    """
    Return the public keys of BACKUP_AGE_RECIPIENTS, each once, in order.

    Raises:
        ValueError: One line; of a key that is wrong only its place and, if it looks like a public one, its beginning.
    """
    keys = tuple(dict.fromkeys(" ".join(part.split()) for part in text.split(",") if part.strip()))
    if not keys:
        raise ValueError(f"no public key; {_EXPECTED}")
    for place, key in enumerate(keys, start=1):
        if _PRIVATE.search(key):
            raise ValueError(
                f"key {place} of {len(keys)} is a private key, which must not be here: whoever has seen it can read "
                "every archive made for it. Make a new pair (age-keygen) and set its public key, age1…"
            )
        try:
            recipient(key)
        except (pyrage.RecipientError, ValueError):
            public = key.startswith(("age1", "ssh-"))
            seen = f" ({key[:SHOWN_CHARACTERS]!r}…)" if public else ""
            raise ValueError(f"key {place} of {len(keys)}{seen} is not a public key; {_EXPECTED}") from None
    return keys


def recipient(key: str) -> Recipient:
    """Return the public key as the library takes it. Raise its RecipientError if it is none."""
    kind: Any = pyrage.ssh if key.startswith("ssh-") else pyrage.x25519
    return kind.Recipient.from_str(key)


def read_identities(path: Path | None) -> tuple[Identity, ...]:
    """
    Return the private keys of BACKUP_AGE_IDENTITY_FILE: as age-keygen writes them, or one SSH key; () for None.

    Raises:
        PrerequisiteError: If the file is missing, open to others, or holds anything else.
    """
    if path is None:
        return ()
    what = f"BACKUP_AGE_IDENTITY_FILE={path}"
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            content = file.read(MAX_KEY_FILE_BYTES) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise PrerequisiteError(f"{what} cannot be read: {error.strerror}; expected a file with private keys") from None
    if not stat.S_ISREG(mode):
        raise PrerequisiteError(f"{what} is not an ordinary file; expected one with private keys")
    if mode & NOT_FOR_OTHERS:
        raise PrerequisiteError(
            f"{what} has mode {stat.S_IMODE(mode):04o}, so others may read the private key; expected 0600 (chmod 600)"
        )
    return tuple(_identities(content, what))


def identities_for(archive: str, path: Path | None) -> tuple[Identity, ...]:
    """Return the private keys for an archive of that name: the file is no matter of one that is not encrypted."""
    return read_identities(path) if is_encrypted(archive) else ()


def _identities(content: bytes, what: str) -> Iterable[Identity]:
    expected = "expected lines AGE-SECRET-KEY-1…, as age-keygen writes them, or one SSH key without a passphrase"
    try:
        if content.startswith(b"-----BEGIN "):
            return [pyrage.ssh.Identity.from_buffer(content)]
        lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if keys:
            return [pyrage.x25519.Identity.from_str(key) for key in keys]
    except pyrage.IdentityError as error:
        raise PrerequisiteError(f"{what} holds a key that cannot be used ({error}); {expected}") from None
    raise PrerequisiteError(f"{what} holds no key; {expected}")


def belong_together(identities: Iterable[Identity], recipients: Iterable[str]) -> bool:
    """Whether one of the private keys opens what is encrypted for these; an SSH key is tried as well."""
    keys = [recipient(key) for key in recipients]
    try:
        pyrage.decrypt(pyrage.encrypt(b"", keys), list(identities))
    except pyrage.DecryptError:
        return False
    return True

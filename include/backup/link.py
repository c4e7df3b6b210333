"""Links in mails: an archive's download, with an expiry and a signature that nobody else can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from include.backup.backup_id import UNNAMED, Backup
from include.backup.durable import sync_folder
from include.backup.errors import BackupError, LinkError
from include.backup.rights import PRIVATE_FILE, published_mode

PAGE_PATH = "/backup/"  # the status page
DOWNLOAD_PATH = "/backup/archives/{name}/download"
KEY_FILE = ".link_key"  # in BACKUP_DIR, which all who send and serve share; removing it voids all links
KEY_BYTES = 32

_ADVICE = "open the status page of the backups and download the archive there"


@dataclass(frozen=True)
class SignedLink:
    """An address that works until a moment; who opens it still has to log in."""

    url: str
    works_until: datetime


def signed_link(
    archive: Path,
    base_url: str,
    *,
    works_until: datetime,
    backup: Backup = UNNAMED,
) -> SignedLink:
    """
    Return the link to an archive; the first one makes the key that signs.

    Args:
        archive: In BACKUP_DIR.
        base_url: BACKUP_LINK_BASE_URL.
        works_until: Aware; counts in whole seconds.
        backup: Whose archive it is; its key, in its own folder, signs no other's.

    Raises:
        BackupError: If the key can be neither read nor made.
    """
    expires = int(works_until.timestamp())
    signature = _signature(_key_to_sign(archive.parent), archive.name, str(expires))
    path = DOWNLOAD_PATH.format(name=archive.name)
    return SignedLink(
        f"{base_url}{path}{backup.query or '?'}{'&' if backup.id else ''}expires={expires}&signature={signature}",
        datetime.fromtimestamp(expires, works_until.tzinfo),
    )


def check_link(backup_dir: Path, name: str, *, expires: str, signature: str, now: datetime) -> None:
    """
    Return if the link was made here for this archive and still works.

    Args:
        backup_dir: Where the key is.
        name: The archive's, as the link has it.
        expires: As the link has it: unix seconds.
        signature: As the link has it.
        now: Aware.

    Raises:
        LinkError: In words for whoever has opened it.
    """
    key = _read_key(backup_dir)
    expected = _signature(key, name, expires) if key and re.fullmatch(r"[0-9]{1,11}", expires) else ""
    if not expected or not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        raise LinkError(
            "this link is not one that was sent from here: it was cut off or altered on its way, or all links were "
            f"made void since; open it from the mail once more, or {_ADVICE}"
        )
    works_until = datetime.fromtimestamp(int(expires), timezone.utc)
    if now > works_until:
        raise LinkError(f"this link worked until {works_until:%Y-%m-%d %H:%M} UTC; {_ADVICE}")


def _signature(key: bytes, name: str, expires: str) -> str:
    digest = hmac.digest(key, f"{name}\n{expires}".encode(errors="replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _read_key(backup_dir: Path) -> bytes | None:
    """Return the key; None if there is none, or what is there is not one."""
    try:
        descriptor = os.open(backup_dir / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            key = file.read(KEY_BYTES + 1)
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _key_to_sign(backup_dir: Path) -> bytes:
    """Return the key, made if there is none. Of several who make it at once, one wins and all use his."""
    path = backup_dir / KEY_FILE
    if key := _read_key(backup_dir):
        return key
    partial = backup_dir / f"{KEY_FILE}.{secrets.token_hex(8)}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), published_mode(backup_dir))  # whoever serves the archives reads it, too
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        _give_name(partial, path)
        sync_folder(backup_dir)
    except OSError as error:
        raise BackupError(
            f"the key that signs links could not be made in {backup_dir}: {error.strerror}; mend rights or make room"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    if key := _read_key(backup_dir):
        return key
    raise BackupError(f"{path} is not a key of {KEY_BYTES} bytes that can be read; remove it, a new one is then made")


def _give_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        pass  # somebody else was first
    except OSError:  # a file system without hard links
        partial.replace(path)

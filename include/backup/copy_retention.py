"""Which second copies expire: by the rules of the archives, with days of their own."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from include.backup.archive_name import ARCHIVE_NAME, decrypt_path, is_encrypted, sidecar_path
from include.backup.copy_place import CopyPlace
from include.backup.errors import BackupError, TemporaryError
from include.backup.manifest import Sidecar
from include.backup.retention import ExpiryPlan, RetentionPolicy, plan_expiry

log = logging.getLogger(__name__)


def expire_copies(
    place: CopyPlace, policy: RetentionPolicy, *, now: datetime, proven: Collection[str]
) -> tuple[ExpiryPlan, tuple[str, ...]]:
    """
    Remove the copies that the plan names, each archive before its manifest.

    Only archives of this system's names with a readable manifest of that name count; all others stay.

    Args:
        place: Where the copies are.
        policy: Whose days are those of copies.
        now: Aware.
        proven: Names of the archives whose drill passed.

    Returns:
        The plan, and what could not be removed: a credential or a lock that forbids it is no failure.

    Raises:
        TemporaryError: If the place does not answer.
    """
    plan = plan_expiry(list(_complete_copies(place)), policy, now=now, proven=proven)
    refused = tuple(sidecar.archive for sidecar in plan.expire if not _remove(place, sidecar.archive))
    return plan, refused


def _complete_copies(place: CopyPlace) -> Iterator[Sidecar]:
    names = set(place.names())
    for name in sorted(filter(ARCHIVE_NAME.fullmatch, names)):
        manifest = sidecar_path(Path(name)).name
        if manifest not in names:
            log.warning("%s/%s is passed over: it has no manifest, so it is unfinished", place.url, name)
            continue
        try:
            sidecar = Sidecar.model_validate_json(b"".join(place.read(manifest)))
        except (ValidationError, FileNotFoundError):
            log.warning("%s/%s is passed over: its manifest cannot be read", place.url, name)
            continue
        if sidecar.archive == name:
            yield sidecar
        else:
            log.warning("%s/%s is passed over: its manifest is that of %s", place.url, name, sidecar.archive)


def _remove(place: CopyPlace, archive: str) -> bool:
    try:
        place.remove(archive)
        if is_encrypted(archive):
            place.remove(decrypt_path(Path(archive)).name)
        place.remove(sidecar_path(Path(archive)).name)
    except TemporaryError:
        raise
    except BackupError as error:
        log.info("%s stays: %s", archive, error)
        return False
    return True

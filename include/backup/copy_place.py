"""Where second copies go: what a place can do, and what its errors mean."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from include.backup.errors import BackupError, TemporaryError
from include.backup.masking import mask

BLOCK_BYTES = 8 << 20  # of a read, and of a part of a large upload: S3 takes 10,000 parts, so 80 GB

_FINAL_ERRORS = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EINVAL, errno.ENOSYS, errno.ENAMETOOLONG, errno.EFBIG}


class CopyPlace(Protocol):
    """A folder or a part of an object store. What goes wrong is raised as `place_errors` says."""

    @property
    def url(self) -> str:
        """Its address for people, without a connection's name and without a / at the end."""

    def names(self) -> list[str]:
        """Return the names of what lies directly in it, in no order."""

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content in blocks. Raise FileNotFoundError if there is none of that name."""

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write the content: whole, or under no such name if anything goes wrong, also while the blocks are made."""

    def remove(self, name: str) -> None:
        """Remove it."""


@contextmanager
def place_errors(doing: str) -> Iterator[None]:
    """
    Let every error of a place be one line that says what was done and where.

    Raises:
        TemporaryError: If another try can help: no answer, a cut connection, a server that is busy or broken.
        BackupError: If none can: refused, not there, full.
    """
    try:
        yield
    except BackupError:
        raise
    except OSError as error:
        words = _words(error.strerror or str(error)) or type(error).__name__
        if isinstance(error, _FINAL_ERRORS) or error.errno in _FINAL_NUMBERS:
            raise BackupError(f"{doing}: {words}; {_remedy(error)}") from error
        raise TemporaryError(f"{doing}: {words}; check that it can be reached") from error
    except Exception as error:  # each library of an object store raises its own, most of them for the network
        words = _words(str(error)) or type(error).__name__
        raise TemporaryError(f"{doing}: {words}; check that it can be reached") from error


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "make room there, or lower BACKUP_COPY_RETENTION_DAYS"
    if isinstance(error, PermissionError):
        return "check the rights there, and the login of the Airflow connection in BACKUP_COPY_URL"
    return "check BACKUP_COPY_URL: mount the volume, or create the folder or bucket; it is never made silently"


def _words(text: str) -> str:
    return mask(" ".join(text.split())).rstrip(".")

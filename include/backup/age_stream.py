"""
The plain bytes of an archive as a stream, encrypted with age or not; and the thread in which the library of age runs.

It runs at the other end of a pipe. What is raised in the caller's thread (a time-out, a full disk) so stays what it
is; the library would turn it into an error of its own.
"""

from __future__ import annotations

import fcntl
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

from include.backup.age_keys import Identity
from include.backup.archive_name import decrypt_command, is_encrypted
from include.backup.errors import PrerequisiteError, VerificationError

BLOCK_BYTES = 1 << 20


@contextmanager
def opened(archive: Path, identities: Sequence[Identity]) -> Iterator[BinaryIO]:
    """
    Give the plain bytes of an archive, encrypted or not, to be read once from the beginning.

    Whoever reads to the end has seen all: damage is raised at the latest by the read that would return no more.

    Raises:
        PrerequisiteError: If it is encrypted, and none of the identities opens it.
        VerificationError: From `read`, if the encrypted archive is damaged or truncated.
    """
    if not is_encrypted(archive.name):
        with archive.open("rb") as file:
            yield file
        return
    if not identities:
        raise PrerequisiteError(
            f"{archive.name} is encrypted and BACKUP_AGE_IDENTITY_FILE is not set; set it, or decrypt the archive "
            f"where the private key is: {decrypt_command(archive.name)}"
        )
    with (
        archive.open("rb", BLOCK_BYTES) as source,
        written_by(lambda pipe: _decrypt(archive, source, pipe, identities)) as plain,
    ):
        yield plain


def _decrypt(archive: Path, file: BinaryIO, pipe: BinaryIO, identities: Sequence[Identity]) -> None:
    try:
        pyrage.decrypt_io(file, pipe, list(identities))
    except pyrage.DecryptError as error:
        raise PrerequisiteError(
            f"no key in BACKUP_AGE_IDENTITY_FILE opens {archive.name} ({error}); its manifest names the public keys "
            "that it is encrypted for"
        ) from None
    except OSError as error:
        raise VerificationError(f"{archive.name} is damaged: {error}; do not restore from it") from None


@contextmanager
def written_by(work: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """Give what `work` writes into its pipe, in a thread of its own; its error is raised where the bytes end."""
    reading, writing = os.pipe()
    # The usual 64 KiB are less than one chunk: each side would wait for the other.
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
    errors: list[BaseException] = []

    def run() -> None:
        with os.fdopen(writing, "wb", 0) as pipe:
            try:
                work(pipe)
            except BaseException as error:  # noqa: BLE001 - also a panic of the library is raised in the caller's thread
                errors.append(error)

    thread = threading.Thread(target=run, name="age")
    thread.start()
    try:
        with io.BufferedReader(_Pipe(reading, thread, errors), BLOCK_BYTES) as stream:
            yield stream
    finally:
        thread.join()  # nobody reads any more, so its next write ends it


class _Pipe(io.FileIO):
    """The pipe's end that is read; it ends well only if the other end has."""

    def __init__(self, descriptor: int, thread: threading.Thread, errors: list[BaseException]) -> None:
        super().__init__(descriptor)
        self._thread = thread
        self._errors = errors

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        if not count:
            self._thread.join()
            if self._errors:
                raise self._errors[0]
        return count

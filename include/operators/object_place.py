"""Object stores as places of second copies, by the file systems that Airflow's providers bring."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk.io import ObjectStoragePath, get_fs, has_fs
from fsspec.spec import AbstractBufferedFile

from include.backup.copy_folder import FolderPlace
from include.backup.copy_place import BLOCK_BYTES, CopyPlace, place_errors
from include.backup.errors import PrerequisiteError, TemporaryError
from include.backup.masking import mask
from include.operators.connections import require_connection

log = logging.getLogger(__name__)

PACKAGES = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "sftp": "apache-airflow-providers-sftp[sshfs]",
}

# Their objects appear whole or not at all. Elsewhere (SFTP, WebDAV, HDFS) a file is renamed when it is complete.
APPEARS_WHOLE = {"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "adl"}


@dataclass(frozen=True)
class ObjectPlace:
    """
    A part of an object store.

    Args:
        filesystem: Of fsspec, logged in.
        root: As the file system names it, without a / at the end.
        url: Its address for people.
        scheme: Of the address.
    """

    filesystem: Any
    root: str
    url: str
    scheme: str

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def names(self) -> list[str]:
        """Return the names of the objects in it; an object store does not know an empty folder, so [] is no error."""
        with place_errors(f"cannot list {self.url}"):
            self.filesystem.invalidate_cache()
            try:
                found = self.filesystem.ls(self.root, detail=False)
            except FileNotFoundError:
                return []
            return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the object's content in blocks, as the store hands it out now."""
        path, doing = self._path(name), f"cannot read {self.url}/{name}"
        with place_errors(doing):
            self.filesystem.invalidate_cache()
            is_there = self.filesystem.exists(path)
        if not is_there:
            raise FileNotFoundError(path)
        with place_errors(doing), self.filesystem.open(path, "rb", block_size=BLOCK_BYTES, cache_type="none") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write the object, in parts if it is large; what was begun and not finished is given up."""
        direct = self.scheme in APPEARS_WHOLE
        path = self._path(name if direct else f".{name}.partial")
        with place_errors(f"cannot write {self.url}/{name}"):
            with self._new_object(path) as file:
                for block in blocks:
                    file.write(block)
            if not direct:
                self.filesystem.mv(path, self._path(name))

    @contextmanager
    def _new_object(self, path: str) -> Iterator[Any]:
        file = self.filesystem.open(path, "wb", block_size=BLOCK_BYTES)
        try:
            yield file
            file.close()
        except BaseException:
            _give_up(file)
            raise

    def remove(self, name: str) -> None:
        """Remove the object; one that is gone already is no error."""
        with place_errors(f"cannot remove {self.url}/{name}"):
            try:
                self.filesystem.rm_file(self._path(name))
            except FileNotFoundError:
                return


def _give_up(file: Any) -> None:
    """Forget what was written: closing the file, which its __del__ does as well, would publish the part."""
    if not isinstance(file, AbstractBufferedFile):
        file.close()
        return
    try:
        file.discard()
    except Exception as error:  # noqa: BLE001 - the first error counts, and this one has most often the same cause
        log.warning("parts of an upload are left over, a rule of the bucket has to remove them: %s", mask(str(error)))
    finally:
        file.closed = True


def open_place(url: str) -> CopyPlace:
    """
    Return the place behind an address.

    Args:
        url: BACKUP_COPY_URL; the login comes from the Airflow connection before the @, as in Airflow's own addresses.

    Raises:
        PrerequisiteError: If nothing that is installed serves the scheme, or the connection is missing.
        BackupError, TemporaryError: If the library of the scheme cannot begin.
    """
    parts = urlsplit(url)
    connection_name, _, bucket = parts.netloc.rpartition("@")
    shown = parts._replace(netloc=bucket).geturl().rstrip("/")
    if parts.scheme == "file":
        return FolderPlace(Path(parts.path))
    if not has_fs(parts.scheme):
        package = PACKAGES.get(parts.scheme, "the Airflow provider that serves it")
        raise PrerequisiteError(f"BACKUP_COPY_URL: nothing installed serves {parts.scheme}://; install {package}")
    if connection_name:
        require_connection(connection_name)
    try:
        with place_errors(f"cannot open {shown}"):
            filesystem = get_fs(parts.scheme, connection_name or None)
            return ObjectPlace(filesystem, ObjectStoragePath(shown).path.rstrip("/"), shown, parts.scheme)
    except TemporaryError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        package = PACKAGES.get(parts.scheme, "what the provider asks for")
        raise PrerequisiteError(f"BACKUP_COPY_URL: {parts.scheme}:// needs more; install {package}") from error

"""An object store as the place of second copies: a real S3-compatible server, through Airflow's own connection."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import secrets
import socket
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from include.backup.archive_name import sidecar_path
from include.backup.copy_place import BLOCK_BYTES, CopyPlace
from include.backup.errors import BackupError, PrerequisiteError, TemporaryError, VerificationError
from include.backup.second_copy import PROBE, check_place, copy_archive
from include.demo.ports import free_port
from include.operators.object_place import ObjectPlace, open_place
from tests.fix_copies import content_of, make_archive
from tests.fix_object_store import PUT_AND_GET, PUT_GET_AND_DELETE, Login, ObjectStore

Open = Callable[..., CopyPlace]

LARGE_BYTES = 2 * BLOCK_BYTES + 12_345  # three parts


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    return object_store.bucket()


@pytest.fixture
def open_bucket(object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open the bucket as BACKUP_COPY_URL would, with a login that may do these things, over this port."""

    def open_it(*actions: str, login: Login | None = None, port: int | None = None) -> CopyPlace:
        login = login or object_store.login(*(actions or PUT_GET_AND_DELETE))
        name = f"copy_{secrets.token_hex(4)}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", object_store.connection(login, port=port))
        return open_place(f"s3://{name}@{bucket}/critical/backups")

    return open_it


class CutLine:
    """A way to the server that is cut after so many bytes, and stays so."""

    def __init__(self, server_port: int, cut_after: int) -> None:
        self._server_port, self._left = server_port, cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while self._left > 0 and (data := source.recv(65536)):
                self._left -= len(data) * counted
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()


@dataclasses.dataclass(frozen=True)
class AlteringPlace(ObjectPlace):
    """A place in which somebody else writes to what has just been written."""

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        super().write(name, blocks)
        super().write(name, [b"something else"])


def uploads(object_store: ObjectStore, bucket: str) -> list[object]:
    """Return the uploads that were begun and not finished: nobody sees them, and they are paid for."""
    return list(object_store.client().list_multipart_uploads(Bucket=bucket).get("Uploads", ()))


def test_copy_of_several_parts_is_whole_and_proven(
    tmp_path: Path, object_store: ObjectStore, bucket: str, open_bucket: Open
) -> None:
    """What the vendor's own library fetches afterwards is the archive; the ETag is no digest of it."""
    archive, sidecar = make_archive(tmp_path / "backups", size=LARGE_BYTES)
    place = open_bucket()
    record = copy_archive(archive, sidecar, place)
    content = object_store.content(bucket)
    assert content == {f"critical/backups/{path.name}": path.read_bytes() for path in (archive, sidecar_path(archive))}
    assert record.url == f"s3://{bucket}/critical/backups/{archive.name}"
    head = object_store.client().head_object(Bucket=bucket, Key=f"critical/backups/{archive.name}")
    assert head["ETag"].endswith('-3"')
    assert sorted(place.names()) == sorted((archive.name, sidecar_path(archive).name))
    assert uploads(object_store, bucket) == []


def test_memory_does_not_grow_with_the_archive(tmp_path: Path, open_bucket: Open) -> None:
    """An archive of eight blocks takes no more than a few of them, written and read back."""
    archive, sidecar = make_archive(tmp_path / "backups", size=8 * BLOCK_BYTES)
    place = open_bucket()
    check_place(place)  # what is loaded once
    tracemalloc.start()
    try:
        copy_archive(archive, sidecar, place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * BLOCK_BYTES


def test_object_altered_after_writing_is_found_by_reading_it_back(tmp_path: Path, open_bucket: Open) -> None:
    """The server's answer to the upload was right."""
    archive, sidecar = make_archive(tmp_path / "backups")
    place = AlteringPlace(**vars(open_bucket()))
    with pytest.raises(VerificationError, match="was altered between writing and reading it back"):
        copy_archive(archive, sidecar, place)
    assert place.names() == [archive.name]


def test_other_object_of_that_name_stays(tmp_path: Path, open_bucket: Open) -> None:
    """Nothing is overwritten, though an object store would do it without a word."""
    archive, sidecar = make_archive(tmp_path / "backups")
    place = open_bucket()
    place.write(archive.name, [b"of another system"])
    with pytest.raises(BackupError, match="is there with other content"):
        copy_archive(archive, sidecar, place)
    assert content_of(place, archive.name) == b"of another system"


@pytest.mark.parametrize("blocks", [1, 3])
def test_writing_that_stops_leaves_no_object_and_no_upload(
    object_store: ObjectStore, bucket: str, open_bucket: Open, blocks: int
) -> None:
    """Closing such a file, as the library does when it forgets it, would publish what there is."""

    def stopping() -> Iterator[bytes]:
        for _ in range(blocks):
            yield b"x" * (BLOCK_BYTES - 1)
        raise VerificationError("the archive has changed")

    place = open_bucket()
    with pytest.raises(VerificationError, match="the archive has changed"):
        place.write("archive", stopping())
    gc.collect()
    assert object_store.content(bucket) == {}
    assert uploads(object_store, bucket) == []


def test_connection_cut_in_the_middle_is_tried_again_and_completed(
    tmp_path: Path, object_store: ObjectStore, bucket: str, open_bucket: Open
) -> None:
    """Nothing has the archive's name until the next try has all of it."""
    archive, sidecar = make_archive(tmp_path / "backups", size=LARGE_BYTES)
    line = CutLine(object_store.port, cut_after=BLOCK_BYTES + 100_000)
    try:
        with pytest.raises(TemporaryError, match=rf"cannot write s3://{bucket}/critical/backups/{archive.name}: "):
            copy_archive(archive, sidecar, open_bucket(port=line.port))
    finally:
        line.close()
    gc.collect()
    assert object_store.content(bucket) == {}
    copy_archive(archive, sidecar, open_bucket())
    assert object_store.content(bucket)[f"critical/backups/{archive.name}"] == archive.read_bytes()


def test_server_that_is_down_is_tried_again(open_bucket: Open) -> None:
    """The message names the place, and that it was not reached."""
    with pytest.raises(TemporaryError, match=r"critical/backups/.*connect.*check that it can be reached"):
        check_place(open_bucket(port=free_port()))


def test_wrong_key_is_final_and_not_in_the_message(object_store: ObjectStore, open_bucket: Open) -> None:
    """No waiting makes it right."""
    login = Login(object_store.login(*PUT_AND_GET).key, "a-secret-that-is-wrong")
    with pytest.raises(BackupError, match=r"signature.*; check the rights there, and the login") as caught:
        check_place(open_bucket(login=login))
    assert not isinstance(caught.value, TemporaryError)
    assert "a-secret-that-is-wrong" not in str(caught.value)


def test_login_that_may_only_read_is_found_by_the_check(open_bucket: Open) -> None:
    """Before work starts, not when the copy is due."""
    with pytest.raises(BackupError, match=r"cannot write .*Access Denied; check the rights there"):
        check_place(open_bucket("s3:GetObject", "s3:ListBucket"))


def test_login_that_may_only_write_is_found_by_the_check(open_bucket: Open) -> None:
    """A copy that cannot be read is not proven."""
    with pytest.raises(BackupError, match=r"cannot read .*; check the rights there"):
        check_place(open_bucket("s3:PutObject", "s3:ListBucket"))


def test_check_leaves_nothing_where_it_may_remove_and_one_object_where_not(
    object_store: ObjectStore, bucket: str, open_bucket: Open
) -> None:
    """A login that may remove nothing is what the documentation recommends."""
    check_place(open_bucket(*PUT_GET_AND_DELETE))
    assert object_store.content(bucket) == {}
    for _ in range(2):
        check_place(open_bucket(*PUT_AND_GET))
    assert list(object_store.content(bucket)) == [f"critical/backups/{PROBE}"]


def test_bucket_that_is_not_there_is_named_and_not_made(object_store: ObjectStore, open_bucket: Open) -> None:
    """A typing error must not become a bucket."""
    place = dataclasses.replace(open_bucket("*"), root="no-such-bucket", url="s3://no-such-bucket")  # type: ignore[type-var]
    with pytest.raises(BackupError, match=r"s3://no-such-bucket/.*bucket does not exist; check BACKUP_COPY_URL"):
        check_place(place)
    assert "no-such-bucket" not in [entry["Name"] for entry in object_store.client().list_buckets()["Buckets"]]


def test_scheme_that_nothing_serves_names_the_package() -> None:
    """One clear line instead of a traceback."""
    with pytest.raises(
        PrerequisiteError, match=r"nothing installed serves gs://; install apache-airflow-providers-goo"
    ):
        open_place("gs://offsite@bucket/backups")


def test_provider_without_its_library_names_the_package(open_bucket: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The amazon provider alone does not serve s3://."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(PrerequisiteError, match=r"install apache-airflow-providers-amazon\[s3fs\]"):
        open_bucket()


def test_connection_that_is_missing_is_named() -> None:
    """The provider itself would go on without a login."""
    with pytest.raises(PrerequisiteError, match="Airflow has no connection offsite"):
        open_place("s3://offsite@bucket/backups")


def test_file_system_that_shows_half_a_file_is_written_under_another_name(tmp_path: Path) -> None:
    """SFTP and the like: the name is there when the content is."""
    place = ObjectPlace(LocalFileSystem(), str(tmp_path), "sftp://host/backups", "sftp")

    def looking() -> Iterator[bytes]:
        yield b"first half, "
        assert not (tmp_path / "archive").exists()
        yield b"second half"

    place.write("archive", looking())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"archive": b"first half, second half"}

"""Names and paths that are none of an archive's, sent raw to a real api-server: nothing else ever comes out."""

from __future__ import annotations

import http.client
import os
from urllib.parse import quote, urlsplit

import pytest

from include.backup.link import KEY_FILE, signed_link
from include.backup.manifest import sidecar_path
from tests.fix_api_server import ApiServer, PutArchive
from tests.fix_archives import NOW, publish_archive

NAME = "critical_backup_20261120_020004.tar.gz"
SECRET = "what lies elsewhere"

STRANGE_NAMES = [
    "..",
    "../..",
    "../secret",
    f"../{NAME}",
    f"./{NAME}",
    f"x/../{NAME}",
    f".work/../{NAME}",
    "/etc/passwd",
    f"//{NAME}",
    "..\\secret",
    ".last_backup_success",
    ".last_backup_size_mb",
    ".work",
    ".work/run",
    ".link_key",
    ".unsent",
    NAME.replace(".tar.gz", ".manifest.json"),
    NAME.replace(".tar.gz", ".drill.json"),
    NAME.replace(".tar.gz", ".delivery.json"),
    f"{NAME}\n",
    f"\n{NAME}",
    f"{NAME}\r\nX-Injected: 1",
    f"{NAME}\0",
    f"{NAME}\0.png",
    f"{NAME} ",
    f"{NAME}.",
    f".{NAME}.partial",
    NAME.upper(),
    NAME.replace("2", "\uff12"),
    NAME.replace("2026", "2025"),
    NAME.removesuffix(".gz"),
    "critical_backup_*.tar.gz",
    "critical_backup_[0-9]*",
    "{name}",
    "%s%n",
    "%2e%2e%2fsecret",
    "a" * 5000,
    "critical_backup_" + "2" * 3000,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "ชื่อ",
    "'; DROP TABLE log; --",
    "<script>alert(1)</script>",
]


def fetch(server: ApiServer, target: str, accept: str = "*/*", method: str = "GET") -> tuple[int, bytes, str]:
    """Send exactly this request target, which clients would tidy up; return status, body and headers."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=30)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {server.token('admin')}")
        connection.putheader("Accept", accept)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), str(answer.headers)
    finally:
        connection.close()


@pytest.fixture
def full_server(api_server: ApiServer, put_archive: PutArchive) -> ApiServer:
    """Everything that lies in a BACKUP_DIR, each with the secret in it, and the secret beside it."""
    folder = api_server.backup_dir
    (folder.parent / "secret").write_text(SECRET)
    (folder.parent / NAME).write_text(SECRET)
    archive = put_archive()
    for companion in (".drill.json", ".delivery.json", ".manifest.json"):
        (folder / NAME.replace(".tar.gz", companion)).write_text(SECRET)
    (folder / f".{NAME}.partial").write_text(SECRET)
    (folder / ".work" / "run").mkdir(parents=True)
    (folder / ".work" / "run" / NAME).write_text(SECRET)
    signed_link(archive, "https://x", works_until=NOW)
    return api_server


@pytest.mark.parametrize("name", STRANGE_NAMES, ids=lambda name: repr(name[:40]))
def test_strange_name_is_no_archive(full_server: ApiServer, name: str) -> None:
    """However it is encoded, no name but an archive's gives more than an error, and the error echoes no HTML."""
    key = (full_server.backup_dir / KEY_FILE).read_bytes()
    once = quote(name, safe="")
    for written in {once, quote(once, safe=""), quote(name, safe="/\\'<>;*{}[]")}:
        for rest in ("", "/download", "/download/", "/../download"):
            for accept in ("*/*", "text/html"):
                status, body, headers = fetch(full_server, f"/backup/archives/{written}{rest}", accept)
                # What holds no /backup/archives/… any more when it is tidied up belongs to Airflow's own pages.
                assert status in {200, 400, 404, 414}
                assert status != 200 or b"<title>Airflow" in body
                assert SECRET.encode() not in body
                assert key not in body
                assert b"<script>alert" not in body
                assert "X-Injected" not in headers


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "TRACE"])
def test_other_methods_do_nothing(full_server: ApiServer, method: str) -> None:
    """405, and the archive is still there."""
    (archive,) = full_server.backup_dir.glob("critical_backup_*.tar.gz")
    for rest in ("", "/download"):
        assert fetch(full_server, f"/backup/archives/{archive.name}{rest}", method=method)[0] == 405
    assert archive.exists()


def test_archive_that_is_a_link_is_none(api_server: ApiServer, put_archive: PutArchive) -> None:
    """A symbolic link, also to a real archive, a folder and a pipe of an archive's name: not served, not listed."""
    real = put_archive()
    outside = api_server.backup_dir.parent / "outside.tar.gz"
    outside.write_text(SECRET)
    names = [publish_archive(api_server.backup_dir, hours_old=hours, succeeded=False) for hours in (27, 51, 75, 99)]
    for name in names:
        name.unlink()
    names[0].symlink_to(outside)
    names[1].symlink_to(real)
    names[2].mkdir()
    os.mkfifo(names[3])
    for path in names:
        assert sidecar_path(path).exists()
        for rest in ("", "/download"):
            assert api_server.get(f"/backup/archives/{path.name}{rest}", "admin").status_code == 404
    listed = api_server.get("/backup/history", "admin").json()["archives"]
    assert [archive["name"] for archive in listed] == [real.name]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=201", "limit=1e3", "limit=٣٠٠", "offset=-1", "offset=" + "9" * 400, "limit="],
)
def test_page_that_is_none_is_refused(api_server: ApiServer, query: str) -> None:
    """422, with the field's name: nothing is guessed."""
    answer = api_server.get(f"/backup/history?{query}", "viewer")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "query"


def test_header_that_is_too_long_is_refused(full_server: ApiServer) -> None:
    """A range header of a megabyte: an error, and the server goes on."""
    (archive,) = full_server.backup_dir.glob("critical_backup_*.tar.gz")
    path = f"/backup/archives/{archive.name}/download"
    assert full_server.get(path, "admin", Range="bytes=" + "0-0," * 250_000).status_code in (200, 400, 431)
    assert full_server.get(path, "admin").status_code == 200

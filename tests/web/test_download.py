"""`GET /backup/archives/{name}/download` of a real api-server, with httpx and curl."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.link import KEY_FILE, signed_link
from include.backup.settings import BYTES_PER_MB
from tests.fix_airflow import LocalAirflow, Site
from tests.fix_api_server import ApiServer, PutArchive
from tests.fix_archives import ENCRYPTION, publish_archive

LARGE_MB = 300
MOST_GROWTH_MB = 8


def path_of(archive: Path) -> str:
    """Return where the archive is fetched."""
    return f"/backup/archives/{archive.name}/download"


def link_to(archive: Path, **ahead: float) -> str:
    """Return path and query of a link to the archive, as a mail has it, that works so long from now on."""
    until = datetime.now(timezone.utc) + timedelta(**ahead)
    link = urlsplit(signed_link(archive, "https://airflow.example.com", works_until=until).url)
    return f"{link.path}?{link.query}"


def curl(server: ApiServer, archive: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run curl as a user would, with his token."""
    command = ["curl", "-fsS", "-H", f"Authorization: Bearer {server.token('user')}", *options]
    return subprocess.run([*command, server.address + path_of(archive)], capture_output=True, text=True, check=False)


def test_download_is_the_archive(api_server: ApiServer, put_archive: PutArchive) -> None:
    """Byte for byte, under its name, its SHA-256 as the ETag, never compressed once more."""
    archive = put_archive()
    for encoding in ("identity", "gzip, br"):
        answer = api_server.get(path_of(archive), "user", Accept_Encoding=encoding)
        assert answer.status_code == 200
        assert answer.content == archive.read_bytes()
        assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{archive.name}"'
        assert answer.headers["Content-Type"] == "application/gzip"
        assert answer.headers["Content-Length"] == str(len(answer.content))
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Encoding" not in answer.headers


def test_download_of_an_encrypted_archive_is_the_file_as_it_lies_there(
    api_server: ApiServer, put_archive: PutArchive
) -> None:
    """It is no gzip to a browser, which would unpack it; and it is not compressed once more, nor are its ranges."""
    archive = put_archive(encryption=ENCRYPTION)
    for encoding in ("identity", "gzip, br"):
        answer = api_server.get(path_of(archive), "user", Accept_Encoding=encoding)
        assert (answer.status_code, answer.content) == (200, archive.read_bytes())
        assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{archive.name}"'
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Length"] == str(len(answer.content))
        part = api_server.get(path_of(archive), "user", Accept_Encoding=encoding, Range="bytes=1000000-")
        assert (part.status_code, part.content) == (206, answer.content[1_000_000:])
    assert archive.name.endswith(".tar.gz.age")


def test_head_describes_the_download_and_is_none(
    api_server: ApiServer, put_archive: PutArchive, downloads: Callable[[], list[dict[str, object]]]
) -> None:
    """HEAD has the headers of GET, no body, and is not on record as a download."""
    archive = put_archive()
    with api_server.client("user") as client:
        head, get = client.head(path_of(archive)), None
        assert (head.status_code, head.content) == (200, b"")
        assert downloads() == []
        get = client.get(path_of(archive))
    names = ("ETag", "Content-Length", "Accept-Ranges", "Content-Disposition", "Content-Type")
    assert [head.headers[name] for name in names] == [get.headers[name] for name in names]


@pytest.mark.parametrize(
    ("range_", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-", 1_000_000, None),
        ("bytes=-5", -5, None),
        ("bytes=7-999999999999", 7, None),
    ],
)
def test_range_gives_that_part(
    api_server: ApiServer, put_archive: PutArchive, range_: str, first: int, end: int | None
) -> None:
    """206 with exactly these bytes, also where the client takes gzip."""
    archive = put_archive()
    answer = api_server.get(path_of(archive), "user", Range=range_, Accept_Encoding="gzip")
    size = archive.stat().st_size
    start = first % size
    assert (answer.status_code, answer.content) == (206, archive.read_bytes()[first:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(answer.content) - 1}/{size}"


@pytest.mark.parametrize(
    "range_",
    [
        "bytes=0-0,2-2",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 10_000, 2)),
        "bytes=0-," * 3000,
        "bytes=5-2",
        "bytes=--5",
        "bytes=-",
        "bytes=",
        "bytes",
        "bytes=٣-",
        "bytes=0x0-",
        "bytes=0-1_0",
        "bytes=0-" + "9" * 5000,
        "bytes=" + "9" * 5000 + "-",
        "lines=0-1",
    ],
)
def test_range_that_is_not_one_is_ignored(api_server: ApiServer, put_archive: PutArchive, range_: str) -> None:
    """Several ranges, thousands of them, other units, nonsense: the whole archive, once, as RFC 9110 14.2 allows."""
    archive = put_archive()
    with api_server.client("user") as client:
        answer = client.get(path_of(archive), headers=[(b"Range", range_.encode())])
    assert (answer.status_code, answer.content) == (200, archive.read_bytes())


@pytest.mark.parametrize("range_", ["bytes=99999999-", "bytes=999999999999999999-", "bytes=-0"])
def test_range_after_the_end_is_refused(api_server: ApiServer, put_archive: PutArchive, range_: str) -> None:
    """416, with the size that there is."""
    archive = put_archive()
    answer = api_server.get(path_of(archive), "user", Range=range_)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{archive.stat().st_size}")


def test_range_of_another_archive_is_not_gone_on_with(api_server: ApiServer, put_archive: PutArchive) -> None:
    """If-Range with this archive's ETag gives the rest; with another one, or a weak one, the whole."""
    archive = put_archive()
    etag = api_server.get(path_of(archive), "user").headers["ETag"]
    for tag, status in ((etag, 206), (f'"{"0" * 64}"', 200), (f"W/{etag}", 200), ("nonsense", 200)):
        assert api_server.get(path_of(archive), "user", Range="bytes=9-", If_Range=tag).status_code == status


def test_curl_resumes_what_broke_off(api_server: ApiServer, put_archive: PutArchive, tmp_path: Path) -> None:
    """A part of the file is there: `curl -C -` fetches the rest only, and the whole is the archive."""
    archive, target = put_archive(), tmp_path / "fetched.tar.gz"
    target.write_bytes(archive.read_bytes()[:1_500_000])
    result = curl(api_server, archive, "-C", "-", "-o", str(target), "-w", "%{http_code} %{size_download}")
    assert result.stdout == f"206 {archive.stat().st_size - 1_500_000}", result.stderr
    assert target.read_bytes() == archive.read_bytes()


def test_download_is_in_the_audit_log(
    api_server: ApiServer, put_archive: PutArchive, downloads: Callable[[], list[dict[str, object]]]
) -> None:
    """Who fetched which archive, of it which part, and whether a mail's link led there; refused ones are not in it."""
    archive = put_archive()
    for user, path in (
        ("viewer", path_of(archive)),
        ("admin", f"{path_of(archive)}?expires=1"),
        (None, path_of(archive)),
    ):
        assert api_server.get(path, user).status_code in (401, 403)
    api_server.get(path_of(archive), "user")
    api_server.get(link_to(archive, days=1), "admin", Range="bytes=5-")
    seen = [(entry["owner"], entry["dag_id"], json.loads(str(entry["extra"]))) for entry in downloads()]
    assert seen == [
        ("user", "critical_backup", {"archive": archive.name, "range": "", "by_link": False}),
        ("admin", "critical_backup", {"archive": archive.name, "range": "bytes=5-", "by_link": True}),
    ]
    assert f"refused: 'admin' with a link: '{path_of(archive)}'" in api_server.log


def test_link_from_a_mail_opens_for_who_may_fetch(api_server: ApiServer, put_archive: PutArchive) -> None:
    """The signature alone opens nothing: the login and the right are asked for as well."""
    archive = put_archive()
    link = link_to(archive, days=7)
    assert [api_server.get(link, who).status_code for who in (None, "viewer", "user")] == [401, 403, 200]
    assert api_server.get(link, "user").content == archive.read_bytes()


def test_link_that_has_expired_says_since_when_and_what_to_do(api_server: ApiServer, put_archive: PutArchive) -> None:
    """403 in words: a page for a person, the same sentence as JSON for a program."""
    archive = put_archive()
    link = link_to(archive, minutes=-1)
    page = api_server.get(link, "user", Accept="text/html")
    detail = api_server.get(link, "user").json()["detail"]
    assert [page.status_code, api_server.get(link, "user").status_code] == [403, 403]
    assert detail.startswith(f"this link worked until {datetime.now(timezone.utc):%Y-%m-}")
    assert "open the status page of the backups and download the archive there" in detail
    assert detail[1:] in page.text
    assert 'href="/backup/"' in page.text


@pytest.mark.parametrize(
    "altered",
    [
        lambda link: link.replace("expires=1", "expires=2"),
        lambda link: link[:-1],
        lambda link: link.partition("&")[0],
        lambda link: link.replace("?expires=", "?x="),
        lambda link: f"{link}&signature={'A' * 43}",
        lambda link: f"{link}&expires=99999999999",
        lambda link: f"{link.partition('?')[0]}?expires=&signature=",
    ],
)
def test_link_that_was_altered_is_refused(
    api_server: ApiServer, put_archive: PutArchive, altered: Callable[[str], str]
) -> None:
    """Another expiry, a part cut off, a value twice: 403 for everybody, the administrator too."""
    answer = api_server.get(altered(link_to(put_archive(), days=1)), "admin")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("this link is not one that was sent from here")


def test_link_does_not_open_another_archive(api_server: ApiServer, put_archive: PutArchive) -> None:
    """A signature belongs to its archive."""
    one, other = put_archive(), put_archive(hours_old=27)
    assert api_server.get(link_to(one, days=1).replace(one.name, other.name), "user").status_code == 403


def test_links_are_void_when_the_key_is_removed(api_server: ApiServer, put_archive: PutArchive) -> None:
    """Without its key no link opens; the page's own buttons go on to work, and the server makes no key."""
    archive = put_archive()
    link = link_to(archive, days=1)
    (api_server.backup_dir / KEY_FILE).unlink()
    assert [api_server.get(path, "user").status_code for path in (link, path_of(archive))] == [403, 200]
    assert not (api_server.backup_dir / KEY_FILE).exists()


def test_archive_that_is_not_the_verified_one_is_not_served(api_server: ApiServer, put_archive: PutArchive) -> None:
    """409 and why: it was cut off, or its manifest is damaged or gone."""
    cut, damaged, alone = (put_archive(hours_old=hours) for hours in (3, 27, 51))
    cut.write_bytes(cut.read_bytes()[:-1])
    sidecar_path(damaged).write_text("{")
    sidecar_path(alone).unlink()
    for archive, why in ((cut, "when it was verified"), (damaged, "manifest is damaged"), (alone, "cannot be read")):
        answer = api_server.get(path_of(archive), "user")
        assert answer.status_code == 409
        assert why in answer.json()["detail"]


def test_mail_of_a_run_leads_to_the_download(
    api_server: ApiServer, airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link in the mail of a real run, opened at a real api-server, gives the archive that the run made."""
    monkeypatch.setenv("BACKUP_DIR", str(api_server.backup_dir))
    monkeypatch.setenv("BACKUP_ATTACHMENT_MAX_MB", "0")
    monkeypatch.setenv("BACKUP_LINK_BASE_URL", api_server.address)
    assert airflow.run(airflow.trigger()).state == "success"
    (mail,) = {path.read_text().partition("\n\n")[2] for path in site.backup_mails[:1]}
    plain = mail.replace("=\n", "").replace("=3D", "=")
    link = plain.partition("Download: ")[2].split()[0]
    answer = api_server.get(link.removeprefix(api_server.address), "user")
    (archive,) = api_server.backup_dir.glob("critical_backup_*.tar.gz")
    assert (answer.status_code, answer.content) == (200, archive.read_bytes())


def test_large_archive_costs_no_memory(api_server: ApiServer, put_archive: PutArchive, tmp_path: Path) -> None:
    """300 MB are streamed: the server's peak grows by a few MB at most."""
    curl(api_server, put_archive(), "-o", "/dev/null")  # what a first download loads
    large = publish_archive(api_server.backup_dir, hours_old=30, size=LARGE_MB * BYTES_PER_MB)
    process = Path("/proc") / str(api_server.pid)
    (process / "clear_refs").write_text("5")  # proc(5): the peak is the present size again
    before = memory_mb(process, "VmRSS")
    begin = time.monotonic()
    result = curl(api_server, large, "-o", str(tmp_path / "large"), "-w", "%{size_download}")
    seconds = time.monotonic() - begin
    growth = memory_mb(process, "VmHWM") - before
    print(f"{LARGE_MB} MB in {seconds:.1f} s, the api-server's peak grew by {growth:.1f} MB")
    assert result.stdout == str(LARGE_MB * BYTES_PER_MB)
    assert growth < MOST_GROWTH_MB


def memory_mb(process: Path, field: str) -> float:
    """Return a figure of /proc/PID/status."""
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024

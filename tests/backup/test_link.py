"""Signed links: only what was made here for this archive opens, and only until its moment."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from include.backup.errors import BackupError, LinkError
from include.backup.link import KEY_BYTES, KEY_FILE, check_link, signed_link

NAME = "critical_backup_20261120_020004.tar.gz"
UNTIL = datetime(2026, 11, 27, 2, 0, 4, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
VOID = "this link is not one that was sent from here"


def query_of(folder: Path, until: datetime = UNTIL) -> dict[str, str]:
    """Return the query of a link to the archive."""
    return dict(parse_qsl(urlsplit(signed_link(folder / NAME, "https://x", works_until=until).url).query))


def test_link_leads_to_the_archive_and_opens_until_its_moment(tmp_path: Path) -> None:
    """Address, expiry in unix seconds, signature; the last second counts, the next one does not."""
    link = signed_link(tmp_path / NAME, "https://air.example.com/x", works_until=UNTIL + timedelta(microseconds=7))
    begin = f"https://air.example.com/x/backup/archives/{NAME}/download?expires=1795744804&signature="
    assert re.fullmatch(re.escape(begin) + "[A-Za-z0-9_-]{43}", link.url)
    assert link.works_until == UNTIL
    query = dict(parse_qsl(urlsplit(link.url).query))
    check_link(tmp_path, NAME, **query, now=UNTIL)
    with pytest.raises(LinkError, match="this link worked until 2026-11-27 02:00 UTC; open the status page"):
        check_link(tmp_path, NAME, **query, now=UNTIL + SECOND)


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "1795744805"},
        {"expires": "01795744804"},
        {"expires": " 1795744804"},
        {"expires": "1795744804\n"},
        {"expires": "١٧٩٥٧٤٤٨٠٤"},
        {"expires": "-1"},
        {"expires": ""},
        {"expires": "9" * 5000},
        {"signature": ""},
        {"signature": "A" * 43},
        {"signature": "ü" * 43},
        {"signature": "\ud800"},
        {"name": NAME.replace("020004", "020005")},
        {"name": f"{NAME}\n1795744804"},
    ],
)
def test_link_altered_does_not_open(tmp_path: Path, change: dict[str, str]) -> None:
    """Another moment, another archive or another signature is refused, whatever stands there, and says what to do."""
    values = {"name": NAME} | query_of(tmp_path) | change
    with pytest.raises(LinkError, match=f"{VOID}.*open the status page"):
        check_link(tmp_path, **values, now=UNTIL)


@pytest.mark.parametrize("end", [-1, -2])
def test_link_cut_off_or_spelt_otherwise_does_not_open(tmp_path: Path, end: int) -> None:
    """No part of a signature is enough, and there is one way to write it: base64 would know several."""
    query = query_of(tmp_path)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bits = alphabet[alphabet.index(query["signature"][-1]) ^ 1]
    for signature in (query["signature"][:end], query["signature"][:-1] + same_bits, query["signature"] + "="):
        with pytest.raises(LinkError, match=VOID):
            check_link(tmp_path, NAME, expires=query["expires"], signature=signature, now=UNTIL)


def test_link_of_another_moment_that_is_over_does_not_tell_when(tmp_path: Path) -> None:
    """The signature is looked at first: nobody is told that a moment of his own making is over."""
    query = query_of(tmp_path) | {"expires": "1"}
    with pytest.raises(LinkError, match=VOID):
        check_link(tmp_path, NAME, **query, now=UNTIL)


def test_links_are_void_without_their_key(tmp_path: Path) -> None:
    """Removing the key voids all links; the next one made brings another key, which does not bring them back."""
    query = query_of(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(LinkError, match=VOID):
        check_link(tmp_path, NAME, **query, now=UNTIL)
    assert query_of(tmp_path) != query
    with pytest.raises(LinkError, match=VOID):
        check_link(tmp_path, NAME, **query, now=UNTIL)


def test_empty_key_signs_nothing(tmp_path: Path) -> None:
    """A key that was cut off is none: with it everybody could sign."""
    query = query_of(tmp_path)
    for content in (b"", b"\0" * (KEY_BYTES - 1), b"\0" * (KEY_BYTES + 1)):
        (tmp_path / KEY_FILE).write_bytes(content)
        with pytest.raises(LinkError, match=VOID):
            check_link(tmp_path, NAME, **query, now=UNTIL)
        with pytest.raises(BackupError, match=rf"{KEY_FILE} is not a key of 32 bytes.*remove it"):
            query_of(tmp_path)


def test_key_is_private_and_stays(tmp_path: Path) -> None:
    """0600 whatever the umask, 32 bytes, the same for all links, and nothing else is left in the folder."""
    before = os.umask(0)
    try:
        first = query_of(tmp_path)
    finally:
        os.umask(before)
    status = (tmp_path / KEY_FILE).stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, KEY_BYTES)
    assert query_of(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_key_made_by_several_at_once_is_one(tmp_path: Path) -> None:
    """Whoever sends the first mails at the same time: all their links open."""
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with ThreadPoolExecutor(8) as pool:
            queries = list(pool.map(query_of, [folder] * 8))
        assert queries == queries[:1] * 8
        check_link(folder, NAME, **queries[0], now=UNTIL)


def test_key_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever can place a name in the folder cannot let another file's known content be the key."""
    (tmp_path / "known").write_bytes(b"k" * KEY_BYTES)
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "known")
    with pytest.raises(BackupError, match="is not a key"):
        query_of(tmp_path)


def test_key_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """A folder that is gone is named."""
    with pytest.raises(BackupError, match=r"the key that signs links could not be made in .*gone: No such file"):
        query_of(tmp_path / "gone")

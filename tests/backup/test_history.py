"""What the mail says of the nights before: sizes, their picture, and tables that changed unusually."""

from __future__ import annotations

import re
import struct
import zlib
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.history import History, history_of, is_notable, read_history
from include.backup.letter import build_message
from include.backup.manifest import Sidecar
from include.backup.size_picture import HEIGHT_PIXELS, SLOT_PIXELS, size_picture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backup.conftest import MakeLetter
    from tests.fix_archives import MakeSidecar, MakeTable

NOW = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("earlier", "now", "notable"),
    [
        ([1000, 1000, 1000, 1000], 1101, True),
        ([1000, 1000, 1000, 1000], 1100, False),
        ([1000, 1000, 1000, 15], 15, False),  # it was in the mail of the night before
        ([1000, 1000, 1000, 15], 25, False),
        ([1000, 1000, 1000, 15], 1000, True),
        ([5, 5, 5, 5], 0, True),
        ([5, 5, 5, 0], 0, False),
        ([0, 0, 0, 0], 0, False),
        ([0, 0, 0, 0], 11, True),
        ([0, 300, 0, 300], 0, False),
        ([1000], 1101, True),
        ([1000, None], 1000, True),
        ([1000, 1000], None, True),
    ],
)
def test_change_is_notable_if_it_is_unusual_and_happened_now(
    earlier: list[int | None], now: int | None, *, notable: bool
) -> None:
    """Since the latest night; coming and going always are."""
    assert is_notable([rows for rows in earlier if rows is not None], earlier[-1], now) is notable


def nights(sidecar: MakeSidecar, sizes: dict[int, int], **changes: object) -> list[Sidecar]:
    """Return an archive for each number of days ago, of so many bytes."""
    return [sidecar(snapshot_at=NOW - ago * DAY, archive_bytes=size, **changes) for ago, size in sizes.items()]


def test_history_has_the_last_archive_of_each_of_fourteen_days(sidecar: MakeSidecar) -> None:
    """A night without an archive is a gap; older ones, other databases and later archives do not count."""
    other = sidecar().server.model_copy(update={"database": "other"})
    others = [
        *nights(sidecar, {15: 15, 14: 14, 1: 1, 3: 3}),
        sidecar(snapshot_at=NOW - 3 * DAY + timedelta(hours=5), archive_bytes=33),
        sidecar(snapshot_at=NOW - 2 * DAY, archive_bytes=2, server=other),
        sidecar(snapshot_at=NOW + DAY, archive_bytes=99),
        sidecar(snapshot_at=NOW - timedelta(hours=1), archive_bytes=98),
    ]
    history = history_of(sidecar(snapshot_at=NOW, archive_bytes=7), others, timezone.utc)
    assert [size for _, size in history.sizes] == [14, *[None] * 10, 33, None, 1, 7]
    assert history.usual_bytes == 14


def test_history_days_are_those_of_the_zone(sidecar: MakeSidecar) -> None:
    """20:00 UTC is the next day in Bangkok: two archives of one day there, of two in UTC."""
    archive = sidecar(snapshot_at=datetime(2026, 11, 20, 20, tzinfo=timezone.utc))
    earlier = sidecar(snapshot_at=datetime(2026, 11, 20, 16, tzinfo=timezone.utc))
    assert len(history_of(archive, [earlier], ZoneInfo("Asia/Bangkok")).nights) == 1
    assert history_of(archive, [earlier], timezone.utc).nights == ()


def test_history_names_tables_that_changed_came_and_went(sidecar: MakeSidecar, table: MakeTable) -> None:
    """Each with its rows then and now."""

    def of(ago: int, **rows: int) -> Sidecar:
        tables = tuple(table(name, "rows.sql", ("id",), rows=count) for name, count in rows.items())
        return sidecar(snapshot_at=NOW - ago * DAY, tables=tables)

    history = history_of(
        of(0, orders=15, users=1001, carts=0, coupons=8),
        [of(2, orders=1190, users=990, carts=70, logs=9), of(1, orders=1200, users=1000, carts=70, logs=9)],
        timezone.utc,
    )
    assert [str(change) for change in history.changes] == [
        "carts: became empty, 70 rows the night before",
        "coupons: new in the backup, 8 rows",
        "logs: no longer in the backup, 9 rows the night before",
        "orders: 1,200 → 15 rows (-98.8 %)",
    ]


def test_table_that_a_warning_names_is_not_named_again(sidecar: MakeSidecar, table: MakeTable) -> None:
    """A reader gets the same thing once."""
    orders = table("orders", "rows.sql", ("id",), rows=1200)
    before = sidecar(snapshot_at=NOW - DAY, tables=(orders, table("carts", "rows.sql", ("id",), rows=70)))
    now = sidecar(snapshot_at=NOW, tables=(table("orders", "rows.sql", ("id",), rows=0),))
    told = frozenset({orders.qualified})
    assert [str(c.table) for c in history_of(now, [before], timezone.utc).changes] == ["carts", "orders"]
    assert [str(c.table) for c in history_of(now, [before], timezone.utc, told=told).changes] == ["carts"]


def test_history_is_read_from_the_manifests_beside_the_archives(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """The archive itself is among them, and is not compared with itself."""
    archives = nights(sidecar, {0: 4, 1: 5, 2: 6})
    for one in archives:
        (tmp_path / one.archive).write_bytes(b"x" * one.archive_bytes)
        sidecar_path(tmp_path / one.archive).write_text(one.model_dump_json(by_alias=True))
    history = read_history(archives[0], tmp_path, timezone.utc)
    assert [night.archive_bytes for night in history.nights] == [6, 5]


def pixels(png: bytes) -> list[bytes]:
    """Return the rows of colour numbers of a PNG; every chunk's checksum is right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    content = zlib.decompress(chunks[b"IDAT"])
    assert len(content) == (width + 1) * height
    return [content[row * (width + 1) + 1 : (row + 1) * (width + 1)] for row in range(height)]


def test_picture_has_a_bar_as_high_as_each_size() -> None:
    """In proportion, from zero; this archive in another colour; a line where there is none."""
    rows = pixels(size_picture([50, None, 100, 25]))
    middles = [SLOT_PIXELS * slot + SLOT_PIXELS // 2 for slot in range(4)]
    columns = [bytes(row[middle] for row in rows) for middle in middles]
    assert [HEIGHT_PIXELS - column.count(0) for column in columns] == [48, 3, 96, 24]
    assert [column[-1] for column in columns] == [1, 3, 1, 2]
    assert rows[-1][0] == 0, "there is room between the bars"


def test_mail_shows_picture_and_changes(letter: MakeLetter, sidecar: MakeSidecar, table: MakeTable) -> None:
    """The picture is a part of the mail, shown by its id; the text has the same figures."""
    before = sidecar(snapshot_at=NOW - DAY, tables=(table("orders", "a.sql", ("id",), rows=70),), archive_bytes=3 << 20)
    one = letter()
    history = History(one.sidecar, (before,), timezone.utc)
    content = b"".join(build_message(letter(history=history), sender="b@x.org", recipients=("a@x.org",)).blocks())
    message = message_from_bytes(content, policy=policy.default)
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert html is not None
    for part in (plain, html):
        text = part.get_content()
        assert "orders: no longer in the backup, 70 rows the night before" in text
        assert "usually 3.0 MB (median of 1)" in text
    (source,) = re.findall(r'src="([^"]+)"', html.get_content())
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert source == "cid:" + picture["Content-ID"].strip("<>")
    assert pixels(picture.get_content())
    assert [part.get_content_type() for part in message.iter_attachments()] == ["application/gzip"]


def test_mail_does_not_say_that_nothing_changed_where_a_warning_says_it_did(
    letter: MakeLetter, sidecar: MakeSidecar, table: MakeTable
) -> None:
    """It points to the warnings instead, in both of its parts."""
    orders = table("orders", "a.sql", ("id",), rows=70)
    one = letter(tables=(orders.model_copy(update={"rows": 0}),))
    before = sidecar(snapshot_at=NOW - DAY, tables=(orders,))
    for told, said in ((frozenset({orders.qualified}), "stands in the warnings above"), (frozenset(), "became empty")):
        history = History(one.sidecar, (before,), timezone.utc, told)
        mail = letter(tables=one.sidecar.tables, history=history)
        content = b"".join(build_message(mail, sender="b@x.org", recipients=("a@x.org",)).blocks())
        message = message_from_bytes(content, policy=policy.default)
        for kind in ("plain", "html"):
            part = message.get_body((kind,))
            assert part is not None
            assert said in part.get_content()
            assert "No table grew or shrank" not in part.get_content()


def test_mail_of_the_first_night_has_no_picture(letter: MakeLetter) -> None:
    """There is nothing to compare with."""
    one = letter()
    mail = build_message(letter(history=History(one.sidecar, (), timezone.utc)), sender="b@x.org", recipients=("a@x",))
    assert b"image/png" not in mail.head
    assert b"14 nights" not in mail.head

"""Manifests, records, scope files and names made of anything: read, or refused by the one error that callers expect."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include.backup.archive_list import ArchiveList, find_archive
from include.backup.archive_name import archive_names, delivery_path, drill_path, sidecar_path
from include.backup.drill_record import read_drill
from include.backup.errors import ScopeError, UnknownArchiveError, VerificationError
from include.backup.manifest import read_sidecar, readable_archives
from include.backup.nights import NightRules, judge_nights
from include.backup.retention import RetentionPolicy, expire_archives, plan_expiry
from include.backup.scope import Scope, load_scope
from include.backup.settings import PACKAGED_SCOPE_FILE
from include.backup.small_file import MAX_BYTES, read_small_file
from include.backup.status import LAST_SUCCESS_FILE, read_last_success
from include.backup.unsent import UNSENT_FOLDER, read_unsent
from tests.fix_archives import make_manifest, make_sidecar, make_table, publish_archive

if TYPE_CHECKING:
    from collections.abc import Callable

fuzzed = hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOW = datetime(2026, 11, 21, 9, tzinfo=timezone.utc)
POLICY = RetentionPolicy(keep=timedelta(days=30), min_keep=1, max_age=timedelta(hours=25))

MOMENTS = ("9999-12-31T23:59:59Z", "0001-01-01T00:00Z", "2026-11-20T02:00:04", "2026-11-20T02:00:04+23:59")
EDGES: st.SearchStrategy[Any] = st.sampled_from(MOMENTS) | st.sampled_from(
    [-1, 0, 2**63, 10**400, 1e308, float("nan"), "", "\0", "\ud800", "../x", "\x1b[31m", "a\nb", True, None, [], {}]
)
JSON = st.recursive(
    EDGES | st.text(max_size=20) | st.integers() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value: its container and the key or index in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(value, key), *places(inner)]]


def mutated(value: Any, data: st.DataObject) -> bytes:
    """Return the JSON with a few values replaced or removed, or other bytes altogether."""
    if data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.binary(max_size=100))
    value = json.loads(json.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        found = places(value)
        container, key = data.draw(st.sampled_from(found))
        if data.draw(st.booleans()):
            container[key] = data.draw(JSON)
        else:
            del container[key]
    return json.dumps(value).encode("utf-8", "surrogatepass")


def sound_manifest() -> Any:
    """Return a manifest beside an archive, with one of everything."""
    sidecar = make_sidecar(tables=(make_table("users", "users.sql", ("id",), windowed=True),), archive_bytes=3)
    return json.loads(sidecar.model_dump_json(by_alias=True))


@fuzzed
@given(data=st.data())
def test_any_manifest_is_read_or_refused_and_stops_nobody(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """List, retention, calendar and watch live with whatever lies beside an archive."""
    folder = tmp_path_factory.mktemp("backups")
    sound = sound_manifest()
    archive = folder / sound["archive"]
    archive.write_bytes(b"abc")
    sidecar_path(archive).write_bytes(mutated(sound, data))
    drill_path(archive).write_bytes(data.draw(st.binary(max_size=30)))
    delivery_path(archive).write_bytes(data.draw(st.binary(max_size=30)))
    refusal = ""
    try:
        sidecar = read_sidecar(archive)
    except VerificationError as error:
        refusal = str(error)
    else:
        assert sidecar.archive == archive.name
        assert sidecar.without_archive_facts()
        plan_expiry([sidecar], POLICY, now=NOW)
    assert len(refusal.splitlines()) <= 1
    archives = ArchiveList(folder)
    (entry,) = archives.entries()
    assert entry.problem or entry.head
    assert entry.delivery is None or entry.delivery.recipients == {}
    archives.expires_at([entry], POLICY)
    rules = NightRules(NOW, timedelta(minutes=10), timedelta(hours=2), timedelta(days=30))
    judge_nights([NOW - timedelta(days=1)], [entry], [], rules)
    read_drill(archive)
    expire_archives(folder, POLICY, now=NOW)
    assert archive.exists()


@pytest.mark.parametrize("place", ["snapshot_at", "cut_off"])
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_moment_that_nobody_can_reckon_with_is_refused(folder: Path, place: str, moment: str) -> None:
    """An archive list that adds 30 days to the last of all days would show nothing at all."""
    sound = sound_manifest()
    archive = folder / sound["archive"]
    archive.write_bytes(b"abc")
    sidecar_path(archive).write_text(json.dumps(sound | {place: moment}))
    with pytest.raises(VerificationError, match=place):
        read_sidecar(archive)
    archives = ArchiveList(folder)
    (entry,) = archives.entries()
    assert "manifest is damaged" in entry.problem
    assert archives.expires_at(
        [entry], RetentionPolicy(keep=timedelta(days=36500), min_keep=0, max_age=timedelta(hours=1))
    )


@fuzzed
@given(data=st.data())
def test_any_scope_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """In one line that names the file."""
    path = tmp_path_factory.mktemp("scope") / "scope.yaml"
    packaged = yaml.safe_load(PACKAGED_SCOPE_FILE.read_text())
    content = mutated(packaged, data)
    if data.draw(st.booleans()):  # YAML of other forms than JSON's
        words = st.sampled_from(
            ["tables:", " - ", "a.sql", "&x", "*x", "!!python/object:x", "<<: ", "? ", "\n", "{", "2026-02-30"]
        )
        content = "".join(data.draw(st.lists(words | st.text(max_size=4), max_size=20))).encode("utf-8", "replace")
    path.write_bytes(content)
    refusal = str(path)
    try:
        assert isinstance(load_scope(path), Scope)
    except ScopeError as error:
        refusal = str(error)
    assert str(path) in refusal
    assert len(refusal.splitlines()) == 1


@fuzzed
@given(
    name=st.text(max_size=60) | st.sampled_from(["critical_backup_20261120_020004.tar.gz/../x", "..", "/etc/passwd"])
)
def test_any_name_finds_an_archive_or_none(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """What somebody sends as a name never leads elsewhere."""
    folder = tmp_path_factory.mktemp("backups")
    with pytest.raises(UnknownArchiveError) as caught:
        find_archive(folder, name)
    assert str(caught.value).splitlines() == [str(caught.value)]


@fuzzed
@given(names=st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_files_of_any_name_are_nobodys_business(tmp_path_factory: pytest.TempPathFactory, names: list[bytes]) -> None:
    """Also names that are almost an archive's: they are neither listed nor removed, and disturb nobody."""
    folder = tmp_path_factory.mktemp("backups")
    own = publish_archive(folder, hours_old=1)
    stem = os.fsencode(own.name)
    odd = {stem + name for name in names} | {name + stem for name in names} | set(names)
    odd = {name for name in odd if b"/" not in name and b"\0" not in name} - {b".", b".."}
    for name in odd:
        (folder / os.fsdecode(name)).write_bytes(b"foreign")
    assert archive_names(folder) == [own.name]
    assert [path for path, _ in readable_archives(folder)] == [own]
    expire_archives(
        folder,
        RetentionPolicy(keep=timedelta(days=1), min_keep=1, max_age=timedelta(hours=10**6)),
        now=NOW + timedelta(days=99),
    )
    assert odd <= set(os.listdir(os.fsencode(folder)))  # noqa: PTH208 - as bytes


READERS: dict[str, Callable[[Path], object]] = {
    "success": read_last_success,
    "unsent": lambda folder: list(read_unsent(folder, now=NOW)),
    "drill": lambda folder: read_drill(folder / make_manifest().archive),
    "archives": lambda folder: list(readable_archives(folder)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "huge"])
def test_what_is_no_file_neither_blocks_nor_fills_the_memory(folder: Path, reader: str, kind: str) -> None:
    """A named pipe that nobody writes to, a link to an endless device, a file of a terabyte."""
    (folder / UNSENT_FOLDER).mkdir()
    archive = folder / make_manifest().archive
    archive.touch()
    for path in (
        folder / LAST_SUCCESS_FILE,
        folder / UNSENT_FOLDER / "x.json",
        drill_path(archive),
        sidecar_path(archive),
    ):
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "endless":
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    assert READERS[reader](folder) in (None, [])


def test_small_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """The limit itself is still read."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * MAX_BYTES)
    assert len(read_small_file(path)) == MAX_BYTES
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(OSError, match="larger than 64 MB"):
        read_small_file(path)

"""Retention: what expires, and what never does."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.backup.archive_name import (
    archive_name,
    copy_path,
    decrypt_path,
    delivery_path,
    drill_path,
    encrypted_name,
    sidecar_path,
)
from include.backup.manifest import Sidecar
from include.backup.retention import ExpiryPlan, RetentionPolicy, expire_archives, plan_expiry
from tests.fix_archives import ENCRYPTION

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar

NOW = datetime(2026, 11, 20, 2, 10, tzinfo=timezone.utc)
POLICY = RetentionPolicy(keep=timedelta(days=30), min_keep=7, max_age=timedelta(hours=25))
DAYS = st.integers(1, 60).map(lambda days: timedelta(days=days))
POLICIES = st.builds(
    RetentionPolicy,
    keep=DAYS,
    min_keep=st.integers(1, 12),
    max_age=st.integers(1, 80).map(lambda hours: timedelta(hours=hours)),
)
AGES_MINUTES = st.lists(st.integers(0, 100 * 24 * 60), unique=True, max_size=40)
FRESH_AGES_MINUTES = AGES_MINUTES.map(lambda ages: sorted({0, *ages}))


def archive_of(snapshot_at: datetime) -> Sidecar:
    """Return a sidecar of which only name and time matter; quick, for thousands of them."""
    values: dict[str, Any] = {"archive": archive_name(snapshot_at), "snapshot_at": snapshot_at, "archive_bytes": 1}
    return Sidecar.model_construct(**values)


def archives_of(ages_minutes: list[int]) -> list[Sidecar]:
    return [archive_of(NOW - timedelta(minutes=minutes)) for minutes in ages_minutes]


def days_old(archives: tuple[Sidecar, ...]) -> list[int]:
    return [(NOW - archive.snapshot_at).days for archive in archives]


@given(AGES_MINUTES, POLICIES)
def test_plan_any_archives_disjoint_and_complete(ages: list[int], policy: RetentionPolicy) -> None:
    """Every archive is in exactly one of the two sets, newest first."""
    archives = archives_of(ages)
    plan = plan_expiry(archives, policy, now=NOW)
    names = [[archive.archive for archive in group] for group in (plan.keep, plan.expire)]
    assert sorted(names[0] + names[1]) == sorted(archive.archive for archive in archives)
    assert not set(names[0]) & set(names[1])
    assert names == [sorted(group, reverse=True) for group in names]
    assert plan.reason


@given(AGES_MINUTES, POLICIES)
def test_plan_newest_always_kept(ages: list[int], policy: RetentionPolicy) -> None:
    """The newest min_keep archives never expire, however old they are."""
    archives = archives_of(ages)
    newest = sorted(archives, key=lambda archive: archive.snapshot_at)[-policy.min_keep :]
    plan = plan_expiry(archives, policy, now=NOW)
    assert [archive.archive for archive in newest if archive in plan.expire] == []


@given(AGES_MINUTES, POLICIES)
def test_plan_young_never_expires(ages: list[int], policy: RetentionPolicy) -> None:
    """Nothing expires before its days are over."""
    plan = plan_expiry(archives_of(ages), policy, now=NOW)
    limit = policy.keep
    assert [archive.archive for archive in plan.expire if NOW - archive.snapshot_at <= limit] == []


@given(AGES_MINUTES.map(lambda ages: [age + 80 * 60 + 1 for age in ages]), POLICIES)
def test_plan_backups_failing_nothing_expires(ages: list[int], policy: RetentionPolicy) -> None:
    """While the newest archive is too old, everything stays."""
    plan = plan_expiry(archives_of(ages), policy, now=NOW)
    assert plan.expire == ()
    assert len(plan.keep) == len(ages)


@given(FRESH_AGES_MINUTES, POLICIES)
def test_plan_backups_succeed_all_old_expire(ages: list[int], policy: RetentionPolicy) -> None:
    """With a fresh archive, all others go that are old enough and not among the newest."""
    plan = plan_expiry(archives_of(ages), policy, now=NOW)
    old = [age for age in ages[policy.min_keep :] if timedelta(minutes=age) > policy.keep]
    assert [archive.archive for archive in plan.expire] == [archive.archive for archive in archives_of(old)]


def test_plan_nightly_keeps_thirty_days() -> None:
    """Of 40 nights, those go that are more than 30 days old."""
    plan = plan_expiry(archives_of([1440 * day + 10 for day in range(40)]), POLICY, now=NOW)
    assert days_old(plan.keep) == list(range(30))
    assert days_old(plan.expire) == list(range(30, 40))
    assert plan.reason == "older than 30 days"


@pytest.mark.parametrize(("minutes", "expires"), [(30 * 1440 - 1, False), (30 * 1440, False), (30 * 1440 + 1, True)])
def test_plan_exact_age_stays(minutes: int, expires: bool) -> None:
    """Exactly 30 days is not older than 30 days."""
    plan = plan_expiry(archives_of([*range(7), minutes]), POLICY, now=NOW)
    assert bool(plan.expire) is expires


@pytest.mark.parametrize(("minutes", "failing"), [(25 * 60 - 1, False), (25 * 60, False), (25 * 60 + 1, True)])
def test_plan_newest_at_the_age_limit_is_good(minutes: int, failing: bool) -> None:
    """Exactly 25 hours is not more than 25 hours; after them the reason says that backups are failing."""
    ages = [minutes, *(1440 * day for day in range(40, 50))]
    plan = plan_expiry(archives_of(ages), POLICY, now=NOW)
    assert bool(plan.expire) is not failing
    assert ("backups are failing" in plan.reason) is failing


def test_plan_no_archive_is_no_error() -> None:
    """Nothing to keep, nothing to remove."""
    assert plan_expiry([], POLICY, now=NOW) == ExpiryPlan((), (), "there is no archive")


def store(folder: Path, sidecar: Sidecar) -> Path:
    """Put an archive and its sidecar into the folder."""
    path = folder / sidecar.archive
    content = b"not opened by retention"
    path.write_bytes(content)
    fitting = sidecar.model_copy(update={"archive_bytes": len(content)})
    sidecar_path(path).write_text(fitting.model_dump_json(by_alias=True))
    return path


def fill(folder: Path, sidecar: MakeSidecar, days: range) -> list[Path]:
    """Put one archive a day into the folder, newest first."""
    moments = (NOW - timedelta(days=day, minutes=10) for day in days)
    return [store(folder, sidecar(snapshot_at=moment)) for moment in moments]


def test_expire_old_archives_go_with_their_sidecars(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """What the plan names goes, with sidecar, drill, delivery and copy record; the rest stays as it is."""
    archives = fill(tmp_path, sidecar, range(33))
    companions = (sidecar_path, delivery_path, drill_path, copy_path)
    for archive in archives:
        delivery_path(archive).write_text("{}")
        drill_path(archive).write_text("{}")
        copy_path(archive).write_text("{}")
    plan = expire_archives(tmp_path, POLICY, now=NOW)
    assert [archive.archive for archive in plan.expire] == [path.name for path in archives[30:]]
    expected = {path.name for path in archives[:30]}
    expected |= {companion(path).name for path in archives[:30] for companion in companions}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_expire_mixed_archives_go_with_all_that_is_beside_them(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """Encryption was switched on and off: each night has one form, and both are counted together."""
    names = {day: archive_name(NOW - timedelta(days=day, minutes=10)) for day in range(33)}
    for day, name in names.items():
        encrypted = {"archive": encrypted_name(name), "encryption": ENCRYPTION} if day % 2 else {}
        archive = store(tmp_path, sidecar(snapshot_at=NOW - timedelta(days=day, minutes=10), **encrypted))
        if day % 2:
            decrypt_path(archive).write_text("how")
    expire_archives(tmp_path, POLICY, now=NOW)
    kept = [names[day] for day in range(30)]
    expected = {encrypted_name(name) if day % 2 else name for day, name in enumerate(kept)}
    expected |= {sidecar_path(Path(name)).name for name in kept}
    expected |= {decrypt_path(Path(name)).name for name in kept[1::2]}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_expire_foreign_files_stay(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """Only what this system named, with its own readable manifest, is ever removed, or counts as an archive."""
    fill(tmp_path, sidecar, range(8))
    old = NOW - timedelta(days=100)

    def named(second: int) -> Path:
        return tmp_path / archive_name(old + timedelta(seconds=second))

    without, broken, other, link, folder = map(named, range(5))
    without.write_bytes(b"an archive without a manifest")
    broken.write_bytes(b"an archive with a broken manifest")
    sidecar_path(broken).write_text("{")
    other.write_bytes(b"an archive with the manifest of another")
    sidecar_path(other).write_text(sidecar(snapshot_at=old - timedelta(days=1)).model_dump_json(by_alias=True))
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    target = store(outside, sidecar(snapshot_at=old + timedelta(seconds=3)))
    link.symlink_to(target)
    sidecar_path(link).write_bytes(sidecar_path(target).read_bytes())
    folder.mkdir()
    sidecar_path(folder).write_text(sidecar(snapshot_at=old + timedelta(seconds=4)).model_dump_json(by_alias=True))
    for name in (
        "critical_backup_20200101_000000.tar.gz.old",
        "critical_backup_20200101_0000.tar.gz",
        "critical_backup_20200101_00000\N{THAI DIGIT ONE}.tar.gz",
        "my_critical_backup_20200101_000000.tar.gz",
        ".critical_backup_20200101_000000.tar.gz",
        ".last_backup_success",
        "notes.txt",
    ):
        (tmp_path / name).write_bytes(b"foreign")
        text = sidecar(snapshot_at=old).model_copy(update={"archive": name}).model_dump_json(by_alias=True)
        sidecar_path(tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    plan = expire_archives(tmp_path, POLICY, now=NOW)
    assert plan.expire == ()
    assert len(plan.keep) == 8
    assert sorted(tmp_path.rglob("*")) == before


def test_expire_backups_failing_nothing_removed(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """After days without a backup the old archives are all there is."""
    fill(tmp_path, sidecar, range(2, 50))
    before = sorted(tmp_path.iterdir())
    expire_archives(tmp_path, POLICY, now=NOW)
    assert sorted(tmp_path.iterdir()) == before


def test_expire_cleared_again_does_nothing_more(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """A second time there is nothing left to expire."""
    fill(tmp_path, sidecar, range(33))
    expire_archives(tmp_path, POLICY, now=NOW)
    before = sorted(tmp_path.iterdir())
    assert expire_archives(tmp_path, POLICY, now=NOW).expire == ()
    assert sorted(tmp_path.iterdir()) == before

"""Retention of second copies: the rules of the archives, on what lies elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.archive_name import archive_name, decrypt_path, sidecar_path
from include.backup.copy_folder import FolderPlace
from include.backup.copy_retention import expire_copies
from include.backup.errors import BackupError, TemporaryError
from include.backup.retention import RetentionPolicy
from tests.fix_copies import make_archive

NOW = datetime(2026, 11, 20, 2, 10, tzinfo=timezone.utc)
POLICY = RetentionPolicy(keep=timedelta(days=90), min_keep=3, max_age=timedelta(hours=25))


def fill(folder: Path, days: range) -> list[Path]:
    """Put one archive a day into the folder, newest first."""
    return [make_archive(folder, taken=NOW - timedelta(days=day, minutes=10), size=10)[0] for day in days]


class Lazy(FolderPlace):
    """A folder whose server does not answer when something is to be removed."""

    def remove(self, name: str) -> None:
        raise TemporaryError(f"cannot remove {name}: no answer")


class Locked(FolderPlace):
    """A folder in which nothing may be removed."""

    def remove(self, name: str) -> None:
        raise BackupError(f"cannot remove {name}: Access Denied")


def test_old_copies_go_with_their_manifests_and_young_ones_stay(tmp_path: Path) -> None:
    """By the days of copies, which are others than those of the archives."""
    archives = fill(tmp_path, range(0, 100, 10))
    plan, refused = expire_copies(FolderPlace(tmp_path), POLICY, now=NOW, proven=())
    assert [sidecar.archive for sidecar in plan.expire] == [archives[-1].name]
    assert refused == ()
    kept = {companion.name for path in archives[:-1] for companion in (path, sidecar_path(path))}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_old_encrypted_copies_go_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    """Encryption was switched on in between: both kinds are counted together, and no decrypt text is left alone."""
    ages = [NOW - timedelta(days=day, minutes=10) for day in range(0, 240, 40)]
    archives = [make_archive(tmp_path, taken=at, size=10, encrypted=nth % 2 == 0)[0] for nth, at in enumerate(ages)]
    plan, refused = expire_copies(FolderPlace(tmp_path), POLICY, now=NOW, proven=())
    assert ([sidecar.archive for sidecar in plan.expire], refused) == ([path.name for path in archives[3:]], ())
    kept = {path.name for archive in archives[:3] for path in (archive, sidecar_path(archive))}
    kept |= {decrypt_path(archive).name for archive in (archives[0], archives[2])}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_newest_and_proven_copies_stay_however_old(tmp_path: Path) -> None:
    """The newest three, and the newest of which a drill has passed."""
    archives = fill(tmp_path, range(0, 600, 100))
    plan, _ = expire_copies(FolderPlace(tmp_path), POLICY, now=NOW, proven={archives[4].name, archives[5].name})
    assert [sidecar.archive for sidecar in plan.expire] == [archives[3].name, archives[5].name]


def test_nothing_goes_while_copies_are_failing(tmp_path: Path) -> None:
    """The copies that are there may be all that there is."""
    fill(tmp_path, range(2, 200, 20))
    before = sorted(tmp_path.iterdir())
    plan, _ = expire_copies(FolderPlace(tmp_path), POLICY, now=NOW, proven=())
    assert "backups are failing" in plan.reason
    assert sorted(tmp_path.iterdir()) == before


def test_foreign_and_unfinished_objects_stay(tmp_path: Path) -> None:
    """Only what has a name of this system and a readable manifest of that name is ever removed."""
    fill(tmp_path, range(4))
    unfinished, broken, other = (archive_name(NOW - timedelta(days=200 + day)) for day in range(3))
    for name in (unfinished, broken, other, "notes.txt", "critical_backup_20200101_000000.tar.gz.old"):
        (tmp_path / name).write_bytes(b"foreign")
    sidecar_path(tmp_path / broken).write_text("{")
    foreign, _ = make_archive(tmp_path / "elsewhere", taken=NOW - timedelta(days=300))
    sidecar_path(tmp_path / other).write_bytes(sidecar_path(foreign).read_bytes())
    before = sorted(tmp_path.iterdir())
    plan, _ = expire_copies(FolderPlace(tmp_path), POLICY, now=NOW, proven=())
    assert (plan.expire, len(plan.keep)) == ((), 4)
    assert sorted(tmp_path.iterdir()) == before


def test_refusal_is_told_and_no_failure(tmp_path: Path) -> None:
    """A lock, or a credential that may not remove, is how it should be; the manifest stays with its archive."""
    archives = fill(tmp_path, range(0, 600, 100))
    before = sorted(tmp_path.iterdir())
    _, refused = expire_copies(Locked(tmp_path), POLICY, now=NOW, proven=())
    assert refused == tuple(path.name for path in archives[3:])
    assert sorted(tmp_path.iterdir()) == before


def test_place_that_does_not_answer_is_tried_again(tmp_path: Path) -> None:
    """That is no refusal."""
    fill(tmp_path, range(0, 600, 100))
    with pytest.raises(TemporaryError):
        expire_copies(Lazy(tmp_path), POLICY, now=NOW, proven=())

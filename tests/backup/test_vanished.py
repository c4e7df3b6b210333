"""Archives that are gone before their time are told once, by name, at the next look."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.backup.archive_name import archive_name, sidecar_path
from include.backup.notice import Notice
from include.backup.observe import observe
from include.backup.retention import RetentionPolicy, expire_archives
from include.backup.settings import Settings
from include.backup.vanished import vanished_archives
from include.backup.watch import Memory, plan_alerts, read_memory
from tests.fix_archives import NOW, Publish

DAY = timedelta(days=1)
KEPT = 30


@dataclass
class Watch:
    """The watch of a folder; its memory goes through JSON between two looks, as it does in Airflow."""

    settings: Settings
    now: datetime = NOW
    memory: object = field(default_factory=lambda: Memory(first_look_at=NOW).model_dump(mode="json"))

    def look(self, *, hours: float = 1) -> list[Notice]:
        """Look once more, so many hours later; return what is said of archives that are gone."""
        self.now += timedelta(hours=hours)
        memory = read_memory(self.memory, now=self.now)
        seen = observe(self.settings, first_look_at=memory.first_look_at, now=self.now, url=None, known=memory.archives)
        alerts, memory = plan_alerts(seen, memory, now=self.now)
        self.memory = memory.model_dump(mode="json")
        return [alert.notice for alert in alerts if "before" in alert.notice.title]


@pytest.fixture
def watch(folder: Path) -> Watch:
    """A watch that keeps archives for 30 days, and always two."""
    settings = Settings(
        admin_emails=("admin@example.com",), backup_dir=folder, backup_retention_days=KEPT, backup_retention_min_keep=2
    )
    return Watch(settings)


def three_nights(publish: Publish) -> list[Path]:
    """Publish three nights, newest first."""
    return [publish(hours_old=24 * night + 1) for night in range(3)]


def test_archive_removed_by_hand_is_told_once_by_name(watch: Watch, publish: Publish) -> None:
    """At the next look, with what is left; then silence, while others come."""
    archives = three_nights(publish)
    assert watch.look() == []
    archives[1].unlink()
    (notice,) = watch.look()
    assert notice.title == f"{archives[1].name} is gone before its time"
    assert "2 others are there" in notice.text
    assert watch.look() == []
    assert watch.look(hours=24) == []
    archives[2].unlink()
    (notice,) = watch.look()
    assert notice.title == f"{archives[2].name} is gone before its time"


@pytest.mark.parametrize("size", [1, 7])
def test_emptied_folder_is_told_at_the_next_look(watch: Watch, publish: Publish, folder: Path, size: int) -> None:
    """One alert that names them; an unmounted volume looks so, and a new archive in its place hides nothing."""
    names = sorted(publish(hours_old=24 * night + 1).name for night in range(size))
    watch.look()
    shutil.rmtree(folder)
    folder.mkdir()
    (notice,) = watch.look()
    assert "nothing else is there" in notice.text
    assert all(name in notice.text for name in names[:5])
    assert dict(notice.facts)["Gone"] == str(size)
    assert "mounted" in notice.next_steps[0]
    publish(hours_old=0)
    assert watch.look() == []


def test_archives_that_came_back_are_told_again_when_they_vanish_again(
    watch: Watch, publish: Publish, folder: Path
) -> None:
    """The volume is mounted, and lost again."""
    archives = three_nights(publish)
    watch.look()
    elsewhere = folder.with_name("elsewhere")
    for expected in (3, 3):
        folder.rename(elsewhere)
        folder.mkdir()
        (notice,) = watch.look()
        assert notice.title == f"{expected} archives are gone before their time"
        folder.rmdir()
        elsewhere.rename(folder)
        assert watch.look() == []
    assert archives[0].exists()


def test_folder_that_cannot_be_read_loses_nothing_from_memory(watch: Watch, publish: Publish, folder: Path) -> None:
    """A missing folder is another alert; what is gone when it is back is told then."""
    archives = three_nights(publish)
    watch.look()
    folder.rename(folder.with_name("elsewhere"))
    assert watch.look() == []
    folder.with_name("elsewhere").rename(folder)
    archives[0].unlink()
    assert len(watch.look()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda archive: archive.write_bytes(b"cut"),
        lambda archive: sidecar_path(archive).unlink(),
        lambda archive: sidecar_path(archive).write_text("{"),
    ],
    ids=["cut", "no manifest", "damaged manifest"],
)
def test_archive_that_is_not_sound_any_more_is_told(
    watch: Watch, publish: Publish, damage: Callable[[Path], object]
) -> None:
    """Nobody can restore from it as it is."""
    archives = three_nights(publish)
    watch.look()
    damage(archives[0])
    (notice,) = watch.look()
    assert archives[0].name in notice.title


def test_what_retention_removes_is_not_told(watch: Watch, publish: Publish, folder: Path) -> None:
    """Night after night, and after a failing month in which nothing was removed."""
    policy = RetentionPolicy(keep=timedelta(days=KEPT), min_keep=2, max_age=timedelta(hours=25))
    for night in range(45):
        publish(hours_old=-24 * night)
        now = NOW + night * DAY
        expire_archives(folder, policy, now=now)
        watch.now = now
        assert watch.look() == []
    publish(hours_old=-24 * 90)
    expire_archives(folder, policy, now=NOW + 90 * DAY)
    watch.now = NOW + 90 * DAY
    assert watch.look() == []
    assert len(list(folder.glob("*.tar.gz"))) == 2


def test_shorter_retention_is_not_told(watch: Watch, publish: Publish, folder: Path) -> None:
    """Who lowers BACKUP_RETENTION_DAYS knows what goes."""
    for night in range(10):
        publish(hours_old=24 * night + 1)
    watch.look()
    watch.settings = watch.settings.model_copy(update={"backup_retention_days": 3})
    expire_archives(folder, RetentionPolicy(keep=timedelta(days=3), min_keep=2, max_age=timedelta(hours=25)), now=NOW)
    assert watch.look() == []


def test_last_archives_are_missed_however_old(watch: Watch, publish: Publish) -> None:
    """Retention never removes the newest ones."""
    old, older = publish(hours_old=24 * 50), publish(hours_old=24 * 60)
    watch.look()
    old.unlink()
    older.unlink()
    (notice,) = watch.look()
    assert notice.title == "2 archives are gone before their time"


def test_memory_does_not_grow(watch: Watch, publish: Publish) -> None:
    """What was told is forgotten when its time has come."""
    archives = three_nights(publish)
    watch.look()
    archives[2].unlink()
    watch.look()
    assert len(read_memory(watch.memory, now=NOW).archives) == 3
    watch.look(hours=24 * KEPT)
    assert set(read_memory(watch.memory, now=NOW).archives) == {archives[0].name, archives[1].name}


def test_vanished_needs_all_three() -> None:
    """Known, not there, and neither too old nor one of several newer ones."""
    known = {archive_name(NOW - days * DAY): NOW - days * DAY for days in (1, 29, 31, 40)}
    names = list(known)
    found = vanished_archives(known, {names[0]}, RetentionPolicy(30 * DAY, 1, DAY), now=NOW)
    assert found == (names[1],)
    found = vanished_archives(known, {names[0]}, RetentionPolicy(30 * DAY, 3, DAY), now=NOW)
    assert found == (names[2], names[1])

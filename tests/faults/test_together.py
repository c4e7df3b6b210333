"""Several at once, among strangers, under odd names, with clocks that jump."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.drill import drill
from include.backup.manifest import read_sidecar
from include.backup.retention import RetentionPolicy, expire_archives
from tests.faults.test_server import assert_failed
from tests.fix_archives import Publish
from tests.fix_faults import FaultSite, MakeFaultSite
from tests.fix_pipeline import database_of
from tests.one_backup import STEPS

UTC = timezone.utc
DAYS_AT_ONCE = 10


def test_ten_runs_at_once_take_their_turns(fault_site: FaultSite) -> None:
    """As a backfill of ten days starts them: ten archives, each of its own snapshot, none lost."""
    before, published = fault_site.before(), fault_site.published
    runs = [fault_site.start() for _ in range(DAYS_AT_ONCE)]
    ends = [run.end() for run in runs]
    assert [ended and ended.error for ended in ends] == [""] * DAYS_AT_ONCE
    assert len(fault_site.published - published) == DAYS_AT_ONCE
    fault_site.assert_unharmed(before, workspaces=0)


def test_backup_during_a_restore_disturbs_neither(fault_site: FaultSite) -> None:
    """An archive is drilled on the same server while the next one is made."""
    archive = fault_site.backup_dir / max(fault_site.published)
    server = database_of(fault_site.server.conninfo())
    with ThreadPoolExecutor(1) as pool:
        drilled = pool.submit(drill, archive, server, folder=fault_site.backup_dir / ".work")
        ended = fault_site.back_up()
        assert drilled.result(timeout=120).passed
    assert ended.error == ""
    fault_site.assert_next_succeeds()


def test_archive_that_expires_while_it_is_read_is_read_to_its_end(folder: Path, publish: Publish) -> None:
    """Whoever downloads it gets all of it; the name is gone."""
    old = publish(hours_old=24 * 40)
    publish(hours_old=1)
    content = old.read_bytes()
    with old.open("rb") as reader:
        begin = reader.read(1000)
        policy = RetentionPolicy(keep=timedelta(days=30), min_keep=1, max_age=timedelta(hours=25))
        expired = expire_archives(folder, policy, now=datetime.now(UTC)).expire
        assert [sidecar.archive for sidecar in expired] == [old.name]
        assert begin + reader.read() == content
    assert not old.exists()
    assert not sidecar_path(old).exists()


def test_ten_thousand_foreign_files_are_left_alone(fault_site: FaultSite) -> None:
    """Whatever they are called, and however much they look like ours."""
    names = [
        "critical_backup_20200101_020000.tar.gz.old",
        "Critical_backup_20200101_020000.tar.gz",
        "a b",
        "line\nfeed",
    ]
    names += [f"critical_backup_{number}.tar.gz" for number in range(5000)] + [f"file {n}" for n in range(5000)]
    for name in names:
        (fault_site.backup_dir / name).touch(mode=0o600)
    (fault_site.backup_dir / "critical_backup_20200102_020000.tar.gz").mkdir()
    (fault_site.backup_dir / "critical_backup_20200103_020000.tar.gz").symlink_to("/etc/passwd")
    before = fault_site.before()
    ended = fault_site.back_up()
    assert ended.error == ""
    now = fault_site.before()
    assert set(names) <= now.files.keys()
    assert {name: now.files[name] for name in names} == {name: before.files[name] for name in names}
    for name in (*names, "critical_backup_20200103_020000.tar.gz"):
        (fault_site.backup_dir / name).unlink()
    (fault_site.backup_dir / "critical_backup_20200102_020000.tar.gz").rmdir()
    fault_site.assert_next_succeeds()


def test_names_with_spaces_quotes_and_line_feeds_are_backed_up(make_fault_site: MakeFaultSite, tmp_path: Path) -> None:
    """Of the folder, the database, a table out of scope and a configuration file."""
    folder = tmp_path / "back ups\nof 'us' \"all\" $HOME"
    folder.mkdir(mode=0o700)
    site = make_fault_site(database='faults o\'dd "na me" $x', BACKUP_DIR=str(folder))
    site.sql('CREATE TABLE "odd\ntable" (id int)')
    (Path(site.environment["BACKUP_CONFIG_DIR"]) / "a b.conf").write_text("x")
    scope = Path(site.environment["BACKUP_SCOPE_FILE"])
    scope.write_text(scope.read_text().replace("[app.conf]", "[app.conf, a b.conf]"))
    archive = site.assert_next_succeeds()
    assert "a b.conf" in {file.name for file in read_sidecar(folder / archive).files}
    assert drill(folder / archive, database_of(site.server.conninfo()), folder=folder / ".work").passed


@pytest.mark.parametrize("days", [-40, 40])
def test_clock_that_is_days_off_is_refused(fault_site: FaultSite, days: int) -> None:
    """It would name the archive wrongly, move its window, and let others expire; the server's clock tells."""
    before = fault_site.before()
    ended = fault_site.back_up(wall_clock=datetime.now(UTC) + timedelta(days=days))
    assert_failed(ended, "check_prerequisites", "AirflowFailException", "the clock here says", "the database server's")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds()


@pytest.mark.parametrize("hours", [-3, 3])
def test_clock_that_jumps_hours_in_the_run_loses_nothing(fault_site: FaultSite, hours: int) -> None:
    """Between any two steps, back or forth; the archive keeps the time of its snapshot."""
    run_id = fault_site.prepare("copy_configuration")
    before, moved = fault_site.before(), datetime.now(UTC) + timedelta(hours=hours)
    ended = fault_site.start(run_id, steps=STEPS[STEPS.index("copy_configuration") :], wall_clock=moved).end()
    assert ended is not None
    assert ended.error == ""
    fault_site.assert_unharmed(before, workspaces=0)
    fault_site.assert_next_succeeds()


def test_clock_that_was_ahead_and_is_set_back_keeps_both_archives(fault_site: FaultSite) -> None:
    """The one with the future's name stays, and the status tells of the true one: a future time is a mistake."""
    ahead = fault_site.back_up(wall_clock=datetime.now(UTC) + timedelta(hours=2))
    assert ahead.error == ""
    assert any(
        "the clock here says" in warning for warning in read_sidecar(fault_site.backup_dir / ahead.archive).warnings
    )
    archive = fault_site.assert_next_succeeds()
    assert archive < ahead.archive
    assert ahead.archive in fault_site.published

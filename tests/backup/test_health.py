"""The health check: its judgement with the time passed in, and the script as Docker runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from include.backup import archive_name, health, status
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.health import Limits, age_hours, check_health, odd_figures, read_limits
from include.backup.settings import BYTES_PER_MB, Settings
from tests.fix_archives import ENCRYPTION, NOW

if TYPE_CHECKING:
    from tests.fix_archives import Publish

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "backup-monitor.sh"
SHELLS = [[shell] for shell in ("dash", "bash") if shutil.which(shell)]


def drill(archive: Path, *, passed: bool, error: str = "") -> None:
    """Record a drill of the archive."""
    figures = {"seconds": 1.0, "tables": 1, "rows": 1, "server_version": "18.0"}
    write_drill(archive, DrillRecord(drilled_at=NOW, passed=passed, error=error, **figures))


def limits(folder: Path, zone: str = "UTC") -> Limits:
    """Return the default limits for a folder."""
    return read_limits({"BACKUP_DIR": str(folder), "BACKUP_TIMEZONE": zone})


def reason(folder: Path, *, now: datetime = NOW) -> str:
    """Return why the folder is not healthy."""
    report = check_health(limits(folder), now=now)
    assert not report.healthy
    assert report.reason.splitlines() == [report.reason]
    return report.reason


def monitor(shell: list[str], folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the script as Docker does."""
    environment = {"PATH": os.environ["PATH"], "BACKUP_DIR": str(folder)} | settings
    return subprocess.run(
        [*shell, SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=10
    )


def test_fresh_backup_is_healthy_and_says_everything_in_one_line(folder: Path, publish: Publish) -> None:
    """Age, size, last verify, last drill and free disk stand in it."""
    archive = publish()
    drill(archive, passed=True)
    report = check_health(limits(folder), now=NOW)
    assert (report.healthy, report.warnings) == (True, ())
    for piece in ("3.0 hours old", f"{archive.name} 2.0 MB", "verified 20", "last drill passed 20", "GB free"):
        assert piece in report.reason
    assert report.facts["archive_bytes"] == 2 * BYTES_PER_MB
    assert report.facts["last_size_mb"] == 2


def test_folder_that_is_missing_empty_or_no_folder_is_named(folder: Path) -> None:
    """Each has its own reason."""
    assert reason(folder) == f"BACKUP_DIR={folder} is empty: no backup has run yet, or the volume is not mounted"
    assert reason(folder / "gone") == f"BACKUP_DIR={folder}/gone is not there: is the volume mounted?"
    (folder / "file").touch()
    assert reason(folder / "file") == f"BACKUP_DIR={folder}/file cannot be read: Not a directory"


def test_backup_that_never_succeeded_is_named(folder: Path, publish: Publish) -> None:
    """An archive alone is no success: nobody may have got it."""
    publish(succeeded=False)
    assert reason(folder) == f"no backup has succeeded yet: {folder}/.last_backup_success is not there"


def test_backup_at_the_limit_is_healthy_and_over_it_is_not(folder: Path, publish: Publish) -> None:
    """25 hours are allowed, a minute more is not."""
    publish(hours_old=0)
    assert check_health(limits(folder), now=NOW + timedelta(hours=25)).healthy
    assert "is 25.0 hours old" in reason(folder, now=NOW + timedelta(hours=25, minutes=1))
    assert "expected at most BACKUP_MAX_AGE_HOURS=25" in reason(folder, now=NOW + timedelta(days=9))


def test_time_in_the_future_is_named_unless_clocks_only_differ_a_little(folder: Path, publish: Publish) -> None:
    """A worker's clock may be seconds ahead; a year is a mistake that would hide every missing backup."""
    publish(hours_old=0)
    assert check_health(limits(folder), now=NOW - timedelta(minutes=4)).healthy
    assert "has a time in the future" in reason(folder, now=NOW - timedelta(minutes=6))
    (folder / ".last_backup_success").write_text("9999-12-31T23:59:59+00:00\n")
    assert "has a time in the future" in reason(folder)


@pytest.mark.parametrize(
    "content", [b"", b"yesterday\n", b"\xff\xfe\x00", b"2026-11-20T02:00:04\n", b"0001-01-01T00:00:00+14:00"]
)
def test_status_file_that_holds_no_time_is_named(folder: Path, publish: Publish, content: bytes) -> None:
    """Damaged, or without a zone."""
    publish()
    (folder / ".last_backup_success").write_bytes(content)
    assert "expected a time with its zone" in reason(folder)


def test_status_file_that_is_no_ordinary_file_does_not_hang_the_check(folder: Path, publish: Publish) -> None:
    """A named pipe, a folder, a link into nowhere: Docker would kill a check that waits, without a reason."""
    publish()
    path = folder / ".last_backup_success"
    path.unlink()
    os.mkfifo(path)
    assert reason(folder) == f"{path} is not an ordinary file"
    path.unlink()
    path.mkdir()
    assert reason(folder) == f"{path} cannot be read: Is a directory"
    path.rmdir()
    path.symlink_to("nowhere")
    assert "no backup has succeeded yet" in reason(folder)
    path.unlink()
    path.symlink_to(path.name)
    assert reason(folder) == f"{path} cannot be read: Too many levels of symbolic links"


def test_size_file_that_is_missing_or_damaged_is_named(folder: Path, publish: Publish) -> None:
    """Both status files are written together."""
    publish()
    (folder / ".last_backup_size_mb").write_text("many\n")
    assert reason(folder) == f"{folder}/.last_backup_size_mb holds no whole number"
    (folder / ".last_backup_size_mb").unlink()
    assert reason(folder) == f"{folder}/.last_backup_size_mb is not there, though .last_backup_success is"


def test_archive_that_is_gone_or_not_of_its_size_is_named(folder: Path, publish: Publish) -> None:
    """What the status files say is worth nothing without the file."""
    publish(hours_old=30)
    archive = publish(hours_old=3)
    with archive.open("ab") as file:
        file.write(b"x")
    assert f"has {2 * BYTES_PER_MB + 1} bytes, its manifest says {2 * BYTES_PER_MB}" in reason(folder)
    archive.unlink()
    assert "the archive of the last success" in reason(folder)
    for left in folder.glob("*.tar.gz"):
        left.unlink()
    assert reason(folder).endswith("holds no archive: the backups that succeeded are gone")


@pytest.mark.parametrize(
    ("content", "piece"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no archive_bytes"),
        ('{"archive_bytes": "2"}', "has no archive_bytes, or it is no int"),
        ('{"archive_bytes": 2097152, "snapshot_at": "soon"}', "expected a time with its zone"),
    ],
)
def test_manifest_that_cannot_be_read_is_named(folder: Path, publish: Publish, content: str, piece: str) -> None:
    """Its name and what is wrong with it."""
    path = archive_name.sidecar_path(publish())
    path.write_text(content)
    assert str(path) in reason(folder)
    assert piece in reason(folder)
    path.unlink()
    assert reason(folder) == f"{path} is not there"


def test_failed_drill_of_the_newest_archive_is_unhealthy_an_older_one_is_history(
    folder: Path, publish: Publish
) -> None:
    """The reason is the drill's own, in one line."""
    drill(publish(hours_old=30), passed=False, error="old")
    newest = publish(hours_old=3)
    report = check_health(limits(folder), now=NOW)
    assert report.healthy
    assert "last drill failed" in report.reason
    drill(newest, passed=False, error="checksum mismatch\nin \x1b[31musers")
    assert reason(folder).endswith(f"{newest.name}, failed its drill: checksum mismatch in  [31musers")
    drill(newest, passed=True)
    assert check_health(limits(folder), now=NOW).healthy
    (folder / newest.name.replace(".tar.gz", ".drill.json")).write_text("{}")
    assert "has no drilled_at" in reason(folder)


def test_odd_size_and_a_full_disk_are_warnings_only(folder: Path, publish: Publish) -> None:
    """The archive is there; whoever reads the line is told."""
    publish(size=BYTES_PER_MB - 1)
    report = check_health(limits(folder), now=NOW)
    assert report.healthy
    assert report.warnings == ("the newest archive has 1.0 MB, less than BACKUP_MIN_SIZE_MB=1",)
    size = 100 * BYTES_PER_MB
    assert odd_figures(limits(folder), archive_bytes=size, free_bytes=2 * size) == []
    (large, full) = odd_figures(limits(folder), archive_bytes=size + 1, free_bytes=2 * size)
    assert large.endswith("more than BACKUP_MAX_SIZE_MB=100")
    assert full.startswith("200 MB are free")


@pytest.mark.parametrize(
    ("last", "hours_in_truth"),
    [
        (datetime(2026, 10, 24, 3, tzinfo=ZoneInfo("Europe/Berlin")), 25),
        (datetime(2026, 3, 28, 3, tzinfo=ZoneInfo("Europe/Berlin")), 23),
        (datetime(2026, 10, 31, 3, tzinfo=ZoneInfo("America/New_York")), 25),
        (datetime(2026, 3, 7, 3, tzinfo=ZoneInfo("America/New_York")), 23),
        (datetime(2026, 10, 24, 3, tzinfo=ZoneInfo("Asia/Bangkok")), 24),
    ],
)
def test_a_day_over_a_clock_change_is_never_more_than_24_hours(last: datetime, hours_in_truth: int) -> None:
    """From 03:00 to 03:00, in autumn, spring and a place without summer time."""
    seen, zone = (last + timedelta(days=1)).astimezone(timezone.utc), last.tzinfo
    assert zone
    assert (seen - last.astimezone(timezone.utc)) / timedelta(hours=1) == hours_in_truth
    assert age_hours(last.astimezone(timezone.utc), now=seen, zone=zone) == min(24, hours_in_truth)


def test_a_nightly_run_in_the_hour_that_spring_skips_raises_no_alarm(folder: Path) -> None:
    """After 02:00 comes 03:00 that night: 25 hours on the wall, 24 in truth."""
    berlin = ZoneInfo("Europe/Berlin")
    last = datetime(2026, 3, 28, 2, 0, tzinfo=berlin)
    now = datetime(2026, 3, 29, 3, 5, tzinfo=berlin)
    assert age_hours(last, now=now.astimezone(timezone.utc), zone=berlin) == pytest.approx(24 + 5 / 60)


def test_age_in_the_hour_that_comes_twice_is_never_negative_by_more_than_the_change() -> None:
    """A success at the first 02:30 looked at in the second 02:10 is young, not in the future."""
    berlin = ZoneInfo("Europe/Berlin")
    last = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
    now = datetime(2026, 10, 25, 1, 10, tzinfo=timezone.utc)
    assert -1 <= age_hours(last, now=now, zone=berlin) <= 40 / 60


def test_encrypted_archive_is_an_archive(folder: Path, publish: Publish) -> None:
    """Its manifest and drill are found beside it; a plain one and an encrypted one may lie side by side."""
    publish(hours_old=30)
    newest = publish(encryption=ENCRYPTION)
    drill(newest, passed=True)
    report = check_health(limits(folder), now=NOW)
    assert (report.healthy, report.facts["archive"]) == (True, newest.name)
    assert newest.name.endswith(".tar.gz.age")
    assert report.facts["drill_passed"] is True


def test_hour_that_comes_twice_hides_no_archive(folder: Path, publish: Publish) -> None:
    """The newest checkpoint has an earlier name than those of the same hour before; one that is gone is still told."""
    earlier = publish(hours_old=1)
    later_name = f"critical_backup_{NOW:%Y%m%d_%H}5959"
    for file in (earlier, archive_name.sidecar_path(earlier)):
        file.rename(file.with_name(file.name.replace(earlier.name[:31], later_name)))
    earlier_renamed = earlier.with_name(f"{later_name}.tar.gz")
    newest = publish(hours_old=0.5)
    report = check_health(limits(folder), now=NOW)
    assert (report.healthy, report.facts["archive"]) == (True, newest.name)
    drill(earlier_renamed, passed=False)
    assert check_health(limits(folder), now=NOW).healthy, "an older one failed its drill: that is history"
    drill(newest, passed=False)
    assert "failed its drill" in reason(folder)
    newest.unlink()
    assert "is gone; the newest is" in reason(folder)


def test_newer_archive_whose_manifest_cannot_be_read_is_not_passed_over(folder: Path, publish: Publish) -> None:
    """As where its run failed in a later step: the last success is older than it."""
    publish(hours_old=20)
    newest = publish(hours_old=1, succeeded=False)
    assert check_health(limits(folder), now=NOW).healthy
    archive_name.sidecar_path(newest).write_text("{")
    assert "is not JSON" in reason(folder)


def test_encrypted_backup_wants_room_three_times(folder: Path) -> None:
    """The archive and the encrypted one are on the disk at once; who warns does so one archive before."""
    size = 5 * BYTES_PER_MB
    assert odd_figures(limits(folder), archive_bytes=size, free_bytes=3 * size, copies=3) == []
    (full,) = odd_figures(limits(folder), archive_bytes=size, free_bytes=3 * size - 1, copies=3)
    assert "less than 3 times the newest archive" in full


def test_defaults_and_names_are_those_of_the_package() -> None:
    """The check cannot import them, so this holds them to one another."""
    packaged = read_limits({})
    for field, seen in (
        ("backup_dir", Path(packaged.backup_dir)),
        ("backup_max_age_hours", packaged.max_age_hours),
        ("backup_min_size_mb", packaged.min_size_mb),
        ("backup_max_size_mb", packaged.max_size_mb),
    ):
        assert Settings.model_fields[field].default == seen
    assert (health.LAST_SUCCESS_FILE, health.LAST_SIZE_FILE) == (status.LAST_SUCCESS_FILE, status.LAST_SIZE_FILE)
    assert archive_name.ARCHIVE_NAME.pattern == f"^{health.ARCHIVE_NAME.pattern}$"


@pytest.mark.parametrize("shell", [[], *SHELLS])
def test_script_answers_in_every_shell(shell: list[str], folder: Path, publish: Publish) -> None:
    """One line and exit status 0 or 1, by its own first line as well as with dash and bash."""
    bad = monitor(shell, folder)
    assert (bad.returncode, bad.stderr, len(bad.stdout.splitlines())) == (1, "", 1)
    assert bad.stdout.startswith("UNHEALTHY: BACKUP_DIR=")
    publish()
    good = monitor(shell, folder)
    assert (good.returncode, good.stderr, len(good.stdout.splitlines())) == (0, "", 1)
    assert good.stdout.startswith("OK: last backup ")


@pytest.mark.parametrize("shell", SHELLS)
def test_script_with_json_says_the_same_for_programs(shell: list[str], folder: Path, publish: Publish) -> None:
    """All figures by name; the exit status as without."""
    publish(size=0)
    answer = monitor(shell, folder, "--json")
    seen = json.loads(answer.stdout)
    assert (answer.returncode, seen["healthy"], seen["archive_bytes"], seen["drilled_at"]) == (0, True, 0, None)
    assert seen["warnings"] == ["the newest archive has 0.0 MB, less than BACKUP_MIN_SIZE_MB=1"]
    assert {"age_hours", "last_success_at", "last_size_mb", "archive", "verified_at", "free_bytes"} <= set(seen)
    bad = monitor(shell, folder / "gone", "--json")
    assert (bad.returncode, json.loads(bad.stdout)["healthy"]) == (1, False)


@pytest.mark.parametrize("name", ["with space", "-n", "$(touch x)", "a'b\"c", "new\nline", "\udcff", "%s\\n", "ก"])
@pytest.mark.parametrize("shell", SHELLS)
def test_script_with_an_odd_folder_answers_in_one_line(shell: list[str], name: str, folder: Path) -> None:
    """Whatever the folder is called."""
    answer = monitor(shell, folder / name)
    assert (answer.returncode, len(answer.stdout.splitlines()), answer.stderr) == (1, 1, "")
    assert "is not there" in answer.stdout
    (folder / name).mkdir()
    assert "is empty" in monitor(shell, folder / name).stdout


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("BACKUP_MAX_AGE_HOURS", "a day"),
        ("BACKUP_MIN_SIZE_MB", "-1"),
        ("BACKUP_MAX_SIZE_MB", "1.5"),
        ("BACKUP_TIMEZONE", "Bangkok/Asia"),
        ("BACKUP_TIMEZONE", "../../etc/passwd"),
    ],
)
def test_script_with_a_wrong_setting_names_it(folder: Path, setting: str, value: str) -> None:
    """A check that guesses would be healthy by mistake."""
    answer = monitor(["sh"], folder, **{setting: value})
    assert answer.returncode == 1
    assert answer.stdout.startswith(f"UNHEALTHY: {setting}='{value}' is not ")


def test_script_with_an_unknown_argument_says_its_usage(folder: Path) -> None:
    """It never takes a mistyped option for a healthy state."""
    answer = monitor(["sh"], folder, "--jsno")
    assert (answer.returncode, "usage: backup-monitor.sh [--json]" in answer.stdout) == (1, True)


def test_script_is_found_through_a_link_and_on_the_python_path(folder: Path, tmp_path: Path) -> None:
    """As /scripts/backup-monitor.sh in a container: a link to the package, or a copy with PYTHONPATH."""
    link, copy = tmp_path / "link.sh", tmp_path / "scripts" / "backup-monitor.sh"
    link.symlink_to(SCRIPT)
    copy.parent.mkdir()
    shutil.copy(SCRIPT, copy)
    environment = {"PATH": os.environ["PATH"], "BACKUP_DIR": str(folder)}
    with_path = environment | {"PYTHONPATH": f"/nowhere:{SCRIPT.parents[1]}"}
    for script, variables, piece in (
        (link, environment, "is empty"),
        (copy, with_path, "is empty"),
        (copy, environment, "finds no include/backup/health.py"),
    ):
        answer = subprocess.run([script], env=variables, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr) == (1, "")
        assert piece in answer.stdout

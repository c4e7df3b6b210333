"""The health check of several backups: by the limits that the watch leaves, the worst one's answer."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from include.backup.backup_id import UNNAMED, Backup
from include.backup.fleet import Fleet
from include.backup.fleet_limits import write_limits
from include.backup.health import FLEET_FILE, Unhealthy, check_fleet, read_fleet_limits
from include.backup.settings import Settings, load_settings
from tests.fix_archives import publish_archive

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "backup-monitor.sh"
ORDERS = Backup("orders")
ENTRY = "{connection: c, tables: {a.sql: [a]}, settings: {BACKUP_MAX_AGE_HOURS: 169, BACKUP_TIMEZONE: Asia/Bangkok}}"


@pytest.fixture
def environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A BACKUP_DIR with two backups, whose limits were left there; both are healthy."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "scope.yaml").write_text(f"version: 1\ntables: {{a.sql: [a]}}\nbackups:\n  orders: {ENTRY}\n")
    variables = {
        "ADMIN_EMAILS": "admin@example.com",
        "BACKUP_DIR": str(folder),
        "BACKUP_SCOPE_FILE": str(tmp_path / "scope.yaml"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (folder / "orders").mkdir(mode=0o700)
    publish_archive(folder, hours_old=1)
    publish_archive(folder / "orders", hours_old=100)
    write_limits(Fleet((UNNAMED, ORDERS)), load_settings())
    return {"BACKUP_DIR": str(folder), "PATH": os.environ["PATH"]}


def look(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the script as Docker does."""
    done = subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_each_backup_has_the_limits_that_were_left_for_it(environment: dict[str, str]) -> None:
    """Those of the one without an id are the environment's own."""
    first, second = read_fleet_limits(environment | {"BACKUP_MAX_AGE_HOURS": "30"})
    assert (first.backup_id, first.max_age_hours, str(first.zone)) == ("", 30, "UTC")
    assert (second.backup_id, second.max_age_hours, str(second.zone)) == ("orders", 169, "Asia/Bangkok")
    assert second.backup_dir == f"{environment['BACKUP_DIR']}/orders"


def test_all_healthy_is_one_line_about_the_oldest(environment: dict[str, str]) -> None:
    """A weekly backup of 100 hours is not too old for itself."""
    status, line = look(environment)
    assert (status, line[:66]) == (0, "OK: 2 backups; the oldest, critical_backup_orders: last backup 100")


def test_one_bad_backup_makes_all_unhealthy_and_is_named(environment: dict[str, str], folder: Path) -> None:
    """Also in JSON, which has the state of each."""
    (folder / "orders" / ".last_backup_success").unlink()
    status, line = look(environment)
    assert (status, line[:60]) == (1, "UNHEALTHY: 1 of 2 backups; critical_backup_orders: no backup")
    _, text = look(environment, "--json")
    assert json.loads(text)["backups"] == {"critical_backup": True, "critical_backup_orders": False}


def test_backup_that_has_never_run_is_unhealthy_but_not_a_missing_volume(
    environment: dict[str, str], folder: Path
) -> None:
    """Its folder comes with its first run."""
    (folder / "orders").rename(folder / "away")
    report = check_fleet(read_fleet_limits(environment), now=datetime.now(timezone.utc))
    assert not report.healthy
    assert "no backup of orders has run yet" in report.reason
    assert report.remedy.startswith("Trigger")


def test_limits_go_with_the_last_backup_that_has_an_id(environment: dict[str, str], folder: Path) -> None:
    """And stay while the scope file cannot be read: nothing is known then."""
    write_limits(Fleet((UNNAMED,), ("cannot be read",)), load_settings())
    assert (folder / FLEET_FILE).is_file()
    write_limits(Fleet((UNNAMED,)), load_settings())
    assert not (folder / FLEET_FILE).exists()
    assert look(environment)[1].startswith("OK: last backup 1.")


@pytest.mark.parametrize("content", ["", "[]", '{"backups": 1}'])
def test_limits_that_cannot_be_read_are_unhealthy(environment: dict[str, str], folder: Path, content: str) -> None:
    """A backup that nobody looks at is not healthy."""
    (folder / FLEET_FILE).write_text(content)
    with pytest.raises(Unhealthy, match=FLEET_FILE):
        read_fleet_limits(environment)
    assert look(environment)[0] == 1

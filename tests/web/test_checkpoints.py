"""Checkpoints on the page, in the endpoints and in the metrics: beside their backup, never mixed with it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.manifest import RunRecord
from tests.auth_manager import ONE_BACKUP_ONLY
from tests.fix_api_server import METRICS_TOKEN, ApiServer
from tests.fix_archives import publish_archive
from tests.fix_browser import Visit
from tests.fix_fleet import ORDERS, write_fleet

CHECKPOINTS = "orders_checkpoints"


@pytest.fixture
def archives(api_server: ApiServer) -> tuple[Path, Path]:
    """A night and a checkpoint of the same backup, which is drilled never."""
    settings = {"BACKUP_CHECKPOINT_SCHEDULE": "*/10 * * * *", "BACKUP_DRILL": "off"}
    write_fleet(api_server.scope_file, orders=ORDERS | {"settings": settings})
    folders = [api_server.backup_dir / name for name in ("orders", CHECKPOINTS)]
    for folder in folders:
        folder.mkdir(mode=0o700)
    now = datetime.now(timezone.utc)
    publish_archive(api_server.backup_dir, hours_old=1, now=now)
    slot = now.replace(hour=3, minute=30, second=0, microsecond=0)
    slot -= timedelta(days=slot > now)
    run = RunRecord(run_id="scheduled__1", kind="scheduled", stands_for=slot, reason="")
    night = publish_archive(folders[0], hours_old=3, now=now, run=run)
    return night, publish_archive(folders[1], hours_old=7 / 60, now=now, run=run)


def test_page_of_a_backup_names_its_checkpoints_and_theirs_shows_minutes(
    api_server: ApiServer, archives: tuple[Path, Path], visit: Visit
) -> None:
    """One line with a link there, and one back; each page has its own archives, age and buttons."""
    night, checkpoint = archives
    visitor = visit("admin")
    page = visitor.page
    choices = page.locator("#backup option").all_inner_texts()
    assert [choice.strip() for choice in choices] == ["✓ critical_backup", "✓ orders", f"✓ {CHECKPOINTS}"]
    assert "heckpoint" not in page.inner_text("section.verdict")
    page.select_option("#backup", "orders")
    page.click("form.choices button")
    page.wait_for_url("**/?backup=orders")
    line = page.locator("section.verdict p.note", has_text="Checkpoints in between")
    assert line.inner_text().startswith("✓ Checkpoints in between: the last is 7 min old, at most 30 min are allowed.")
    assert checkpoint.name not in page.content()
    line.locator("a").click()
    page.wait_for_url(f"**/?backup={CHECKPOINTS}")
    assert "Last checkpoint 7 min ago, at most 30 min are allowed; next at" in page.inner_text("h1")
    assert checkpoint.name in page.content()
    assert night.name not in page.content()
    assert page.locator("table.nights").count() == 0
    assert "The regular backup: the last is 3 h old" in page.inner_text("section.verdict")
    html = api_server.get(f"/backup/?backup={CHECKPOINTS}", "admin", accept="text/html").text
    assert "what the database holds now, without mail." in html
    assert "deliver_mail" not in html
    assert not visitor.complaints


def test_stale_checkpoints_are_a_line_on_the_page_of_their_backup_and_not_its_state(
    api_server: ApiServer, archives: tuple[Path, Path]
) -> None:
    """And a stale night is no reason to doubt the checkpoints."""
    before = api_server.get("/backup/status?backup=orders", "admin").json()
    (api_server.backup_dir / CHECKPOINTS / ".last_backup_success").write_text("2026-01-01T00:00:00+00:00")
    after = api_server.get("/backup/status?backup=orders", "admin").json()
    assert (after["state"], after["sentence"]) == (before["state"], before["sentence"])
    assert (
        "✕</span> Checkpoints in between" in api_server.get("/backup/?backup=orders", "admin", accept="text/html").text
    )
    stale = api_server.get(f"/backup/status?backup={CHECKPOINTS}", "admin").json()
    assert stale["state"] == "unsafe"
    assert "BACKUP_CHECKPOINT_MAX_AGE_MINUTES=30" in stale["sentence"]
    assert f"critical_backup_{CHECKPOINTS}" in stale["remedy"]
    assert (stale["nights"], stale["backfill"]) == ([], [])


def test_who_may_see_a_backup_alone_does_not_hear_of_its_checkpoints(
    api_server: ApiServer, archives: tuple[Path, Path]
) -> None:
    """Rights are those on their DAG."""
    page = api_server.get("/backup/?backup=orders", ONE_BACKUP_ONLY, accept="text/html")
    assert page.status_code == 200
    assert "Checkpoints in between" not in page.text
    assert api_server.get(f"/backup/status?backup={CHECKPOINTS}", ONE_BACKUP_ONLY).status_code == 403


def test_metrics_of_checkpoints_have_their_limit_and_no_share_of_slots(
    api_server: ApiServer, archives: tuple[Path, Path]
) -> None:
    """Some slots are left out, which is no failure."""
    lines = api_server.get("/backup/metrics", authorization=f"Bearer {METRICS_TOKEN}").text.splitlines()
    assert f'critical_backup_max_age_seconds{{backup="{CHECKPOINTS}"}} 1800.0' in lines
    assert f'critical_backup_healthy{{backup="{CHECKPOINTS}"}} 1.0' in lines
    assert 'critical_backup_max_age_seconds{backup="orders"} 90000.0' in lines
    ratios = [line for line in lines if line.startswith("critical_backup_success_ratio{")]
    assert ratios
    assert not [line for line in ratios if CHECKPOINTS in line]


def test_archive_of_checkpoints_expires_after_hours(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """The list promises what retention does: a day, not thirty; the newest seven stay."""
    folder = api_server.backup_dir / CHECKPOINTS
    for minutes in range(10, 80, 10):
        publish_archive(folder, hours_old=1 + minutes / 60, now=datetime.now(timezone.utc), succeeded=False)
    answer = api_server.get(f"/backup/history?backup={CHECKPOINTS}", "admin").json()["archives"]
    assert [archive["expires_at"] for archive in answer[:7]] == [None] * 7
    assert answer[7]["expires_at"][:10] > answer[7]["snapshot_at"][:10]
    assert answer[7]["expires_at"][10:] == answer[7]["snapshot_at"][10:]

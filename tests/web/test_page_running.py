"""What the status page says of runs in progress, and that it goes on saying it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from playwright.sync_api import expect

from include.backup.run import BackupRun
from tests.fix_browser import Visit
from tests.fix_nights import Nights, slot_of, start_restore


def set_task(run_id: str, task_id: str, state: str) -> None:
    """Put a task into a state, as the scheduler does."""
    from airflow.models import TaskInstance  # noqa: PLC0415 - only where Airflow is there
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import update  # noqa: PLC0415

    with create_session() as session:
        chosen = TaskInstance.run_id == run_id, TaskInstance.task_id == task_id
        session.execute(update(TaskInstance).where(*chosen).values(state=state))


def set_run(run_id: str, state: str) -> None:
    """End a run."""
    from airflow.models import DagRun  # noqa: PLC0415 - only where Airflow is there
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import update  # noqa: PLC0415

    with create_session() as session:
        ended = datetime.now(timezone.utc)
        session.execute(update(DagRun).where(DagRun.run_id == run_id).values(_state=state, end_date=ended))


def write_progress(nights: Nights, run_id: str, *, megabytes: int) -> None:
    """Write what a running export writes into its workspace every second."""
    now = datetime.now(timezone.utc)
    workspace = BackupRun(run_id, "scheduled", slot_of(0)).workspace(nights.folder)
    workspace.mkdir(parents=True, exist_ok=True)
    progress = {
        "started_at": (now - timedelta(seconds=2)).isoformat(),
        "at": now.isoformat(),
        "files": 9,
        "files_done": 4,
        "bytes": megabytes << 20,
        "tables": [{"table": "credit_transactions", "rows": 20_500, "bytes": 3 << 20}],
    }
    (workspace / "progress.json").write_text(json.dumps(progress))


def test_running_backup_is_followed_to_its_end(nights: Nights, visit: Visit) -> None:
    """Step, table, rows, speed and the estimated end; refreshed by itself, and at the end the page says so."""
    for ago in (3, 2, 1):
        nights.done(ago)
    run_id = nights.run(0, "running")
    set_task(run_id, "export_database", "running")
    write_progress(nights, run_id, megabytes=4)
    visitor = visit("viewer")
    running = visitor.page.locator("#running")
    expect(running).to_contain_text("export_database")
    expect(running).to_contain_text("4 of 9 files · 4.0 MB of rows · 2.0 MB/s")
    expect(running).to_contain_text("table credit_transactions: 20,500 rows, 3.0 MB")
    expect(running).to_contain_text("ends at about")
    before = float(str(running.locator("progress").get_attribute("value")))
    assert 0 < before < 1
    write_progress(nights, run_id, megabytes=8)
    expect(running).to_contain_text("8.0 MB of rows", timeout=10_000)
    assert float(str(running.locator("progress").get_attribute("value"))) > before
    set_task(run_id, "export_database", "success")
    set_run(run_id, "success")
    expect(visitor.page.locator("#ended")).to_contain_text("The run has ended.", timeout=10_000)
    assert not running.is_visible()
    assert visitor.complaints == []


def test_restore_that_waits_for_approval_says_so_and_links_where(nights: Nights, visit: Visit) -> None:
    """Whoever opens the page can help."""
    archive = nights.done(0)
    run_id = start_restore(nights, archive)
    set_run(run_id, "running")
    set_task(run_id, "approve_restore", "deferred")
    page = visit("viewer").page
    expect(page.locator("#running")).to_contain_text("Restore: waits for somebody to approve it.")
    assert str(page.locator("#running a").get_attribute("href")).endswith("/required_actions")


def test_hidden_tab_asks_for_nothing(nights: Nights, visit: Visit) -> None:
    """While something runs it asks every few seconds; hidden, not at all."""
    run_id = nights.run(0, "running")
    set_task(run_id, "export_database", "running")
    page = visit("viewer").page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_000)
    assert any(url.endswith("/running") for url in asked)
    page.evaluate(
        """() => {
          Object.defineProperty(document, 'hidden', {value: true, configurable: true});
          document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(4_500)
    assert asked == []

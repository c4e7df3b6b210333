"""Several backups on the page and in the endpoints: each by its id, for who may see it."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

import pytest

from include.backup.health import FLEET_FILE
from tests.auth_manager import ONE_BACKUP_ONLY
from tests.fix_api_server import METRICS_TOKEN, ApiServer
from tests.fix_archives import publish_archive
from tests.fix_browser import Visit
from tests.fix_fleet import ORDERS, write_fleet

# The second does not expect a backup every night.
WEEKLY = ORDERS | {"settings": {"BACKUP_MAX_AGE_HOURS": 169}}


@pytest.fixture
def archives(api_server: ApiServer) -> tuple[Path, Path]:
    """An archive of each of two backups; the second's has an age that the first's may not have."""
    write_fleet(api_server.scope_file, orders=WEEKLY)
    folders = (api_server.backup_dir, api_server.backup_dir / "orders")
    folders[1].mkdir(mode=0o700)
    made = []
    for folder, hours_old in zip(folders, (1, 100), strict=True):
        content = secrets.token_bytes(1000)
        sha256 = hashlib.sha256(content).hexdigest()
        path = publish_archive(folder, size=1000, hours_old=hours_old, archive_sha256=sha256)
        path.write_bytes(content)
        made.append(path)
    return made[0], made[1]


def test_page_shows_the_chosen_backup_and_stays_with_it(
    api_server: ApiServer, archives: tuple[Path, Path], visit: Visit
) -> None:
    """A choice at the top; every link of the second's page leads to the second, and its DAGs are its own."""
    first, second = archives
    visitor = visit("admin")
    page = visitor.page
    choices = page.locator("#backup option").all_inner_texts()
    assert [choice.strip() for choice in choices] == ["✓ critical_backup", "✓ orders"]
    assert first.name in page.content()
    page.select_option("#backup", "orders")
    page.click("form.choices button")
    page.wait_for_url("**/backup/?backup=orders")
    assert second.name in page.content()
    assert first.name not in page.content()
    assert page.locator('a[href$="/dags/restore_drill_orders"]').count()
    assert page.get_attribute("#running", "data-refresh") == "/backup/running?backup=orders"
    page.click(f'a[href*="/contents/{second.name}"]')
    page.wait_for_url(f"**/backup/contents/{second.name}?backup=orders")
    assert "of orders" in page.inner_text("h1")
    with page.expect_download() as download:
        page.click("text=Download")
    assert Path(download.value.path()).read_bytes() == second.read_bytes()
    assert not visitor.complaints


def test_page_of_a_single_backup_has_no_choice(api_server: ApiServer) -> None:
    """Without further backups nothing is there that was not there before."""
    assert 'id="backup"' not in api_server.get("/backup/", "admin", accept="text/html").text


def test_viewer_of_one_backup_sees_that_one_alone(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """Rights are those on the backup's DAG: the other is refused everywhere, and named nowhere."""
    first, second = archives
    page = api_server.get("/backup/", ONE_BACKUP_ONLY, accept="text/html")
    assert page.status_code == 200
    assert second.name in page.text
    assert first.name not in page.text
    assert 'id="backup"' not in page.text
    for path in ("/backup/", "/backup/status", "/backup/history", f"/backup/archives/{first.name}"):
        assert api_server.get(f"{path}?backup=", ONE_BACKUP_ONLY).status_code == 403, path
    history = api_server.get("/backup/history", ONE_BACKUP_ONLY).json()
    assert [archive["name"] for archive in history["archives"]] == [second.name]
    assert api_server.get(f"/backup/archives/{second.name}/download", ONE_BACKUP_ONLY).status_code == 403
    metrics = api_server.get("/backup/metrics", ONE_BACKUP_ONLY).text
    assert 'critical_backup_archives{backup="orders"} 1.0' in metrics
    assert 'backup=""' not in metrics


def test_backup_that_is_not_there_is_404(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """Also with a path in its name."""
    for unknown in ("nobody", "../orders", "Orders"):
        assert api_server.get(f"/backup/status?backup={unknown}", "admin").status_code == 404


def test_archive_of_another_backup_is_not_there(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """An archive is found in its own backup's folder alone."""
    first, second = archives
    assert api_server.get(f"/backup/archives/{second.name}?backup=orders", "admin").status_code == 200
    assert api_server.get(f"/backup/archives/{first.name}?backup=orders", "admin").status_code == 404


def test_metrics_have_the_backup_as_a_label_and_each_its_own_limit(
    api_server: ApiServer, archives: tuple[Path, Path]
) -> None:
    """The token reads all; both are healthy, each by its own limit."""
    metrics = api_server.get("/backup/metrics", authorization=f"Bearer {METRICS_TOKEN}").text
    for line in (
        'critical_backup_healthy{backup=""} 1.0',
        'critical_backup_healthy{backup="orders"} 1.0',
        'critical_backup_max_age_seconds{backup="orders"} 608400.0',
        'critical_backup_up{backup="orders",source="airflow"} 1.0',
    ):
        assert line in metrics.splitlines(), line


def test_health_is_that_of_the_worst_backup(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """By the limits that the watch has left."""
    limits = {"BACKUP_MAX_AGE_HOURS": 169, "BACKUP_MIN_SIZE_MB": 0}
    fleet_file = api_server.backup_dir / FLEET_FILE
    fleet_file.write_text(json.dumps({"backups": {"": {}, "orders": limits}}))
    assert api_server.get("/backup/health").status_code == 200
    fleet_file.write_text(json.dumps({"backups": {"": {}, "orders": limits | {"BACKUP_MAX_AGE_HOURS": 25}}}))
    assert api_server.get("/backup/health").status_code == 503


def test_wrong_entry_is_named_on_the_page(api_server: ApiServer, archives: tuple[Path, Path]) -> None:
    """The others are there as ever."""
    write_fleet(api_server.scope_file, orders=WEEKLY, bad=ORDERS | {"schedule": "at night"})
    page = api_server.get("/backup/", "admin", accept="text/html").text
    assert "critical_backup_bad is not made" in page
    assert "schedule=&#39;at night&#39;" in page
    assert api_server.get("/backup/?backup=orders", "admin", accept="text/html").status_code == 200

"""`GET /backup/metrics` of a real api-server: who may ask, and that Prometheus's own tools are content."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import RunRecord
from include.web import metrics
from tests.fix_api_server import METRICS_TOKEN, ApiServer
from tests.fix_archives import NOW, make_table, publish_archive
from tests.fix_prometheus import Promtool

PATH = "/backup/metrics"
BEARER = f"Bearer {METRICS_TOKEN}"
ARCHIVES = 365


@pytest.fixture
def year(api_server: ApiServer) -> Path:
    """A year of archives with their drills, each of thirty tables."""
    tables = tuple(make_table(f"table_{number}", "rows.csv", ("id", "name"), rows=number) for number in range(30))
    for ago in range(ARCHIVES):
        stands_for = NOW - timedelta(hours=3 + 24 * ago)
        record = RunRecord(run_id=f"run {ago}", kind="scheduled", stands_for=stands_for, reason="")
        archive = publish_archive(
            api_server.backup_dir, hours_old=3 + 24 * ago, size=1 << 20, run=record, tables=tables
        )
        drill = DrillRecord(
            drilled_at=NOW, passed=True, seconds=3, tables=30, rows=435, server_version="18.0", error=""
        )
        write_drill(archive, drill)
    return api_server.backup_dir


def test_nobody_gets_metrics_without_token_or_login(api_server: ApiServer) -> None:
    """No header, half a token, one character more, another scheme, a login that may see nothing."""
    assert api_server.get(PATH).status_code == 401
    assert api_server.get(PATH).headers["WWW-Authenticate"] == "Bearer"
    for wrong in (METRICS_TOKEN[:-1], METRICS_TOKEN + "0", METRICS_TOKEN.upper(), "é" * 36):
        answer = api_server.get(PATH, Authorization=f"Bearer {wrong}".encode())  # type: ignore[arg-type]
        assert answer.status_code == 401, wrong
        assert METRICS_TOKEN not in answer.text
    assert api_server.get(PATH, Authorization="Bearer").status_code == 401
    assert api_server.get(PATH, Authorization=f"Basic {METRICS_TOKEN}").status_code == 401
    assert api_server.get(PATH, user="guest").status_code == 403


def test_token_opens_the_metrics_and_nothing_else(api_server: ApiServer) -> None:
    """Whoever may look at the page may see them, too."""
    for answer in (
        api_server.get(PATH, Authorization=BEARER),
        api_server.get(PATH, Authorization=f"bearer {METRICS_TOKEN}"),
        api_server.get(PATH, user="viewer"),
    ):
        assert answer.status_code == 200
        assert "critical_backup_healthy 0.0" in answer.text
    for other in ("/backup/status", "/api/v2/dags"):
        assert api_server.get(other, Authorization=BEARER).status_code in (401, 403, 404)
        assert not api_server.get(other, Authorization=BEARER).is_success


def test_browser_without_login_is_sent_there(api_server: ApiServer) -> None:
    """As everywhere under /backup."""
    answer = api_server.get(PATH, Accept="text/html")
    assert answer.status_code == 307
    assert "next=" in answer.headers["location"]


@pytest.mark.usefixtures("year")
def test_metrics_of_a_year_of_archives_are_clean(api_server: ApiServer, promtool: Promtool) -> None:
    """Nothing for `promtool check metrics` to say."""
    answer = api_server.get(PATH, Authorization=BEARER)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "critical_backup_archives 365.0\n" in answer.text
    assert "critical_backup_archive_rows 435.0\n" in answer.text
    assert promtool("check", "metrics", text=answer.text) == ""


def test_scraper_that_wants_openmetrics_gets_it(api_server: ApiServer) -> None:
    """As Prometheus asks for it."""
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = api_server.get(PATH, Authorization=BEARER, Accept=wanted)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("variable", ["ADMIN_EMAILS", "BACKUP_TIMEZONE", "BACKUP_DIR"])
@pytest.mark.usefixtures("airflow")
def test_wrong_setting_is_told_and_not_an_error(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The token is still taken, and the answer is 200: an error would look like a server that is down."""
    monkeypatch.setenv("BACKUP_METRICS_TOKEN", METRICS_TOKEN)
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv(variable, "not/good")
    app = FastAPI()
    app.include_router(metrics.router)
    answer = TestClient(app).get("/metrics", headers={"Authorization": BEARER})
    assert answer.status_code == 200
    assert 'critical_backup_up{source="settings"} 0.0\n' in answer.text
    assert 'critical_backup_up{source="airflow"} 1.0\n' in answer.text


@pytest.mark.parametrize("token", [None, "", "short", "spaces in a token of thirty"])
@pytest.mark.usefixtures("airflow")
def test_token_that_is_none_lets_nobody_in(monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    """Not set, empty, or refused by the settings: an empty one must not be equal to an empty one."""
    if token is None:
        monkeypatch.delenv("BACKUP_METRICS_TOKEN", raising=False)
    else:
        monkeypatch.setenv("BACKUP_METRICS_TOKEN", token)
    app = FastAPI()
    app.include_router(metrics.router)
    for given in ("", token or "None"):
        answer = TestClient(app).get("/metrics", headers={"Authorization": f"Bearer {given}"})
        assert answer.status_code == 401

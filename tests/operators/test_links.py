"""Addresses of pages for people, in alerts and mails."""

from __future__ import annotations

import pytest

from include.backup.settings import load_settings
from include.operators.links import dag_url, run_url, status_page_url


@pytest.mark.parametrize(
    ("links", "airflow", "page"),
    [
        ("https://backups.example.com/base", "http://airflow.example.com", "https://backups.example.com/base/backup/"),
        ("", "http://airflow.example.com:8080/air/", "http://airflow.example.com:8080/air/backup/"),
        ("", "", None),
    ],
)
def test_status_page_is_where_links_lead_and_else_where_airflow_is(
    monkeypatch: pytest.MonkeyPatch, links: str, airflow: str, page: str | None
) -> None:
    """BACKUP_LINK_BASE_URL first; without any address none is guessed, for the page or for Airflow's own."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_LINK_BASE_URL", links)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", airflow)
    assert status_page_url(load_settings()) == page
    base = airflow.rstrip("/")
    assert run_url("d", "r") == (f"{base}/dags/d/runs/r" if airflow else None)
    assert dag_url("d") == (f"{base}/dags/d" if airflow else None)

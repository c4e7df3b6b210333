"""Addresses of pages for people: Airflow's own, and the status page of the backups."""

from __future__ import annotations

from airflow.sdk import conf

from include.backup.link import PAGE_PATH
from include.backup.settings import Settings


def run_url(dag_id: str, run_id: str) -> str | None:
    """Return the run's page, if Airflow's own address is configured."""
    return _below(_airflow(), f"/dags/{dag_id}/runs/{run_id}")


def dag_url(dag_id: str) -> str | None:
    """Return the DAG's page, if Airflow's own address is configured."""
    return _below(_airflow(), f"/dags/{dag_id}")


def status_page_url(settings: Settings) -> str | None:
    """
    Return the backup's status page: where the links in mails lead, otherwise where Airflow is.

    None if neither is known.
    """
    return _below(settings.backup_link_base_url or _airflow(), PAGE_PATH + settings.backup.query)


def _airflow() -> str:
    return str(conf.get("api", "base_url", fallback="") or "")


def _below(base: str, path: str) -> str | None:
    return f"{base.rstrip('/')}{path}" if base else None

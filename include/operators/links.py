"""Addresses of Airflow's own pages."""

from __future__ import annotations

from airflow.sdk import conf


def run_url(dag_id: str, run_id: str) -> str | None:
    """Return the run's page, if Airflow's own address is configured."""
    base = conf.get("api", "base_url", fallback="")
    return f"{base.rstrip('/')}/dags/{dag_id}/runs/{run_id}" if base else None

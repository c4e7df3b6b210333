"""What Airflow's audit log says of downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer


@pytest.fixture
def downloads(api_server: ApiServer, site: object, airflow: LocalAirflow) -> Callable[[], list[dict[str, Any]]]:
    """Return what Airflow's audit log says of downloads since the test began, oldest first; Airflow knows the DAG."""

    def read() -> list[dict[str, Any]]:
        path = "/api/v2/eventLogs?event=download_backup&order_by=id&limit=1000"
        entries: list[dict[str, Any]] = api_server.get(path, "admin").json()["event_logs"]
        return entries

    earlier = len(read())
    return lambda: read()[earlier:]

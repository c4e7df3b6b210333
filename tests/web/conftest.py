"""Archives with contents, for whoever downloads them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.backup.settings import BYTES_PER_MB
from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer
from tests.fix_archives import publish_archive

PutArchive = Callable[..., Path]


@pytest.fixture
def put_archive(api_server: ApiServer) -> PutArchive:
    """Put archives of random bytes into the server's BACKUP_DIR; keywords as those of `publish_archive`."""

    def put(*, size: int = 2 * BYTES_PER_MB + 7, **changes: object) -> Path:
        content = secrets.token_bytes(size)
        sha256 = hashlib.sha256(content).hexdigest()
        archive = publish_archive(api_server.backup_dir, size=size, archive_sha256=sha256, **changes)  # type: ignore[arg-type]
        archive.write_bytes(content)
        return archive

    return put


@pytest.fixture
def downloads(api_server: ApiServer, site: object, airflow: LocalAirflow) -> Callable[[], list[dict[str, Any]]]:
    """Return what Airflow's audit log says of downloads since the test began, oldest first; Airflow knows the DAG."""

    def read() -> list[dict[str, Any]]:
        path = "/api/v2/eventLogs?event=download_backup&order_by=id&limit=1000"
        entries: list[dict[str, Any]] = api_server.get(path, "admin").json()["event_logs"]
        return entries

    earlier = len(read())
    return lambda: read()[earlier:]

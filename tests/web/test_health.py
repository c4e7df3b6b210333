"""`GET /backup/health`: open to everyone, and says next to nothing."""

from __future__ import annotations

from tests.fix_api_server import ApiServer


def test_health_of_no_backups_says_nothing_but_that(api_server: ApiServer) -> None:
    """503 and two fields: no reason, no path, no name, also where a browser asks."""
    for accept in ("*/*", "text/html"):
        answer = api_server.get("/backup/health", Accept=accept)
        assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy", "age_hours": None})

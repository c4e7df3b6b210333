"""Who may what, asked of a real api-server: nothing but the health check is open."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.routing import APIRoute

from include.web.app import PREFIX, create_app
from tests.fix_api_server import ApiServer, PutArchive

NAME = "critical_backup_20261120_020004.tar.gz"
OPEN = {"/backup/health"}


def guarded_routes() -> list[str]:
    """Return the path of every route of the app, with a name of an archive in it, but for the open ones."""
    routes = (route for route in create_app().routes if isinstance(route, APIRoute))
    return sorted({PREFIX + route.path.replace("{name}", NAME) for route in routes} - OPEN)


@pytest.mark.parametrize("path", guarded_routes())
def test_route_refuses_whoever_is_not_logged_in(api_server: ApiServer, path: str) -> None:
    """Without a token, and with one that is none or is not Airflow's, every route of the app answers 401, no more."""
    strangers: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Basic YTpi"},
        {"Cookie": "_token=x"},
    )
    for headers in strangers:
        answer = api_server.get(path, **headers)
        assert answer.status_code == 401, headers
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert set(answer.json()) == {"detail"}
        assert NAME not in answer.text


@pytest.mark.parametrize("path", guarded_routes())
def test_route_refuses_whoever_has_no_right(api_server: ApiServer, path: str) -> None:
    """A login without a role in Airflow gets 403, in words that say what is missing, and the log notes it."""
    answer = api_server.get(path, "guest")
    assert answer.status_code == 403
    assert re.match(
        r"you are logged in as guest, who may not (see|start) runs of the DAG critical_backup", answer.json()["detail"]
    )
    assert re.search(rf"refused: 'guest' may not (see|start) runs of critical_backup: '{path}'", api_server.log)


@pytest.mark.parametrize("path", ["/backup/status", "/backup/history", "/backup/config", f"/backup/archives/{NAME}"])
def test_viewer_may_look(api_server: ApiServer, path: str) -> None:
    """Who may read the DAG's runs gets an answer (404 for an archive that is not there)."""
    assert api_server.get(path, "viewer").status_code in (200, 404)


def test_viewer_may_not_fetch(api_server: ApiServer, put_archive: PutArchive) -> None:
    """An archive holds everything: reading the DAG's runs is not enough for it, starting them is."""
    path = f"/backup/archives/{put_archive().name}/download"
    assert [api_server.get(path, user).status_code for user in ("viewer", "user", "admin")] == [403, 200, 200]
    with api_server.client("viewer") as viewer:
        assert viewer.head(path).status_code == 403


@pytest.mark.parametrize("path", [path for path in guarded_routes() if not path.endswith("/metrics")])
def test_person_who_is_not_logged_in_is_sent_to_the_login(api_server: ApiServer, path: str) -> None:
    """A browser is sent to Airflow's login, which comes back to the very address, query included."""
    answer = api_server.get(f"{path}?expires=1&signature=a%2Bb", Accept="text/html,*/*;q=0.8")
    assert answer.status_code == 307
    target = urlsplit(answer.headers["Location"])
    assert (target.scheme, target.netloc, target.path) == ("", "", "/auth/login")
    assert parse_qs(target.query) == {"next": [f"{path}?expires=1&signature=a%2Bb"]}


def test_person_without_the_right_reads_why(api_server: ApiServer) -> None:
    """A browser gets a page in words instead of JSON; a login that is there is not asked for once more."""
    answer = api_server.get("/backup/status", "guest", Accept="text/html")
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert "You are logged in as guest, who may not see runs of the DAG critical_backup" in answer.text
    assert '<a href="/backup/">' in answer.text


@pytest.mark.parametrize("path", ["/backup/health", "/backup/status", "/backup/nothing", "/backup/static/backup.svg"])
def test_every_answer_has_the_security_headers(api_server: ApiServer, path: str) -> None:
    """Also errors and redirects: nothing sniffed or framed elsewhere, no referrer, nothing private kept."""
    for accept in ("application/json", "text/html"):
        headers = api_server.get(path, Accept=accept).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'self'", "frame-ancestors 'self'", "object-src 'none'", "base-uri 'none'"} <= set(policy)
        assert headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-Original-URL"])
def test_address_in_a_header_leads_nobody_away(api_server: ApiServer, header: str) -> None:
    """Whatever a client or a proxy says about hosts stands in no redirect and on no page."""
    headers = {header: "host=evil.example" if header == "Forwarded" else "evil.example", "Accept": "text/html"}
    for user, path in (
        (None, "/backup/status"),
        ("guest", "/backup/status"),
        ("admin", "/backup/nothing"),
        ("admin", "/backup/status/"),
    ):
        answer = api_server.get(path, user, **headers)
        assert answer.status_code in (307, 403, 404)
        assert "evil.example" not in answer.text + str(answer.headers)

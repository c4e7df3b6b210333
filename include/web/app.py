"""The app: which routes there are, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from include.web import api, metrics, page
from include.web.headers import SecurityHeaders
from include.web.refusals import refuse

PREFIX = "/backup"
STATIC = Path(__file__).resolve().parent / "static"
DESCRIPTION = """\
What the nightly backup of Critical Backup has made, as JSON. Served by Airflow's api-server."""


def create_app() -> FastAPI:
    """Return the app that Airflow's api-server mounts under /backup."""
    app = FastAPI(
        title="Critical Backup",
        version="1.0.0",
        description=DESCRIPTION,
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        # Airflow's own documentation pages do not know this app, and these would be open to everyone.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, refuse)
    app.include_router(api.router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app

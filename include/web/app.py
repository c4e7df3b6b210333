"""The app: which routes there are, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from include.web import api, download, metrics, page
from include.web.headers import SecurityHeaders
from include.web.refusals import refuse

PREFIX = "/backup"
STATIC = Path(__file__).resolve().parent / "static"
DESCRIPTION = r"""
What the nightly backup has made. Served by Airflow's api-server, for who may read the runs of the DAG
`critical_backup` there; downloads are for who may start them. Programs log in with Airflow's token:

```sh
TOKEN=$(curl -fsS "$AIRFLOW/auth/token" -H 'Content-Type: application/json' \
    -d "{\"username\": \"$AIRFLOW_USER\", \"password\": \"$AIRFLOW_PASSWORD\"}" |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/')
```

Where scope.yaml names several backups, `?backup=ID` chooses one; without it the answer is about the first that the
login may see. Each has a DAG of its own, `critical_backup_ID`, and the rights are those on it.

Making a backup is Airflow's own, with Airflow's rights: trigger the DAG.

```sh
curl -fsS "$AIRFLOW/api/v2/dags/critical_backup/dagRuns" -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' \
    -d '{"logical_date": null, "conf": {"reason": "before migration 42", "deliver_mail": false}}'
```
"""


def create_app() -> FastAPI:
    """Return the app that Airflow's api-server mounts under /backup."""
    app = FastAPI(
        title="Critical Backup",
        version="1.0.0",
        description=DESCRIPTION.strip(),
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        # Airflow's own documentation pages do not know this app, and these would be open to everyone.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # It would send to the host that the client names, which could be anybody's.
        redirect_slashes=False,
    )
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, refuse)
    for part in (api, download, metrics, page):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app

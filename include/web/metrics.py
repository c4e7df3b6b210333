"""`GET /backup/metrics`: what Prometheus scrapes."""

from __future__ import annotations

import hmac
import logging
import os
from datetime import datetime, timezone
from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from include.backup.errors import SettingsError
from include.backup.settings import load_metrics_token
from include.web.access import may_look, signed_in
from include.web.measure import measure
from include.web.refusals import NOT_ALLOWED
from include.web.runs import read_runs

log = logging.getLogger(__name__)

router = APIRouter()

_token = HTTPBearer(scheme_name="metrics token", auto_error=False, description="BACKUP_METRICS_TOKEN.")
_TEXT = {"schema": {"type": "string"}}


async def may_scrape(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]) -> None:
    """Let pass who knows BACKUP_METRICS_TOKEN, and whoever may look at the page. Raise 401 or 403."""
    if given is None or not _is_token(given.credentials):
        user = await signed_in(request, given, None)
        await run_in_threadpool(may_look, request, user)


def _is_token(given: str) -> bool:
    try:
        token = load_metrics_token()
    except SettingsError as error:
        log.warning("nobody can use the metrics' token: %s", error)
        return False
    return token is not None and hmac.compare_digest(given.encode(), token.encode())


@router.get(
    "/metrics",
    dependencies=[Depends(may_scrape)],
    response_class=Response,
    responses=NOT_ALLOWED | {200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}},
)
def metrics(session: SessionDep, accept: Annotated[str, Header()] = "") -> Response:
    """
    Figures of the backups, for Prometheus; docs/monitoring/README.md lists them.

    Always 200 for whoever may ask: what cannot be read has `critical_backup_up` 0.
    """
    registry = CollectorRegistry()
    registry.register(
        measure(os.environ, lambda since: read_runs(session, since=since), now=datetime.now(timezone.utc))
    )
    encode, content_type = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": content_type})

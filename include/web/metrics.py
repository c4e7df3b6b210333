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

from include.backup.backup_id import Backup
from include.backup.errors import SettingsError
from include.backup.fleet import known_fleet
from include.backup.settings import load_metrics_token
from include.web.access import chosen_backup, readable_fleet, signed_in
from include.web.gauges import Gauges
from include.web.measure import ReadRuns, measure
from include.web.refusals import NOT_ALLOWED
from include.web.runs import read_runs

log = logging.getLogger(__name__)

router = APIRouter()

_token = HTTPBearer(scheme_name="metrics token", auto_error=False, description="BACKUP_METRICS_TOKEN.")
_TEXT = {"schema": {"type": "string"}}


async def scraped_backups(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]
) -> tuple[Backup, ...]:
    """
    Return the backups whose metrics are for who asks: all for who knows BACKUP_METRICS_TOKEN.

    For others those whose pages they may look at. Raise 401, or 403 where there is none.
    """
    if given is not None and _is_token(given.credentials):
        return (await run_in_threadpool(known_fleet)).backups
    user = await signed_in(request, given, None)
    readable = await run_in_threadpool(readable_fleet, user)
    if not readable.backups:
        chosen_backup(request, user, readable)
    return readable.backups


def _is_token(given: str) -> bool:
    try:
        token = load_metrics_token()
    except SettingsError as error:
        log.warning("nobody can use the metrics' token: %s", error)
        return False
    return token is not None and hmac.compare_digest(given.encode(), token.encode())


@router.get(
    "/metrics",
    response_class=Response,
    responses=NOT_ALLOWED | {200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}},
)
def metrics(
    backups: Annotated[tuple[Backup, ...], Depends(scraped_backups)],
    session: SessionDep,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """
    Figures of the backups, for Prometheus; docs/monitoring/README.md lists them.

    Always 200 for whoever may ask: what cannot be read has `critical_backup_up` 0.
    """
    registry = CollectorRegistry()
    now = datetime.now(timezone.utc)

    def runs_of(backup: Backup) -> ReadRuns:
        return lambda since: read_runs(session, since=since, dag_id=backup.dag_id)

    values = {backup: measure(os.environ, runs_of(backup), now=now, backup=backup) for backup in backups}
    registry.register(Gauges(values))
    encode, content_type = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": content_type})

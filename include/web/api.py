"""What programs ask: JSON about the backups."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from include.backup.health import Unhealthy, check_health, read_limits

router = APIRouter()


class Health(BaseModel):
    """As little as a monitor needs; the reason is for those who are logged in."""

    status: Annotated[Literal["healthy", "unhealthy"], Field(description="Whether there is a recent, sound archive.")]
    age_hours: Annotated[
        float | None, Field(description="Hours since the last success's snapshot; null if there is none to be seen.")
    ]


@router.get(
    "/health",
    operation_id="get_health",
    responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Health, "description": "The backups are not healthy."}},
)
@router.head("/health", include_in_schema=False)
def get_health(response: Response) -> Health:
    """Whether the backups are healthy: 200 if they are, otherwise 503. Open to everyone."""
    try:
        report = check_health(read_limits(os.environ), now=datetime.now(timezone.utc))
    except Unhealthy:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Health(status="unhealthy", age_hours=None)
    if not report.healthy:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Health(status="healthy" if report.healthy else "unhealthy", age_hours=report.facts.get("age_hours"))

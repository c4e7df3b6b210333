"""What programs ask: JSON about the backups."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Path, Query, Response, status
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from include.backup.errors import VerificationError
from include.backup.health import Unhealthy, check_fleet, read_fleet_limits
from include.backup.manifest import Sidecar, read_sidecar
from include.backup.masking import MASK, mask
from include.backup.overview import look
from include.backup.retention import RetentionPolicy
from include.backup.settings import Settings
from include.web.access import MayLook
from include.web.answers import Archive, Config, Health, History, SettingAnswer, Status
from include.web.configured import NAME_SCHEMA, Archives, Configured, sound_archive
from include.web.refusals import NO_ARCHIVE, REFUSED
from include.web.runs import read_facts

router = APIRouter()


@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    operation_id="get_health",
    responses={status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Health, "description": "The backups are not healthy."}},
)
def get_health(response: Response) -> Health:
    """Whether all backups are healthy: 200 if they are, otherwise 503. Open to everyone."""
    try:
        report = check_fleet(read_fleet_limits(os.environ), now=datetime.now(timezone.utc))
    except Unhealthy:  # a setting is wrong
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Health(status="unhealthy", age_hours=None)
    if not report.healthy:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Health(status="healthy" if report.healthy else "unhealthy", age_hours=report.facts.get("age_hours"))


@router.get("/status", operation_id="get_status", responses=REFUSED)
def get_status(_: MayLook, settings: Configured, __: Archives, session: SessionDep) -> Status:
    """Are we safe? The verdict with its reason, what to do, and what became of the last 90 days' nights."""
    now = datetime.now(timezone.utc)
    return Status.of(
        look(settings, read_facts(session, now=now, backup=settings.backup, pool=settings.backup_pool), now=now)
    )


@router.get("/history", operation_id="get_history", responses=REFUSED)
def get_history(
    _: MayLook,
    settings: Configured,
    archives: Archives,
    limit: Annotated[int, Query(ge=1, le=200, description="How many archives at most.")] = 30,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="How many of the newest to leave out.")] = 0,
) -> History:
    """The archives, newest first."""
    entries = archives.entries(offset, limit)
    expires_at = archives.expires_at(entries, RetentionPolicy.of(settings))
    page = tuple(Archive.of(entry, expires_at=expires_at[entry.name]) for entry in entries)
    return History(total=len(archives), limit=limit, offset=offset, archives=page)


@router.get("/archives/{name}", operation_id="get_archive", responses=REFUSED | NO_ARCHIVE)
def get_archive(
    _: MayLook,
    settings: Configured,
    __: Archives,
    name: Annotated[str, Path(description="The archive's name.", json_schema_extra=NAME_SCHEMA)],
) -> Sidecar:
    """The manifest of an archive: what is in it, with rows, bytes and SHA-256 of everything, but no rows."""
    entry = sound_archive(name, settings)
    try:
        return read_sidecar(entry.path)
    except VerificationError as error:
        raise HTTPException(status.HTTP_409_CONFLICT, str(error)) from None


@router.get("/config", operation_id="get_config", responses=REFUSED)
def get_config(_: MayLook, settings: Configured) -> Config:
    """The settings in force, without secrets."""
    return Config(
        settings={
            name.upper(): SettingAnswer(
                value=_shown(value := getattr(settings, name), is_default=value == field.default),
                default=None if field.default is PydanticUndefined else _shown(field.default, is_default=True),
            )
            for name, field in Settings.model_fields.items()
        }
    )


def _shown(value: object, *, is_default: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return MASK
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if is_default else mask(text)

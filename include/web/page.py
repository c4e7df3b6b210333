"""The status page, what of it refreshes by itself, and the contents of one archive: HTML for people."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Query, Request, status
from fastapi.responses import HTMLResponse

from include.backup.archive_list import find_archive
from include.backup.backup_id import Backup
from include.backup.contents import read_contents
from include.backup.errors import UnknownArchiveError, VerificationError
from include.backup.figures import RESTORE_OBJECTIVE_SECONDS, figures_of
from include.backup.overview import CALENDAR_DAYS, Overview, look
from include.backup.retention import RetentionPolicy
from include.backup.settings import Settings
from include.web.access import MayLook, ReadableFleet, is_allowed
from include.web.calendar import DAYS_OF_WEEK, MEANINGS, calendar_of
from include.web.charts import charts_of
from include.web.choices import choices_of
from include.web.configured import Archives, Configured
from include.web.in_progress import APPROVAL_TASK, read_in_progress
from include.web.neighbour import neighbour_of
from include.web.rendering import render_page
from include.web.runs import read_facts, read_runs

ARCHIVES_A_PAGE = 30
RUNS_TO_COMPARE = timedelta(days=14)

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_status(
    request: Request,
    user: MayLook,
    settings: Configured,
    readable: ReadableFleet,
    session: SessionDep,
    page: Annotated[str, Query(max_length=10)] = "1",
) -> HTMLResponse:
    """The status page; `page` turns the list of archives, and whatever is no number is the first."""
    now = datetime.now(timezone.utc)
    facts = read_facts(session, now=now, backup=settings.backup, pool=settings.backup_pool)
    overview = look(settings, facts, now=now)
    newest = next((entry for entry in overview.recent if entry.head), None)
    zone = ZoneInfo(settings.backup_timezone)
    values = {
        "overview": overview,
        "settings": settings,
        "now": now,
        "paused": facts.paused,
        "running": read_in_progress(session, settings, outcomes=facts.outcomes, newest=newest, now=now),
        "approval_task": APPROVAL_TASK,
        "may_start": _rights(user, settings.backup),
        "calendar": calendar_of(overview.nights, zone),
        "calendar_days": CALENDAR_DAYS,
        "days_of_week": DAYS_OF_WEEK,
        "meanings": MEANINGS,
        "figures": (figures := figures_of(overview.nights)),
        "charts": charts_of(figures, settings),
        "restore_objective": RESTORE_OBJECTIVE_SECONDS,
        "choices": choices_of(readable, now=now),
        "neighbour": neighbour_of(settings.backup, readable, now=now),
        **_archives(overview, settings, int(page) if page.isdecimal() else 1),
    }
    return render_page("status.html.j2", request, values, zone=zone, backup=settings.backup)


def _rights(user: BaseUser, backup: Backup) -> dict[str, bool]:
    """Return which of the buttons the person may press: Airflow is asked beforehand, so that each can say so."""
    dags = (backup.dag_id, backup.drill_dag_id, backup.restore_dag_id)
    return {dag_id: is_allowed(user, dag_id, "POST") for dag_id in dags}


def _archives(overview: Overview, settings: Settings, page: int) -> dict[str, Any]:
    """Return a page of the list of archives; before the first is the first, after the last the last."""
    archives = overview.archives
    total = len(archives) if archives else 0
    pages = max(-(-total // ARCHIVES_A_PAGE), 1)
    page = min(max(page, 1), pages)
    entries = archives.entries((page - 1) * ARCHIVES_A_PAGE, ARCHIVES_A_PAGE) if archives else []
    expires_at = archives.expires_at(entries, RetentionPolicy.of(settings)) if archives else {}
    return {"entries": entries, "expires_at": expires_at, "total": total, "page": page, "pages": pages}


@router.get("/running")
def show_running(
    request: Request, _: MayLook, settings: Configured, archives: Archives, session: SessionDep
) -> HTMLResponse:
    """The part of the status page that says what runs now."""
    now = datetime.now(timezone.utc)
    newest = next(iter(archives.entries(0, 1)), None)
    outcomes = read_runs(session, since=now - RUNS_TO_COMPARE, dag_id=settings.backup.dag_id)
    running = read_in_progress(session, settings, outcomes=outcomes, newest=newest, now=now)
    values = {"running": running, "approval_task": APPROVAL_TASK, "now": now}
    return render_page(
        "running.html.j2", request, values, zone=ZoneInfo(settings.backup_timezone), backup=settings.backup
    )


@router.get("/contents/{name}")
def show_contents(request: Request, user: MayLook, settings: Configured, archives: Archives, name: str) -> HTMLResponse:
    """What is in one archive, from its manifest, beside the archive before."""
    try:
        entry = find_archive(settings.backup_dir, name)
        contents = read_contents(entry, archives, settings)
    except UnknownArchiveError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"{error}; the status page lists those that are there") from None
    except VerificationError as error:
        raise HTTPException(
            status.HTTP_409_CONFLICT,
            f"{error}; do not restore from {name}: take another archive, and find out who or what has changed this one",
        ) from None
    values = {
        "entry": entry,
        "contents": contents,
        "may_start": _rights(user, settings.backup),
    }
    return render_page(
        "contents.html.j2", request, values, zone=ZoneInfo(settings.backup_timezone), backup=settings.backup
    )

"""
Who may look at the backups, and who may fetch them: Airflow's logins, and Airflow's rights on the DAG.

An app that a plugin brings is open to everyone; every route but the health check depends on one of these.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Query, Request, status
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from include.backup.backup_id import LONGEST_ID, UNNAMED, Backup
from include.backup.fleet import Fleet, known_fleet

log = logging.getLogger(__name__)

_token = HTTPBearer(scheme_name="token", auto_error=False, description="What Airflow's `POST /auth/token` gave.")
_cookie = APIKeyCookie(
    name=COOKIE_NAME_JWT_TOKEN, scheme_name="cookie", auto_error=False, description="What Airflow's login page set."
)


async def signed_in(
    request: Request,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)],
    _: Annotated[str | None, Depends(_cookie)],
) -> BaseUser:
    """Return who asks, by Airflow's token or cookie. Raise 401, also for a token that Airflow does not take."""
    try:
        return await get_user(request, None, token)
    except HTTPException as error:
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED,
            f"{error.detail}; log in to Airflow, or send its token as 'Authorization: Bearer …'",
            headers={"WWW-Authenticate": "Bearer"},
        ) from None


SignedIn = Annotated[BaseUser, Depends(signed_in)]


def readable_fleet(user: SignedIn) -> Fleet:
    """Return the backups whose runs Airflow lets the person see, and what is wrong with the scope file."""
    fleet = known_fleet()
    return replace(fleet, backups=tuple(backup for backup in fleet.backups if is_allowed(user, backup.dag_id, "GET")))


ReadableFleet = Annotated[Fleet, Depends(readable_fleet)]


def chosen_backup(
    request: Request,
    user: SignedIn,
    readable: ReadableFleet,
    backup: Annotated[
        str | None,
        Query(max_length=LONGEST_ID, description="Which backup, by its id; without, the first that you may see."),
    ] = None,
) -> Backup:
    """
    Return the backup that is asked for, otherwise the first that the person may see.

    Raise 401, 403, or 404 if there is none of that id.
    """
    every = known_fleet().backups
    if backup is None:
        wanted = next(iter(readable.backups or every), UNNAMED)
    else:
        wanted = Backup(backup)
        if wanted not in every:
            raise HTTPException(
                status.HTTP_404_NOT_FOUND, f"there is no backup {backup!r}; expected an id that scope.yaml has"
            )
    if wanted not in readable.backups:
        raise _refusal(request, user, wanted, "see")
    return wanted


Chosen = Annotated[Backup, Depends(chosen_backup)]


def may_look(user: SignedIn, _: Chosen) -> BaseUser:
    """Return who asks, if Airflow lets him see the runs of the backup's DAG. Raise 401 or 403."""
    return user


def may_fetch(request: Request, user: SignedIn, backup: Chosen) -> BaseUser:
    """
    Return who asks, if Airflow lets him start runs of the backup's DAG. Raise 401 or 403.

    An archive holds what the database and its configuration hold: whoever may only look must not take that home.
    """
    if not is_allowed(user, backup.dag_id, "POST"):
        raise _refusal(request, user, backup, "start")
    return user


def is_allowed(user: BaseUser, dag_id: str, method: Literal["GET", "POST"]) -> bool:
    """Whether Airflow lets this person see (GET) or start (POST) runs of the DAG; a backfill asks for the latter."""
    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
        user=user,
    )


def _refusal(request: Request, user: BaseUser, backup: Backup, deed: str) -> HTTPException:
    log.warning("refused: %r may not %s runs of %s: %r", user.get_name(), deed, backup.dag_id, request.url.path)
    return HTTPException(
        status.HTTP_403_FORBIDDEN,
        f"you are logged in as {user.get_name()}, who may not {deed} runs of the DAG {backup.dag_id} in Airflow; "
        "an administrator of Airflow can grant that",
    )


MayLook = Annotated[BaseUser, Depends(may_look)]
MayFetch = Annotated[BaseUser, Depends(may_fetch)]

"""
Who may look at the backups, and who may fetch them: Airflow's logins, and Airflow's rights on the DAG.

An app that a plugin brings is open to everyone; every route but the health check depends on one of these.
"""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request, status
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

DAG_ID = "critical_backup"

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


def may_look(request: Request, user: SignedIn) -> BaseUser:
    """Return who asks, if Airflow lets him see the runs of the DAG. Raise 401 or 403."""
    return _authorized(request, user, "GET", "see")


def may_fetch(request: Request, user: SignedIn) -> BaseUser:
    """
    Return who asks, if Airflow lets him start runs of the DAG. Raise 401 or 403.

    An archive holds what the database and its configuration hold: whoever may only look must not take that home.
    """
    return _authorized(request, user, "POST", "start")


def _authorized(request: Request, user: BaseUser, method: Literal["GET", "POST"], deed: str) -> BaseUser:
    allowed = get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=DAG_ID, team_name=DagModel.get_team_name(DAG_ID)),
        user=user,
    )
    if allowed:
        return user
    log.warning("refused: %r may not %s runs of %s: %r", user.get_name(), deed, DAG_ID, request.url.path)
    raise HTTPException(
        status.HTTP_403_FORBIDDEN,
        f"you are logged in as {user.get_name()}, who may not {deed} runs of the DAG {DAG_ID} in Airflow; "
        "an administrator of Airflow can grant that",
    )


MayLook = Annotated[BaseUser, Depends(may_look)]
MayFetch = Annotated[BaseUser, Depends(may_fetch)]

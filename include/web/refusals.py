"""How an error is said: JSON to a program, a page in plain words to a person, the login to whoever can log in."""

from __future__ import annotations

from datetime import timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from fastapi import Request, Response, status
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

from include.web.rendering import render_page

# For those that people meet; the others have the phrase of HTTP.
TITLES = {403: "Not allowed", 404: "Not there", 409: "Not to be used", 503: "Out of order"}


class Problem(BaseModel):
    """Why there is no better answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """What is wrong, and what to do about it, in words for people."""


# What the routes declare in the OpenAPI description.
NOT_ALLOWED: dict[int | str, dict[str, Any]] = {
    status.HTTP_401_UNAUTHORIZED: {"model": Problem, "description": "Nobody is logged in."},
    status.HTTP_403_FORBIDDEN: {"model": Problem, "description": "Who is logged in has not the right in Airflow."},
}
REFUSED = NOT_ALLOWED | {
    status.HTTP_404_NOT_FOUND: {"model": Problem, "description": "There is no backup of that id."},
    status.HTTP_503_SERVICE_UNAVAILABLE: {
        "model": Problem,
        "description": "A setting of the api-server is wrong, or BACKUP_DIR cannot be read there.",
    },
}
NO_ARCHIVE: dict[int | str, dict[str, Any]] = {
    status.HTTP_404_NOT_FOUND: {
        "model": Problem,
        "description": "There is no archive of that name, or no backup of that id.",
    },
    status.HTTP_409_CONFLICT: {"model": Problem, "description": "The archive is damaged, or its manifest is."},
}


def wants_page(request: Request) -> bool:
    """Whether a browser's person asks, not a program."""
    return "text/html" in request.headers.get("accept", "")


def refuse(request: Request, error: Exception) -> Response:
    """Return the answer for an HTTPException of a route."""
    if not isinstance(error, StarletteHTTPException):
        raise error
    if not wants_page(request):
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    if error.status_code == status.HTTP_401_UNAUTHORIZED:
        return RedirectResponse(get_auth_manager().get_url_login(next_url=_own_address(request)))
    title = TITLES.get(error.status_code) or HTTPStatus(error.status_code).phrase
    values = {"title": title, "detail": str(error.detail)}
    page = render_page("refusal.html.j2", request, values, zone=timezone.utc, status=error.status_code)
    page.headers.update(error.headers or {})
    return page


def _own_address(request: Request) -> str:
    """Return path and query of the request, without a host: that is what the client says, and could be anybody's."""
    query = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"]) + (f"?{query}" if query else "")

"""The archive itself, streamed from the disk: resumable, in constant memory, and every download on record."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timezone
from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.models.log import Log
from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request, status
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from include.backup.archive_list import ArchiveEntry
from include.backup.archive_name import is_encrypted
from include.backup.errors import LinkError
from include.backup.link import check_link
from include.web.access import MayFetch
from include.web.configured import NAME_SCHEMA, Archives, Configured, sound_archive
from include.web.refusals import NO_ARCHIVE, REFUSED, Problem

EVENT = "download_backup"
# Airflow's api-server compresses what it sends. This type it leaves alone, so that bytes and ranges are the file's; and
# other types where an encoding is named already. Encrypted archives have no registered type, and are no gzip.
MEDIA_TYPE = "application/gzip"
ENCRYPTED_MEDIA_TYPE = "application/octet-stream"
AS_IT_IS = {"Content-Encoding": "identity"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {MEDIA_TYPE: _BINARY, ENCRYPTED_MEDIA_TYPE: _BINARY}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_HEADERS = {
    "ETag": {"description": "SHA-256 of the archive, in quotes.", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "The archive's name.", "schema": {"type": "string"}},
}

_ONE_RANGE = re.compile(rb"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-[0-9]{1,18})")

log = logging.getLogger(__name__)
router = APIRouter()


class ArchiveResponse(FileResponse):
    """The file of an archive, or one part of it; whatever else a Range header says is ignored, as RFC 9110 allows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, the whole where not exactly one range of bytes is asked for."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or _is_one_range(value)]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _is_one_range(value: bytes) -> bool:
    match = _ONE_RANGE.fullmatch(value)
    return bool(match) and not (match and match[2] and int(match[2]) < int(match[1]))


def _asked_archive(
    user: MayFetch,
    settings: Configured,
    _: Archives,
    request: Request,
    name: Annotated[str, Path(description="The archive's name.", json_schema_extra=NAME_SCHEMA)],
    expires: Annotated[str | None, Query(description="Of a link from a mail: until when it works, unix time.")] = None,
    signature: Annotated[str | None, Query(description="Of a link from a mail.")] = None,
) -> ArchiveEntry:
    """Return the archive, if a link that was followed is valid and the archive is sound."""
    if expires is not None or signature is not None:
        now = datetime.now(timezone.utc)
        try:
            check_link(settings.backup_dir, name, expires=expires or "", signature=signature or "", now=now)
        except LinkError as error:
            log.warning("refused: %r with a link: %r: %s", user.get_name(), request.url.path, error)
            raise HTTPException(status.HTTP_403_FORBIDDEN, str(error)) from None
    return sound_archive(name, settings)


AskedArchive = Annotated[ArchiveEntry, Depends(_asked_archive)]


@router.get(
    "/archives/{name}/download",  # noqa: FAST003 - AskedArchive takes it
    operation_id="download_archive",
    response_class=ArchiveResponse,
    responses=REFUSED
    | NO_ARCHIVE
    | {
        status.HTTP_200_OK: {"content": _FILE, "headers": _HEADERS, "description": "The archive."},
        status.HTTP_206_PARTIAL_CONTENT: {
            "content": _FILE,
            "headers": _HEADERS,
            "description": "The asked part of it.",
        },
        status.HTTP_403_FORBIDDEN: {
            "model": Problem,
            "description": "Who is logged in has not the right in Airflow, or the link has expired or was altered.",
        },
        status.HTTP_416_RANGE_NOT_SATISFIABLE: {"content": _TEXT, "description": "The range begins after the end."},
    },
)
def download_archive(
    user: MayFetch,
    archive: AskedArchive,
    settings: Configured,
    session: SessionDep,
    request: Request,
    range_: Annotated[str, Header(alias="Range", description="To resume, for example `bytes=1048576-`.")] = "",
) -> FileResponse:
    """
    The archive, for who may start runs of the DAG: it holds what the database and its configuration hold.

    Links from mails have `expires` and `signature`; then both must be valid, besides the login. `If-Range` with the
    ETag makes sure that a resumed download goes on with the same file.
    """
    extra = {"archive": archive.name, "range": range_[:80], "by_link": "signature" in request.query_params}
    name = user.get_name()
    session.add(Log(EVENT, owner=name, owner_display_name=name, dag_id=settings.backup.dag_id, extra=json.dumps(extra)))
    session.commit()  # before the first byte: what cannot be recorded is not sent
    log.info("%r downloads %s", name, archive.name)
    return describe_download(archive)


@router.head("/archives/{name}/download", include_in_schema=False)  # noqa: FAST003
def describe_download(archive: AskedArchive) -> FileResponse:
    """The headers of the download."""
    sha256 = archive.head.archive_sha256 if archive.head else ""
    encrypted = is_encrypted(archive.name)
    return ArchiveResponse(
        archive.path,
        headers={"ETag": f'"{sha256}"'} | (AS_IT_IS if encrypted else {}),
        media_type=ENCRYPTED_MEDIA_TYPE if encrypted else MEDIA_TYPE,
        filename=archive.name,
    )

"""The dead-man's switch: somebody outside is told of start, success and failure, and alarms when it gets quiet."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from include.backup.masking import mask

log = logging.getLogger(__name__)

Event = Literal["start", "success", "fail"]
TIMEOUT_SECONDS = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address is a secret: it goes nowhere but where it was meant to."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


def ping(url: str | None, event: Event, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """
    Call the switch: the address itself on success, `/start` and `/fail` below it for the others.

    Never raises, and never takes longer than the time-out: neither names that are not resolved nor a server that is
    silent can hold up a backup. Redirects are not followed.

    Args:
        url: BACKUP_HEARTBEAT_URL; None calls nobody.
        event: What has happened.
        timeout_seconds: For all of it.

    Returns:
        Whether the switch took it. What went wrong otherwise is a warning in the log, without the address.
    """
    if not url:
        return False
    reasons = [f"no answer within {timeout_seconds:g} s"]
    # A socket's time-out holds for each of its steps, and not for looking up the name: only a thread can be left.
    caller = threading.Thread(target=_call, args=(url, event, timeout_seconds, reasons), daemon=True)
    try:
        caller.start()
        caller.join(timeout_seconds)
    except RuntimeError as error:  # no more threads
        reasons.append(str(error))
    reason = reasons[-1]
    if reason:
        log.warning("the heartbeat %s was not taken: %s; check BACKUP_HEARTBEAT_URL", event, mask(reason))
    else:
        log.info("the heartbeat %s was taken", event)
    return not reason


def _address(url: str, event: Event) -> str:
    parts = urlsplit(url)
    suffix = "" if event == "success" else f"/{event}"
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix if suffix else parts.path))


def _call(url: str, event: Event, timeout_seconds: float, reasons: list[str]) -> None:
    """Append the reason why the call failed; an empty one if it did not."""
    try:
        request = urllib.request.Request(_address(url, event), headers={"User-Agent": "critical-backup"})  # noqa: S310 - http(s) only
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=timeout_seconds):
            reasons.append("")
    except urllib.error.HTTPError as error:
        error.close()
        redirected = "; redirects are not followed" if error.code in range(300, 400) else ""
        reasons.append(f"it answered {error.code} {error.reason}{redirected}")
    except Exception as error:  # noqa: BLE001 - nothing in it is worth a backup
        reasons.append(str(getattr(error, "reason", error)) or type(error).__name__)

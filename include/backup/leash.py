"""Child processes that end when the task's process does, also if that is killed and cannot end them itself."""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import lru_cache

from include.backup.clients import PLAIN

# As the leader of its process group it hands the end on to everything below a script. Both signals: psql cancels its
# query at the server on the first, a shell that runs a program hears only the second.
_LEADER = """trap "trap '' INT TERM; kill -INT 0; kill -TERM 0" TERM; "$@" & wait $!"""


def ends_with_task(command: list[str]) -> list[str]:
    """
    Return the command, so changed that the kernel sends it SIGINT when the thread that starts it is gone.

    On SIGINT psql and pg_dump cancel their query at the server: nothing there goes on waiting for a lock. Where
    util-linux is missing (not Linux) the command is returned as it is, and ends when it next writes.

    Source: setpriv(1) --pdeathsig, prctl(2) PR_SET_PDEATHSIG.
    """
    return [*_leash(signal.SIGINT), *command]


def group_ends_with_task(command: list[str]) -> list[str]:
    """
    Return a command that runs a script whose whole process group ends on SIGTERM, and when the task's process is gone.

    Start it in a session of its own; its exit status is the script's.
    """
    return [*_leash(signal.SIGTERM), "sh", "-c", _LEADER, "sh", *command]


def _leash(request: signal.Signals) -> list[str]:
    setpriv = _setpriv()
    return [setpriv, "--pdeathsig", request.name.removeprefix("SIG"), "--"] if setpriv else []


@lru_cache(maxsize=1)
def _setpriv() -> str | None:
    """Return util-linux's setpriv; BusyBox has one that knows less."""
    program = shutil.which("setpriv")
    if not program:
        return None
    try:
        command = [program, "--pdeathsig", "INT", "--", "true"]
        subprocess.run(command, check=True, capture_output=True, timeout=10, env=PLAIN)
    except (OSError, subprocess.SubprocessError):
        return None
    return program

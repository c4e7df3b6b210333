"""Programs that the demo starts: each in a session of its own, and none of them outlives the demo."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ChildProcess", "bound_to_parent", "last_lines", "processes_with", "start_child"]

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ChildProcess:
    """A running program, the leader of its own session, with its output in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def is_running(self) -> bool:
        """Return whether the program itself is still there."""
        return self.process.poll() is None

    def request_stop(self, request: signal.Signals) -> None:
        """Ask the program to end; does not wait."""
        if self.is_running():
            self.process.send_signal(request)

    def wait_or_kill(self, patience_seconds: float) -> None:
        """Wait for the program to end, then end whatever is left of its session."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_seconds)
        # Children may have process groups of their own (Airflow's tasks do), but they keep the session.
        while left_over := session_members(self.process.pid):
            for pid in left_over:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(POLL_SECONDS)
        self.process.wait()


def start_child(name: str, command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path) -> ChildProcess:
    """
    Start a program in its own session, so that Ctrl-C in the terminal reaches only the demo.

    Args:
        name: What messages call it.
        command: The program and its arguments.
        environment: All of its environment.
        log: Where its output goes; what an earlier run wrote there is replaced.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    return ChildProcess(name, process, log)


def bound_to_parent(request: signal.Signals, privileges: Sequence[str] = ()) -> list[str]:
    """
    Return the words to put before a command, so that the kernel signals it when its parent dies.

    The parent is the *thread* that starts the command: start it from one that lives as long as the demo.

    Args:
        request: The signal that ends the program.
        privileges: More options of setpriv.

    Source: setpriv(1) --pdeathsig, prctl(2) PR_SET_PDEATHSIG.
    """
    setpriv = shutil.which("setpriv")
    if setpriv:
        return [setpriv, "--pdeathsig", request.name.removeprefix("SIG"), *privileges, "--"]
    if privileges or sys.platform == "linux":
        raise DemoError("setpriv was not found on PATH: it belongs to util-linux (apt install util-linux)")
    return []


def last_lines(log: Path, count: int = 8) -> str:
    """Return the end of a program's output, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def session_members(leader: int) -> list[int]:
    """Return the living processes of a session, zombies left out (Linux; empty elsewhere)."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # proc(5): "pid (name) state ppid pgrp session …"; the name may hold spaces and brackets.
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                members.append(int(folder.name))
    return members


def processes_with(variable: str) -> list[int]:
    """Return the other processes of this user that have `NAME=value` in their environment (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]

"""Airflow's four programs, started as a server would run them, without `airflow standalone`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from include.demo.airflow_environment import MARK
from include.demo.child_process import (
    ChildProcess,
    bound_to_parent,
    last_lines,
    processes_with,
    start_child,
)
from include.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["AirflowProcesses", "airflow_version", "migrate_metadata"]

AIRFLOW = (sys.executable, "-m", "airflow")
STOP_SECONDS = 8.0

# The log servers would listen on all interfaces. Nobody needs them: tasks run on this machine, and the
# api-server reads their log files itself.
COMMANDS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def airflow_version() -> str:
    """Return the installed Airflow's version, without importing it."""
    return version("apache-airflow")


def migrate_metadata(environment: Mapping[str, str], log: Path) -> None:
    """Create or upgrade Airflow's tables; raise DemoError with the output's end if that fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*bound_to_parent(signal.SIGTERM), *AIRFLOW, "db", "migrate"]
    with log.open("wb") as output:
        result = subprocess.run(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, cwd="/", check=False
        )
    if result.returncode:
        raise DemoError(f"airflow db migrate failed; the end of {log}:\n{last_lines(log)}")


@dataclass
class AirflowProcesses:
    """The running programs; each writes to its own file in `logs`."""

    environment: Mapping[str, str]
    logs: Path
    programs: list[ChildProcess] = field(default_factory=list)

    def start(self, *names: str) -> None:
        """Start these of Airflow's programs; call it in the main thread (they end when it ends)."""
        for name in names or COMMANDS:
            command = [*bound_to_parent(signal.SIGTERM), *AIRFLOW, *COMMANDS[name]]
            log = self.logs / f"{name}.log"
            self.programs.append(start_child(name, command, environment=self.environment, log=log))

    def kill_left_over(self) -> None:
        """End what an earlier demo in this folder left when it was killed."""
        for pid in processes_with(f"{MARK}={self.environment[MARK]}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def check(self) -> None:
        """Raise DemoError with the end of its log if one of the programs has died."""
        for program in self.programs:
            if not program.is_running():
                raise DemoError(
                    f"Airflow's {program.name} ended with status {program.process.returncode}; "
                    f"the end of {program.log}:\n{last_lines(program.log)}"
                )

    def stop(self) -> None:
        """
        End all programs completely: whatever is left of their sessions is killed.

        The api-server comes last: tasks that are just ending still report to it, and would wait for it.
        """
        for group in (
            [program for program in self.programs if program.name != "api-server"],
            [program for program in self.programs if program.name == "api-server"],
        ):
            for program in group:
                program.request_stop(signal.SIGTERM)
            for program in group:
                program.wait_or_kill(STOP_SECONDS)
        self.programs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

"""Programs that are measured: seconds from start to end, and when each line of their output came."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError
from include.demo.child_process import bound_to_parent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Stage", "run_program", "stages_of"]


@dataclass(frozen=True)
class Stage:
    """A part of a run, how long it took, and what it needed of the cores, if that was measured: of all threads."""

    name: str
    seconds: float
    processor_seconds: float | None = None


def run_program(
    command: Sequence[str | Path], *, environment: Mapping[str, str], folder: Path
) -> tuple[float, list[tuple[float, str]]]:
    """
    Run a program to its end, in a session of its own, so that nothing of it outlives an interrupted benchmark.

    Returns:
        The seconds it took, and its lines of output with the seconds after its start.

    Raises:
        BenchmarkError: If it failed, with the end of its output: no figure is taken from a failure.
    """
    started = time.monotonic()
    with subprocess.Popen(
        [*bound_to_parent(signal.SIGTERM), *map(str, command)],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        try:
            lines = [(time.monotonic() - started, line.rstrip()) for line in child.stdout]
            child.wait()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    seconds = time.monotonic() - started
    if child.returncode:
        end = "; ".join(line for _, line in lines[-3:])
        raise BenchmarkError(f"{command[0]} ended with {child.returncode}: {end}")
    return seconds, lines


def stages_of(lines: Sequence[tuple[float, str]], seconds: float) -> tuple[Stage, ...]:
    """Return the stages that a program announces with lines ending in `...`; what comes before the first is a start."""
    announced = [(at, line.removesuffix("...").strip()) for at, line in lines if line.endswith("...")]
    begun = [(0.0, "starting"), *announced]
    ends = [at for at, _ in announced] + [seconds]
    return tuple(Stage(name, end - at) for (at, name), end in zip(begun, ends, strict=True))

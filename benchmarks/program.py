"""What every benchmark with a source is as a program: its wishes, its folder, its server, one line if it fails."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import psycopg

from benchmarks.errors import BenchmarkError
from benchmarks.folder import BenchmarkFolder
from benchmarks.server import BenchmarkServer
from benchmarks.wishes import Wishes
from include.backup.errors import BackupError
from include.demo.errors import DemoError
from include.demo.progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

__all__ = ["run_benchmark", "run_in_folder"]

EXIT_INTERRUPTED = 130


def run_benchmark(
    options: argparse.Namespace,
    measure: Callable[[BenchmarkServer, Path, Wishes, Progress], None],
    *,
    copies: int = 0,
) -> int:
    """
    Let `measure` do its work with a server that runs and an empty folder, both gone afterwards; the source stays.

    Args:
        options: Of `command_line`.
        measure: Gets server, work folder, wishes, and where to say how far it is.
        copies: How many copies of the whole source it makes: the disk must have room for them.

    Returns:
        The exit status: 0, 1 after an error, which is shown in one line, 130 if interrupted.
    """

    def with_server(folder: BenchmarkFolder, wishes: Wishes, progress: Progress) -> None:
        with BenchmarkServer(folder.postgres) as server:
            measure(server, folder.work, wishes, progress)

    return run_in_folder(options, with_server, copies=copies)


def run_in_folder(
    options: argparse.Namespace, measure: Callable[[BenchmarkFolder, Wishes, Progress], None], *, copies: int = 0
) -> int:
    """Do as `run_benchmark` does, without a server."""
    for request in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, _interrupt)
    try:
        wishes = Wishes.from_command_line(options, os.environ)
        wishes.require_disk(copies)
        folder = BenchmarkFolder(wishes.folder)
        with folder.hold():
            measure(folder, wishes, Progress())
    except (BenchmarkError, BackupError, DemoError, psycopg.Error, OSError) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt

"""The benchmark's folder: what lies where, and that only one benchmark is at work in it."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BenchmarkFolder"]


@dataclass(frozen=True)
class BenchmarkFolder:
    """Everything the benchmark writes, its report aside, lies below `path`."""

    path: Path

    @property
    def postgres(self) -> Path:
        """The server's data with the source: kept for the next run."""
        return self.path / "postgres"

    @property
    def work(self) -> Path:
        """Archive, dump and unpacked files: gone when the run ends."""
        return self.path / "work"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """
        Keep other benchmarks out for as long as the context lasts; begin and end without work files.

        Raises:
            BenchmarkError: If another benchmark is at work here, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.path / "lock").open("w")
        except OSError as error:
            raise BenchmarkError(f"cannot write to {self.path}: {error.strerror}; choose another BENCH_DIR") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BenchmarkError(
                    f"a benchmark is at work in {self.path}: wait for it, since two disturb each other's figures"
                ) from None
            self.remove_work()
            self.work.mkdir(mode=0o700)
            try:
                yield
            finally:
                self.remove_work()

    def remove_work(self) -> None:
        """Remove what this run, or a killed one, has made."""
        if self.work.exists():
            shutil.rmtree(self.work)

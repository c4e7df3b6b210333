"""What the user set: SIZE, WINDOW, ROUNDS and the folders; everything wrong with it is said before work starts."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MB", "Wishes", "command_line", "page_folder"]

MB = 1 << 20
UNITS = {"MB": MB, "GB": 1 << 30}
SMALLEST_BYTES = 2 * MB  # the sample's fixed tables alone have 1.5 MB
MOST_ROUNDS = 100
REPOSITORY = Path(__file__).resolve().parents[1]

USUAL_WINDOW_BYTES = 630 * MB
USUAL_WINDOW_SHARE = 0.6  # of a source that is too small for that

# Tables and indexes of the source; of the rows in the window two restored copies, their files unpacked, packed and
# dumped; and write-ahead log, which the server keeps up to its max_wal_size.
DISK_PER_BYTE_OF_SOURCE = 1.5
DISK_PER_BYTE_IN_WINDOW = 6
DISK_FOR_SERVER_BYTES = 1200 * MB


def report_folder(environment: Mapping[str, str]) -> Path:
    """Return where the pages go: BENCH_REPORT_DIR, or docs/benchmarks."""
    return Path(environment.get("BENCH_REPORT_DIR") or REPOSITORY / "docs" / "benchmarks").resolve()


def page_folder(description: str | None) -> Path:
    """Return the folder of the pages for a program without options, once it was told none: --help starts nothing."""
    argparse.ArgumentParser(description=description).parse_args()
    return report_folder(os.environ)


@dataclass(frozen=True)
class Wishes:
    """
    How large and how often, and where.

    size_bytes: Of the source's tables, without indexes. window_bytes: Of these, the part that is backed up.
    folder: The benchmark's own; the source is kept there. report_folder: Gets figures, tables and charts.
    """

    size_bytes: int
    window_bytes: int
    rounds: int
    folder: Path
    report_folder: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Wishes:
        """
        Return the wishes of SIZE, WINDOW, ROUNDS, BENCH_DIR and BENCH_REPORT_DIR; empty ones mean the usual.

        Raises:
            BenchmarkError: If a value is none.
        """
        size_bytes = _size_bytes("SIZE", environment.get("SIZE") or "1GB")
        usual_window = min(USUAL_WINDOW_BYTES, int(USUAL_WINDOW_SHARE * size_bytes))
        wishes = cls(
            size_bytes=size_bytes,
            window_bytes=_size_bytes("WINDOW", wanted) if (wanted := environment.get("WINDOW")) else usual_window,
            rounds=_rounds(environment.get("ROUNDS") or "5"),
            folder=Path(environment.get("BENCH_DIR") or REPOSITORY / "var" / "bench").resolve(),
            report_folder=report_folder(environment),
        )
        if wishes.window_bytes > size_bytes:
            raise BenchmarkError(f"WINDOW={wanted} is more than the whole source: expected at most SIZE")
        return wishes

    @classmethod
    def from_command_line(cls, arguments: argparse.Namespace, environment: Mapping[str, str]) -> Wishes:
        """Return the wishes of the options, and where one is missing, of the environment. Raises BenchmarkError."""
        options = {"SIZE": arguments.size, "WINDOW": arguments.window, "ROUNDS": arguments.rounds}
        return cls.from_environment({**environment, **{name: value for name, value in options.items() if value}})

    def require_disk(self, copies: int = 0) -> None:
        """Raise BenchmarkError if the folder's disk lacks room for this size, and for copies of the source."""
        data = (
            DISK_PER_BYTE_OF_SOURCE * (1 + 2 * copies) * self.size_bytes + DISK_PER_BYTE_IN_WINDOW * self.window_bytes
        )
        needed = int(data) + min(2 * self.size_bytes, DISK_FOR_SERVER_BYTES)
        existing = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise BenchmarkError(
                f"too little disk for SIZE={self.size_bytes // MB}MB: {free // MB:,} MB free in {existing}, "
                f"needed {needed // MB:,} MB; choose a smaller SIZE, or a BENCH_DIR on another disk"
            )


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark with a source has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", help="of the source's tables, such as 1GB (the usual), or SIZE")
    parser.add_argument("--window", help="what of them is backed up, such as 630MB, or WINDOW")
    parser.add_argument("--rounds", help="5 or more to rely on, or ROUNDS")
    return parser


def _size_bytes(name: str, text: str) -> int:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?(MB|GB)", text.upper(), flags=re.ASCII)
    size_bytes = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size_bytes < SMALLEST_BYTES:
        raise BenchmarkError(
            f"{name}={text} is no size: expected at least {SMALLEST_BYTES // MB}MB, such as 500MB or 1GB"
        )
    return size_bytes


def _rounds(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text, flags=re.ASCII) or not 1 <= int(text) <= MOST_ROUNDS:
        raise BenchmarkError(f"ROUNDS={text} is no number of rounds: expected 1 to {MOST_ROUNDS}, 5 or more to rely on")
    return int(text)

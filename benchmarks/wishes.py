"""What the user set: SIZE, ROUNDS and the folders; everything wrong with it is said before work starts."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MB", "Wishes"]

MB = 1 << 20
UNITS = {"MB": MB, "GB": 1 << 30}
SMALLEST_BYTES = 2 * MB  # the sample's fixed tables alone have 1.5 MB
MOST_ROUNDS = 100
REPOSITORY = Path(__file__).resolve().parents[1]

# Tables and indexes of the source, of one restored copy, the archive, its files unpacked and the directory dump;
# and write-ahead log, which the server keeps up to its max_wal_size.
DISK_PER_BYTE_OF_DATA = 4
DISK_FOR_SERVER_BYTES = 1200 * MB


@dataclass(frozen=True)
class Wishes:
    """
    How large and how often, and where.

    size_bytes: Of the source's tables, without indexes. folder: The benchmark's own; the source is kept there.
    report_folder: Gets the figures, their table and their chart.
    """

    size_bytes: int
    rounds: int
    folder: Path
    report_folder: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Wishes:
        """
        Return the wishes of SIZE, ROUNDS, BENCH_DIR and BENCH_REPORT_DIR; empty ones mean the usual.

        Raises:
            BenchmarkError: If a value is none, or the disk has too little room for that size.
        """
        wishes = cls(
            size_bytes=_size_bytes(environment.get("SIZE") or "690MB"),
            rounds=_rounds(environment.get("ROUNDS") or "5"),
            folder=Path(environment.get("BENCH_DIR") or REPOSITORY / "var" / "bench").resolve(),
            report_folder=Path(environment.get("BENCH_REPORT_DIR") or REPOSITORY / "docs" / "benchmarks").resolve(),
        )
        wishes.require_disk()
        return wishes

    def require_disk(self) -> None:
        """Raise BenchmarkError if the folder's file system has less room than a run of this size needs."""
        needed = DISK_PER_BYTE_OF_DATA * self.size_bytes + min(2 * self.size_bytes, DISK_FOR_SERVER_BYTES)
        existing = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise BenchmarkError(
                f"too little disk for SIZE={self.size_bytes // MB}MB: {free // MB:,} MB free in {existing}, "
                f"needed {needed // MB:,} MB; choose a smaller SIZE, or a BENCH_DIR on another disk"
            )


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?(MB|GB)", text.upper(), flags=re.ASCII)
    size_bytes = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size_bytes < SMALLEST_BYTES:
        raise BenchmarkError(
            f"SIZE={text} is no size: expected at least {SMALLEST_BYTES // MB}MB, such as 500MB or 1GB"
        )
    return size_bytes


def _rounds(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text, flags=re.ASCII) or not 1 <= int(text) <= MOST_ROUNDS:
        raise BenchmarkError(f"ROUNDS={text} is no number of rounds: expected 1 to {MOST_ROUNDS}, 5 or more to rely on")
    return int(text)

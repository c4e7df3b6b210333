"""All that one run of the benchmark has found, as it is written to the JSON file."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.contest import ratio_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from benchmarks.contest import Ratio, Run

__all__ = ["Figures", "Sizes"]

FORMAT = 1


@dataclass(frozen=True)
class Sizes:
    """
    Bytes and rows of what was measured.

    tables, indexes: of the source. archive: compressed; unpacked: its files. dump: the peer's files.
    """

    tables_bytes: int
    indexes_bytes: int
    archive_bytes: int
    unpacked_bytes: int
    dump_bytes: int
    rows: int
    tables: int


@dataclass(frozen=True)
class Figures:
    """
    One contest.

    Args:
        made_at: When it began, aware.
        machine: What it ran on. settings: Of the server.
        busy_cores_before: In the minute before it began: more than a little means disturbed figures.
        competitors: In the order of the report; the last one is the peer that the others are held against.
        promise: The highest ratio promised.
    """

    made_at: datetime
    machine: Mapping[str, str]
    settings: Mapping[str, str]
    busy_cores_before: float
    sizes: Sizes
    backup_seconds: Mapping[str, float]
    competitors: tuple[str, ...]
    promise: float
    runs: Sequence[Run]

    @property
    def peer(self) -> str:
        """Return whom the others are held against."""
        return self.competitors[-1]

    @property
    def rounds(self) -> int:
        """Return how many rounds there were."""
        return max(run.round for run in self.runs)

    @property
    def ratios(self) -> dict[str, Ratio]:
        """Return everybody's ratio to the peer, the peer left out."""
        return {name: ratio_of(self.runs, name, self.peer) for name in self.competitors[:-1]}

    def seconds(self, competitor: str) -> list[float]:
        """Return the seconds that a competitor took, round by round."""
        return [run.seconds for run in self.runs if run.competitor == competitor]

    def stages(self, competitor: str) -> dict[str, float]:
        """Return the median seconds of each of a competitor's stages, in their order."""
        found: dict[str, list[float]] = {}
        for run in (run for run in self.runs if run.competitor == competitor):
            for stage in run.stages:
                found.setdefault(stage.name, []).append(stage.seconds)
        return {name: statistics.median(seconds) for name, seconds in found.items()}

    def as_json(self) -> dict[str, Any]:
        """Return everything, the ratios too, as JSON values: times to the millisecond, ratios from unrounded times."""
        return {
            "format": FORMAT,
            "made_at": self.made_at.isoformat(timespec="seconds"),
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "busy_cores_before": self.busy_cores_before,
            "sizes": vars(self.sizes),
            "backup_seconds": {name: round(seconds, 3) for name, seconds in self.backup_seconds.items()},
            "rounds": self.rounds,
            "promise": self.promise,
            "runs": [
                {
                    "competitor": run.competitor,
                    "round": run.round,
                    "turn": run.turn,
                    "seconds": round(run.seconds, 3),
                    "stages": [{"name": stage.name, "seconds": round(stage.seconds, 3)} for stage in run.stages],
                }
                for run in self.runs
            ],
            "ratios": [
                {
                    "competitor": ratio.competitor,
                    "peer": ratio.peer,
                    "rounds": [round(one, 4) for one in ratio.rounds],
                    "median": round(ratio.median, 4),
                    "within_promise": ratio.median <= self.promise,
                }
                for ratio in self.ratios.values()
            ],
        }

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

__all__ = ["Figures", "Promise"]

FORMAT = 2


@dataclass(frozen=True)
class Promise:
    """That a competitor takes at most so many times as long as a peer."""

    competitor: str
    peer: str
    at_most: float


@dataclass(frozen=True)
class Figures:
    """
    One contest.

    Args:
        made_at: When it began, aware.
        machine: What it ran on. settings: Of the server.
        versions: Of the programs.
        busy_cores_before: In the minute before it began: more than a little means disturbed figures.
        sizes: Bytes and rows of what was measured, by names that say which.
        competitors: In the order of the report; the last one is the peer that the others are held against.
        promises: Those of their ratios that were promised.
    """

    made_at: datetime
    machine: Mapping[str, str]
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    busy_cores_before: float
    sizes: Mapping[str, int]
    competitors: tuple[str, ...]
    promises: tuple[Promise, ...]
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

    def promised(self, promise: Promise) -> Ratio:
        """Return the ratio that a promise speaks of."""
        return ratio_of(self.runs, promise.competitor, promise.peer)

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

    def processor_seconds(self, competitor: str, stage: str) -> float:
        """Return the median of what a stage needed of the cores; it must have been measured."""
        needed = [
            one.processor_seconds
            for run in self.runs
            if run.competitor == competitor
            for one in run.stages
            if one.name == stage and one.processor_seconds is not None
        ]
        return statistics.median(needed)

    def as_json(self) -> dict[str, Any]:
        """Return everything, the ratios too, as JSON values: times to the millisecond, ratios from unrounded times."""
        return {
            "format": FORMAT,
            "made_at": self.made_at.isoformat(timespec="seconds"),
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "busy_cores_before": self.busy_cores_before,
            "sizes": dict(self.sizes),
            "rounds": self.rounds,
            "runs": [
                {
                    "competitor": run.competitor,
                    "round": run.round,
                    "turn": run.turn,
                    "seconds": round(run.seconds, 3),
                    "stages": [
                        {"name": stage.name, "seconds": round(stage.seconds, 3)}
                        | (
                            {}
                            if (needed := stage.processor_seconds) is None
                            else {"processor_seconds": round(needed, 3)}
                        )
                        for stage in run.stages
                    ],
                }
                for run in self.runs
            ],
            "ratios": [
                {
                    "competitor": ratio.competitor,
                    "peer": ratio.peer,
                    "rounds": [round(one, 4) for one in ratio.rounds],
                    "median": round(ratio.median, 4),
                }
                for ratio in self.ratios.values()
            ],
            "promises": [
                {
                    "competitor": promise.competitor,
                    "peer": promise.peer,
                    "at_most": round(promise.at_most, 4),
                    "median": round(self.promised(promise).median, 4),
                    "kept": self.promised(promise).median <= promise.at_most,
                }
                for promise in self.promises
            ],
        }

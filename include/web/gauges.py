"""What the metrics say: the name of each gauge, its meaning, and how its values are put down for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from include.backup.backup_id import Backup

PREFIX = "critical_backup_"


@dataclass(frozen=True)
class Gauge:
    """A metric: its name, what it says to somebody who sees it for the first time, and its label if it has one."""

    name: str
    meaning: str
    label: str | None = None


_GAUGES = (
    Gauge(
        "up",
        "Whether a source of these metrics could be read (1) or not (0); what comes from one that was not is missing.",
        "source",
    ),
    Gauge(
        "healthy",
        "Whether scripts/backup-monitor.sh calls the backups healthy (1) or not (0); it also says why.",
    ),
    Gauge("last_success_timestamp_seconds", "When the rows of the last successful backup were read, as Unix time."),
    Gauge(
        "age_seconds",
        "How old the last successful backup is by the clocks on the wall, or in truth where that is less: "
        "no clock change makes a backup too old.",
    ),
    Gauge(
        "max_age_seconds",
        "The age from which a backup is too old (BACKUP_MAX_AGE_HOURS, of checkpoints "
        "BACKUP_CHECKPOINT_MAX_AGE_MINUTES).",
    ),
    Gauge("last_run_success", "Whether the run that ended last succeeded (1) or failed (0)."),
    Gauge("last_run_end_timestamp_seconds", "When the run that ended last did so, as Unix time."),
    Gauge(
        "last_success_duration_seconds",
        "How long the successful run that ended last took, from its start to its last step, delivery included.",
    ),
    Gauge("run_in_progress", "Whether a run is under way or waits to begin (1) or none does (0)."),
    Gauge(
        "success_ratio",
        "Share of the nights (slots of BACKUP_SCHEDULE) of the last 7 or 30 days that have their backup, also a late "
        "or backfilled one, from 0 to 1; nights before the first backup, and one under way, do not count.",
        "window",
    ),
    Gauge(
        "failed_runs",
        "Runs of the last 30 days that stand failed, by the step that failed first; step=none where no step did, as "
        "when the run took too long.",
        "step",
    ),
    Gauge("archive_size_bytes", "Size of the newest sound archive."),
    Gauge("archive_rows", "Rows in the newest sound archive."),
    Gauge("archives", "Archives in BACKUP_DIR."),
    Gauge("archives_size_bytes", "Size of all archives in BACKUP_DIR together."),
    Gauge(
        "drill_success",
        "Whether the last drill, a real restore compared with the manifest, passed (1) or failed (0).",
    ),
    Gauge("drill_timestamp_seconds", "When the last drill was, as Unix time."),
    Gauge("drill_duration_seconds", "How long the last drill took to restore and to compare."),
    Gauge(
        "drill_interval_seconds",
        "How far the last drill may be behind the last successful backup (BACKUP_DRILL), 0 where every archive is "
        "drilled; missing where drills are off.",
    ),
    Gauge("disk_free_bytes", "Free space where BACKUP_DIR lies."),
    Gauge("disk_size_bytes", "Size of the file system where BACKUP_DIR lies."),
)
GAUGES = {gauge.name: gauge for gauge in _GAUGES}

# A gauge with a label has a value for each value of the label.
Values = dict[str, float | Mapping[str, float]]


class Gauges(Collector):
    """
    The gauges of one moment, for a registry of their own.

    Args:
        values: Of each backup, by the gauges' names; one that is not in it is not served: better missing than wrong.
            Where there is only the backup without an id, there is no label `backup`.
    """

    def __init__(self, values: Mapping[Backup, Values]) -> None:
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is served, in the order of `GAUGES`."""
        is_fleet = any(backup.id for backup in self._values)
        for gauge in GAUGES.values():
            labels = [*(["backup"] if is_fleet else []), *([gauge.label] if gauge.label else [])]
            family = GaugeMetricFamily(PREFIX + gauge.name, gauge.meaning, labels=labels)
            for backup, values in self._values.items():
                which = [backup.id] if is_fleet else []
                value = values.get(gauge.name)
                if isinstance(value, Mapping):
                    for label, labelled in sorted(value.items()):
                        family.add_metric([*which, label], labelled)
                elif value is not None:
                    family.add_metric(which, value)
            if family.samples:
                yield family

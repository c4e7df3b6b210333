"""`python -m benchmarks.health`: how long Docker's health check takes, with a month and with a year of archives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.errors import BenchmarkError
from benchmarks.nights import lay_archives
from benchmarks.report import write_page
from benchmarks.wishes import page_folder

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "backup-monitor.sh"
PROMISE_MS = 50
COUNTS = (30, 365)
ROUNDS = 50
METHOD = f"""\
`scripts/backup-monitor.sh` looks {ROUNDS} times at a folder of so many nights, each with archive, manifest, mails and
drill, as Docker's health check does: a new shell and a new Python each time, which take most of it. The processor's
time comes in steps of 10 ms.
"""


class Timing(NamedTuple):
    """Milliseconds of one look: until the script has ended, and those of them that it had a processor."""

    elapsed_ms: float
    processor_ms: float


def main(counts: Sequence[int] = COUNTS, rounds: int = ROUNDS, report: Path | None = None) -> int:
    """Measure, print the table, and with a folder write it there; slow is not a failure."""
    table = [
        "| archives | median ms | fastest ms | slowest ms | processor, median ms | asked |",
        "|--:|--:|--:|--:|--:|---|",
    ]
    print("\n".join(table))
    last = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=3)
    try:
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="bench-health-") as folder:
                lay_archives(Path(folder), count, last=last)
                looks = [look(Path(folder)) for _ in range(rounds)]
            elapsed = [timing.elapsed_ms for timing in looks]
            processor = median(timing.processor_ms for timing in looks)
            figures = f"{median(elapsed):.0f} | {min(elapsed):.0f} | {max(elapsed):.0f} | {processor:.0f}"
            table.append(f"| {count:,} | {figures} | below {PROMISE_MS} |")
            print(table[-1], flush=True)
    except (BenchmarkError, OSError) as error:
        print(f"health: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if report:
        write_page("health", "The health check of Docker", ["\n".join(table), METHOD.rstrip()], report)
    return 0


def look(backup_dir: Path) -> Timing:
    """Run the script once as Docker does. Raise BenchmarkError if it does not find the backups healthy."""
    environment = {"PATH": os.environ["PATH"], "BACKUP_DIR": str(backup_dir)}
    before, begin = os.times(), time.perf_counter()
    answer = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)
    elapsed, after = time.perf_counter() - begin, os.times()
    if answer.returncode:
        raise BenchmarkError(f"{SCRIPT.name} found {answer.stdout.strip()}, expected healthy backups")
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return Timing(1000 * elapsed, 1000 * (user + system))


if __name__ == "__main__":
    sys.exit(main(report=page_folder(__doc__)))

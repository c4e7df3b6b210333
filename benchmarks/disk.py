"""`python -m benchmarks.disk`: how much of the disk a run needs at its peak, as a multiple of the archive."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.backup import RUN, Steps
from benchmarks.program import run_benchmark
from benchmarks.report import megabytes, write_page
from benchmarks.source import prepare_source
from benchmarks.wishes import MB, command_line
from include.backup.run import remove_workspace

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

PROMISE = 1.1
LOOK_SECONDS = 0.01
BLOCK_BYTES = 512  # of st_blocks: stat(2)

METHOD = """\
Allocated blocks of everything below BACKUP_DIR, looked at a hundred times a second while the steps of a single run
export, archive and verify; the workspace is removed at the end, as the last task does. Asked: at most {promise:g} times
the archive, which itself is part of it.
"""


class HighWater:
    """
    Looks at a folder, again and again, for as long as the context lasts.

    Args:
        folder: Whatever lies below it counts.
    """

    def __init__(self, folder: Path) -> None:
        self.peak_bytes = 0
        self.looks = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="disk")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.peak_bytes = max(self.peak_bytes, used_bytes(self._folder))
            self.looks += 1


def used_bytes(folder: Path) -> int:
    """Return what the folder's files have of the disk; one that vanishes meanwhile has nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * BLOCK_BYTES
        except FileNotFoundError:
            continue
    return total


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the report; much is not a failure."""
    return run_benchmark(command_line(__doc__).parse_args(arguments), report)


def report(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
    """Measure and write the report."""
    peaks, archive_bytes = measure_disk(server, work, wishes, progress)
    lines = ["| peak during | on the disk | times the archive | asked |", "|---|--:|--:|--:|"]
    for step, peak in peaks.items():
        lines.append(f"| {step} | {megabytes(peak)} | {peak / archive_bytes:.2f} | {PROMISE:g} |")
    sections = [
        f"The archive has {megabytes(archive_bytes)}.",
        "\n".join(lines),
        METHOD.format(promise=PROMISE).rstrip(),
    ]
    page = write_page("disk", "Disk needed during a run", sections, wishes.report_folder)
    print(*sections[:2], f"report: {page}", sep="\n\n")


def measure_disk(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> tuple[dict[str, int], int]:
    """Return the peak of each step, in bytes, and the archive's bytes."""
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    folder = work / "backups"
    folder.mkdir()
    steps = Steps(server.database(), server.clients, folder)
    with progress.step("One run"):
        with HighWater(folder) as exporting:
            exported = steps.export()
        with HighWater(folder) as archiving:
            unverified, manifest = steps.archive(exported)
        with HighWater(folder) as verifying:
            sidecar = steps.verify(unverified, manifest)
    remove_workspace(RUN, folder)
    peaks = {"export": exporting, "archive": archiving, "verify": verifying}
    return {step: seen.peak_bytes for step, seen in peaks.items()}, sidecar.archive_bytes


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.memory`: what the heavy tasks need above an idle one, with a small archive and a large one."""

from __future__ import annotations

import multiprocessing
import os
import re
import smtplib
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.backup import Steps
from benchmarks.delivery import ADMINS, make_letter
from benchmarks.errors import BenchmarkError
from benchmarks.program import run_benchmark
from benchmarks.report import write_page
from benchmarks.source import HISTORY_ENDS, WINDOW_BEGINS, prepare_source
from benchmarks.wishes import MB, command_line
from include.backup.delivery import Order, deliver
from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.backup.letter import Letter
    from include.demo.progress import Progress

LOADED = ("airflow.sdk", "include.operators.steps")
PROMISE_MB = 150
LOOK_SECONDS = 0.01
ATTACHMENTS_MB = (5, 25)
SHORT_WINDOW = timedelta(days=HISTORY_ENDS.toordinal() - WINDOW_BEGINS.toordinal()) / 100

METHOD = f"""\
Each step runs once, in a process of its own that has loaded what every task of the DAG has (`airflow.sdk` and the
steps); an idle task is that process before it begins. Its peak is the kernel's (`VmHWM`, set back before the step).
Programs that it starts (`psql`, `pg_dump`) are other processes: the largest peak that was seen of one (a hundred looks
a second) stands in a column of its own.
The small archive holds a hundredth of the window. Asked: at most {PROMISE_MB} MB above an idle task, and no more with
more rows. The mail is built and sent over TLS to a server on the loopback interface, {len(ADMINS)} administrators.
"""


@dataclass(frozen=True)
class Need:
    """Bytes of memory: of the process when idle, at its peak, and of its largest child program."""

    step: str
    size_bytes: int
    idle_bytes: int
    peak_bytes: int
    child_bytes: int

    def __str__(self) -> str:
        """Return it as a row of the table."""
        above = self.peak_bytes - self.idle_bytes
        cells = (self.size_bytes, self.idle_bytes, above, self.child_bytes)
        return f"| {self.step} | " + " | ".join(f"{cell / MB:,.0f}" for cell in cells) + f" | {PROMISE_MB} |"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the report; much is not a failure."""
    return run_benchmark(command_line(__doc__).parse_args(arguments), report)


def report(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
    """Measure and write the report."""
    needs = measure_memory(server, work, wishes, progress)
    head = "| step | archive or attachment, MB | idle, MB | above it, MB | largest program, MB | asked, MB above |"
    table = "\n".join([head, "|---|--:|--:|--:|--:|--:|", *map(str, needs)])
    title = "Memory of the tasks"
    print(table, f"report: {write_page('memory', title, [table, METHOD.rstrip()], wishes.report_folder)}", sep="\n\n")


def measure_memory(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> list[Need]:
    """Return the needs of export, archive, verification and mail, each with something small and something large."""
    os.environ |= {"AIRFLOW_HOME": str(work / "airflow"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    needs = []
    for name, begin in (("small", HISTORY_ENDS - SHORT_WINDOW), ("large", WINDOW_BEGINS)):
        folder = work / name
        folder.mkdir()
        steps = Steps(server.database(), server.clients, folder, begin)
        with progress.step(f"The {name} archive"):
            *exporting, exported = in_a_task(steps.export)
            *archiving, archived = in_a_task(steps.archive, exported)
            *verifying, sidecar = in_a_task(steps.verify, *archived)
        measured = zip(("export", "archive", "verify"), (exporting, archiving, verifying), strict=True)
        needs += [Need(step, sidecar.archive_bytes, *seen) for step, seen in measured]
    with Mailbox(work / "mailbox") as mailbox:
        for size_mb in ATTACHMENTS_MB:
            folder = work / f"mail{size_mb}"
            folder.mkdir()
            letter = make_letter(folder, size_mb * MB)
            *mailing, _ = in_a_task(
                send_mail, letter, mailbox.port, (mailbox.user, mailbox.password), str(mailbox.certificate)
            )
            needs.append(Need("mail", size_mb * MB, *mailing))
    return sorted(needs, key=lambda need: need.step)


def send_mail(letter: Letter, port: int, login: tuple[str, str], certificate: str) -> None:
    """Mail the letter to all administrators."""
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=certificate))
        client.login(*login)
        deliver(client, letter, Order("backup@example.com", ADMINS, "benchmark"))


def in_a_task(step: Callable[..., Any], *arguments: Any) -> tuple[int, int, int, Any]:
    """
    Do a step in a process like a task's.

    Returns:
        The bytes when idle, at the peak, of the largest child program; and what the step returned.

    Raises:
        BenchmarkError: If the step failed.
    """
    loaded = multiprocessing.get_context("forkserver")  # as LocalExecutor forks its tasks
    loaded.set_forkserver_preload(list(LOADED))
    line, other_end = loaded.Pipe()
    process = loaded.Process(target=_task, args=(other_end, step, arguments), daemon=True)
    process.start()
    other_end.close()
    largest = 0
    while not line.poll(LOOK_SECONDS):
        largest = max(largest, *_peaks_of_programs(process.pid), 0)
    seen = line.recv()
    process.join()
    if isinstance(seen, str):
        raise BenchmarkError(f"{step.__name__} failed: {seen}")
    idle, peak, result = seen
    return idle, peak, largest, result


def _peaks_of_programs(pid: int | None) -> list[int]:
    """Return the peaks of the process's psql and pg_dump; a fork that is no program yet has its parent's memory."""
    peaks = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if re.match(r"Name:\s+(psql|pg_dump)$", text, re.MULTILINE) and f"\nPPid:\t{pid}\n" in text:
            peaks.append(_kilobytes(text, "VmHWM"))
    return peaks


def _task(line: Connection, step: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for module in LOADED:
        import_module(module)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on: proc(5)
    idle = _own("VmRSS")
    try:
        result = step(*arguments)
    except Exception as error:  # noqa: BLE001 - it is reported by who waits at the other end
        line.send(f"{type(error).__name__}: {error}")
    else:
        line.send((idle, _own("VmHWM"), result))


def _own(name: str) -> int:
    return _kilobytes(Path("/proc/self/status").read_text(), name)


def _kilobytes(status: str, name: str) -> int:
    """Return a figure of proc(5) in bytes; 0 of a process that has just ended."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())

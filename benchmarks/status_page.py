"""`python -m benchmarks.status_page`: how fast the status page and its data are, over HTTP from a real api-server."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median

import httpx

from benchmarks.errors import BenchmarkError
from benchmarks.nights import lay_archives, record_runs
from benchmarks.report import write_page
from benchmarks.wishes import page_folder
from include.demo.airflow_environment import ADMIN, airflow_environment, inherited_environment
from include.demo.airflow_processes import AirflowProcesses
from include.demo.databases import prepare_metadata
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.errors import DemoError
from include.demo.folder import DemoFolder
from include.demo.ports import HOST, free_port

# What is asked, by how many archives there are.
PROMISES_MS = {365: 100, 5000: 200}
ADDRESSES = {
    "/backup/": "the page",
    "/backup/status": "its data as JSON",
    "/backup/history?limit=200": "the list of 200",
    "/backup/metrics": "metrics",
    "/backup/health": "health",
}
ROUNDS = 50
READY_SECONDS = 180.0
METHOD = f"""\
Archives with manifests, deliveries and drills are laid into a folder, and 90 runs into Airflow's tables (PostgreSQL).
For each address a real api-server with one worker is started, which has only answered Airflow's own login, and asked
over HTTP: once, then {ROUNDS} times. All figures are milliseconds. "Processor" is the server's own time for a request,
on average. The server keeps no answers, only manifests that it has read.
"""


@dataclass(frozen=True)
class Timing:
    """
    How long an address took.

    Args:
        cold_ms: The first time after the server started.
        warm_ms: Each time after that.
        processor_ms: Of the server's processor time for each of those, on average: what a busy machine does not change.
    """

    cold_ms: float
    warm_ms: tuple[float, ...]
    processor_ms: float

    def __str__(self) -> str:
        """Return it as cells of the table."""
        figures = self.cold_ms, min(self.warm_ms), median(self.warm_ms), max(self.warm_ms), self.processor_ms
        return " | ".join(f"{figure:,.0f}" for figure in figures)


def main(counts: Sequence[int] = tuple(PROMISES_MS), rounds: int = ROUNDS, report: Path | None = None) -> int:
    """Measure, print the table, and with a folder write it there; slow is not a failure."""
    table = [
        "| archives | ms | first | then, fastest | median | slowest | processor | asked |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(table))
    try:
        for count in counts:
            for address, timing in measure(count, rounds).items():
                asked = f"below {PROMISES_MS[count]}" if count in PROMISES_MS else ""
                table.append(f"| {count:,} | {ADDRESSES[address]} | {timing} | {asked} |")
                print(table[-1], flush=True)
    except (BenchmarkError, DemoError, httpx.HTTPError, OSError) as error:
        print(f"status page: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if report:
        write_page("status_page", "The status page", ["\n".join(table), METHOD.rstrip()], report)
    return 0


def measure(count: int, rounds: int) -> dict[str, Timing]:
    """
    Return the timings of each address, with so many archives and the runs of 90 nights.

    Each address is asked first by a server that has just started, and has answered Airflow's own login only.

    Raises:
        BenchmarkError, DemoError: If the server does not start, or refuses.
    """
    last = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    with tempfile.TemporaryDirectory(prefix="bench-status-page-") as path:
        folder = DemoFolder(Path(path))
        folder.path.chmod(0o711)  # the embedded server may run as another user
        folder.backups.mkdir(mode=0o700)
        lay_archives(folder.backups, count, last=last)
        with EmbeddedPostgres(folder.postgres) as postgres:
            environment = server_environment(folder, postgres, slot=last)
            prepare_metadata(postgres, environment, folder.logs / "db-migrate.log")
            record_runs(postgres, last=last)
            timings = {}
            for address in ADDRESSES:
                with api_server(folder, environment) as (client, pid):
                    cold, before = ask(client, address), processor_seconds(pid)
                    warm = tuple(ask(client, address) for _ in range(rounds))
                    timings[address] = Timing(cold, warm, 1000 * (processor_seconds(pid) - before) / rounds)
            return timings


def server_environment(folder: DemoFolder, postgres: EmbeddedPostgres, *, slot: datetime) -> dict[str, str]:
    """Return the api-server's environment; the schedule is that of the nights."""
    return {
        **inherited_environment({name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}),
        **airflow_environment(folder, postgres, folder.secrets(), api_port=free_port()),
        "ADMIN_EMAILS": "admin@example.com",
        "BACKUP_DIR": str(folder.backups),
        "BACKUP_SCHEDULE": f"{slot.minute} {slot.hour} * * *",
        "BACKUP_TIMEZONE": "UTC",
    }


@contextmanager
def api_server(folder: DemoFolder, environment: dict[str, str]) -> Iterator[tuple[httpx.Client, int]]:
    """Start an api-server; hand out a client that is logged in, and the server's process id."""
    address = f"http://{HOST}:{environment['AIRFLOW__API__PORT']}"
    with (
        AirflowProcesses(environment, folder.logs) as processes,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        processes.start("api-server")
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(client):
            processes.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the api-server was not ready after {READY_SECONDS:.0f} s")
            time.sleep(0.2)
        login = {"username": ADMIN, "password": folder.secrets().airflow_password}
        token = client.post("/auth/token", json=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client, processes.programs[0].process.pid


def is_ready(client: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return client.get("/api/v2/version").is_success
    except httpx.TransportError:
        return False


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used; proc(5) has it in ticks."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def ask(client: httpx.Client, address: str) -> float:
    """Return the milliseconds until the last byte of the answer. Raise BenchmarkError if it is refused."""
    begin = time.perf_counter()
    answer = client.get(address)
    milliseconds = 1000 * (time.perf_counter() - begin)
    if answer.status_code != httpx.codes.OK:
        raise BenchmarkError(f"{address} answered {answer.status_code}, expected 200: {answer.text[:300]}")
    return milliseconds


if __name__ == "__main__":
    sys.exit(main(report=page_folder(__doc__)))

"""`python -m benchmarks.workers`: ten databases that are backed up at once, by one, two and four slots of workers."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import psycopg

from benchmarks.errors import BenchmarkError
from benchmarks.report import write_page
from benchmarks.wishes import page_folder
from include.backup.settings import PACKAGED_SCOPE_FILE
from include.demo.airflow_api import AirflowApi, moment
from include.demo.databases import DRILL_ROLE, READER, SAMPLE_DATABASE, make_backup_role
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.errors import DemoError
from include.demo.folder import DemoFolder
from include.demo.ports import HOST
from include.demo.progress import Progress
from include.demo.servers import Servers, Wishes, start_servers

SLOTS = (1, 2, 4)
DATABASES = 10
PATIENCE_SECONDS = 3600.0
POLL_SECONDS = 1.0
ENDED = ("success", "failed")


METHOD = """\
Ten databases with the demo's sample at half its size (45,000 rows) are triggered together, in an Airflow of their own
with LocalExecutor and that many slots; counted is from the first task's begin to the last run's end. Most of it is what
Airflow takes to start a task, and not work on rows.
"""


def main(
    slots: Sequence[int] = SLOTS, databases: int = DATABASES, scale: str = "0.5", folder: Path | None = None
) -> int:
    """Measure, print the table, and with a folder write it there; slow is not a failure."""
    table = [f"| slots | {databases} backups | one, on average | against one slot |", "|--:|--:|--:|--:|"]
    first = None
    try:
        for count in slots:
            seconds = measure(count, databases, scale)
            first = first or seconds
            share = f"{seconds / databases:.1f} s | {first / seconds:.2f} times as fast"
            table.append(f"| {count} | {seconds:.0f} s | {share} |")
            print(table[-1], flush=True)
    except (BenchmarkError, DemoError, httpx.HTTPError, OSError) as error:
        print(f"workers: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print("\n" + "\n".join(table))
    if folder:
        write_page("workers", "Ten databases, one to four slots", ["\n".join(table), METHOD.rstrip()], folder)
    return 0


def measure(slots: int, databases: int, scale: str) -> float:
    """Return the seconds from the first task to the last, of as many backups that are triggered together."""
    ids = [f"db{number}" for number in range(databases)]
    with tempfile.TemporaryDirectory(prefix="workers-") as path, ExitStack() as stack:
        folder = DemoFolder(Path(path))
        scope_file = folder.path / "scope.yaml"
        scope_file.write_text(scope_of(ids))
        environment = os.environ | {"BACKUP_SCOPE_FILE": str(scope_file), "BACKUP_MIN_SIZE_MB": "0", "SCALE": scale}
        wishes = Wishes.from_environment(environment)
        airflow = connections(ids, folder, wishes) | {"AIRFLOW__CORE__PARALLELISM": str(slots)}
        stack.enter_context(folder.hold())
        servers = start_servers(stack, folder, Progress(), replace(wishes, airflow=airflow))
        stack.callback(servers.api.client.close)
        copy_sample(EmbeddedPostgres(folder.postgres, port=wishes.postgres_port), ids)
        return back_up(servers, [f"critical_backup_{id_}" for id_ in ids])


def scope_of(ids: Sequence[str]) -> str:
    """Return a scope file: the package's own, and as many backups with the same scope."""
    entries = (f"  {id_}: {{connection: {id_}, scope_file: {PACKAGED_SCOPE_FILE}}}\n" for id_ in ids)
    return f"{PACKAGED_SCOPE_FILE.read_text()}\nbackups:\n{''.join(entries)}"


def connections(ids: Sequence[str], folder: DemoFolder, wishes: Wishes) -> dict[str, str]:
    """Return the variables that make an Airflow connection to each of the databases, called like them."""
    login = {"conn_type": "postgres", "host": HOST, "port": wishes.postgres_port, "login": READER}
    login["password"] = folder.secrets().reader_password
    return {f"AIRFLOW_CONN_{id_.upper()}": json.dumps(login | {"schema": id_}) for id_ in ids}


def copy_sample(postgres: EmbeddedPostgres, ids: Sequence[str]) -> None:
    """Make the databases, each with the rows of the sample."""
    with psycopg.connect(postgres.conninfo(), autocommit=True) as session:
        for id_ in ids:
            session.execute(f"CREATE DATABASE {id_} TEMPLATE {SAMPLE_DATABASE}".encode())
    for id_ in ids:
        make_backup_role(postgres, role=READER, database=id_, drill_role=DRILL_ROLE)


def back_up(servers: Servers, dag_ids: Sequence[str]) -> float:
    """Trigger all, wait for the last, and return the seconds from the first begin to the last end."""
    api = servers.api
    runs = {dag_id: api.trigger(dag_id, note="benchmark") for dag_id in dag_ids}
    for dag_id in dag_ids:
        api.unpause(dag_id)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(api.run_state(*run) not in ENDED for run in runs.items()):
        servers.airflow.check()
        if time.monotonic() > deadline:
            raise BenchmarkError(
                f"the backups were not done after {PATIENCE_SECONDS:.0f} s; see {servers.airflow.logs}"
            )
        time.sleep(POLL_SECONDS)
    seen = [times(api, *run) for run in runs.items()]
    begun, ended = min(begin for begin, _ in seen), max(end for _, end in seen)
    return (ended - begun).total_seconds()


def times(api: AirflowApi, dag_id: str, run_id: str) -> tuple[datetime, datetime]:
    """Return when the first task of a run began and when the run ended; raise BenchmarkError if it failed."""
    run: Mapping[str, str] = api.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
    if run["state"] != "success":
        failed = [task for task in api.tasks(dag_id, run_id) if task.state == "failed"]
        reasons = [line for task in failed for line in api.errors(dag_id, run_id, task)]
        raise BenchmarkError(f"{dag_id} failed: {'; '.join(reasons)}")
    tasks = api.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances").json()["task_instances"]
    return min(moment(task["start_date"]) for task in tasks if task["start_date"]), moment(run["end_date"])


if __name__ == "__main__":
    sys.exit(main(folder=page_folder(__doc__)))

"""`python -m benchmarks.dag_parsing`: how long the DAG files take to parse, for one backup and for two hundred."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median

from benchmarks.errors import BenchmarkError
from benchmarks.report import write_page
from benchmarks.wishes import page_folder

ROOT = Path(__file__).resolve().parent.parent
FILES = ("critical_backup", "restore_backup", "restore_drill", "backup_watch")
PROMISES_MS = {1: 100, 200: 2000}
ROUNDS = 7
SERVERS = 5
# What whoever parses has imported by then: Airflow, and its operators.
AIRFLOW = (
    "airflow.dag_processing.dagbag",
    "airflow.models.deadline",
    "airflow.providers.standard.operators.hitl",
    "airflow.providers.standard.operators.python",
    "airflow.sdk",
)


METHOD = f"""\
The four files are parsed one after the other in a new process that has imported Airflow and its operators, {ROUNDS}
times; the medians are shown. The processor's time is what other processes change least. 200 backups are {3 * 200 + 1}
DAGs.
"""


def main(counts: Sequence[int] = tuple(PROMISES_MS), rounds: int = ROUNDS, folder: Path | None = None) -> int:
    """Measure, print the table, and with a folder write it there; slow is not a failure."""
    table = [
        f"| backups | {' | '.join(f'{name} ms' for name in FILES)} | together, median ms | processor ms | asked |",
        f"|--:|{'--:|' * len(FILES)}--:|--:|---|",
    ]
    print("\n".join(table))
    try:
        with tempfile.TemporaryDirectory(prefix="bench-dag-parsing-") as work:
            for count in counts:
                parses = [parse_in_child(Path(work), count) for _ in range(rounds)]
                files = " | ".join(f"{median(parse[name] for parse in parses):.0f}" for name in FILES)
                together = median(sum(parse[name] for name in FILES) for parse in parses)
                processor = median(parse["processor"] for parse in parses)
                asked = f"below {PROMISES_MS[count]:,}" if count in PROMISES_MS else ""
                table.append(f"| {count:,} | {files} | {together:,.0f} | {processor:,.0f} | {asked} |")
                print(table[-1], flush=True)
    except (BenchmarkError, OSError) as error:
        print(f"dag_parsing: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if folder:
        write_page("dag_parsing", "Parsing the DAG files", ["\n".join(table), METHOD.rstrip()], folder)
    return 0


def parse_in_child(folder: Path, count: int) -> dict[str, float]:
    """Return the milliseconds of each file, one after the other in a new process, and of the processor for all."""
    scope_file = folder / f"{count}.yaml"
    scope_file.write_text(scope_of(count))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "_AIRFLOW__AS_LIBRARY": "1",
        "ADMIN_EMAILS": "admin@example.com",
        "BACKUP_SCOPE_FILE": str(scope_file),
        "BACKUP_DIR": str(folder),
    }
    command = [sys.executable, "-m", "benchmarks.dag_parsing", "child", str(count)]
    child = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if child.returncode:
        raise BenchmarkError(f"parsing {count} backups failed: {child.stderr[-500:]}")
    answer: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return answer


def scope_of(count: int) -> str:
    """Return a scope file of so many backups, spread over a few servers and over the hour."""
    scope = {"tables": {"users.sql": ["users", "roles"]}, "windowed": {"t.csv": {"table": "t", "column": "at"}}}
    entries = {
        f"db_{number}": {
            "connection": f"db_{number}",
            "schedule": f"{number % 60} 2 * * *",
            "recipients": ["admin@example.com"],
            "pool": f"server_{number % SERVERS}",
            **scope,
        }
        for number in range(count - 1)
    }
    return json.dumps({"version": 1, **scope} | ({"backups": entries} if entries else {}), indent=1)


def parse(count: int) -> dict[str, float]:
    """Parse every file, with Airflow imported before. Raise BenchmarkError if a file does not give its DAGs."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext  # noqa: PLC0415 - only the child needs it

    for name in AIRFLOW:
        __import__(name)
    DagContext.current_autoregister_module_name = __name__
    took: dict[str, float] = {}
    begin_processor = time.process_time()
    for name in FILES:
        before = len(DagContext.autoregistered_dags)
        begin = time.perf_counter()
        spec = spec_from_file_location(f"parsed_{name}", ROOT / "dags" / f"{name}.py")
        if spec is None or spec.loader is None:
            raise BenchmarkError(f"dags/{name}.py cannot be loaded")
        spec.loader.exec_module(module_from_spec(spec))
        took[name] = 1000 * (time.perf_counter() - begin)
        made, expected = len(DagContext.autoregistered_dags) - before, 1 if name == "backup_watch" else count
        if made != expected:
            raise BenchmarkError(f"dags/{name}.py made {made} DAGs, expected {expected}")
    return took | {"processor": 1000 * (time.process_time() - begin_processor)}


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print("\n" + json.dumps(parse(int(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main(folder=page_folder(__doc__)))

"""Whether a DAG file can be imported: tried in a child process, the way Airflow's own processes do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

IMPORT_TIMEOUT_SECONDS = 120
PARSING_CONTEXT = "_AIRFLOW_PARSING_CONTEXT_"  # airflow.sdk.get_parsing_context


def import_error(dag_file: Path, dag_id: str, *, timeout_seconds: float = IMPORT_TIMEOUT_SECONDS) -> str | None:
    """Return in one line why a file does not give its DAG; None if it does."""
    found = imported_dags(dag_file, timeout_seconds=timeout_seconds)
    if isinstance(found, str):
        return found
    return None if dag_id in found else f"{dag_file} has no DAG {dag_id}"


def imported_dags(dag_file: Path, *, timeout_seconds: float = IMPORT_TIMEOUT_SECONDS) -> frozenset[str] | str:
    """
    Return the ids of a file's DAGs, or in one line why it cannot be imported.

    In a child process, because a file may hang or end its process, and what this one has imported would be reused.
    """
    # Airflow leaves in a task's environment which DAG the task belongs to; the file would make that one alone.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PARSING_CONTEXT)}
    environment = inherited | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        # Tasks have no metadata database, and importing a DAG needs none; without this, airflow connects at import.
        "_AIRFLOW__AS_LIBRARY": "1",
    }
    command = [sys.executable, "-m", __name__, str(dag_file)]
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_seconds,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"importing {dag_file.name} took longer than {timeout_seconds:.0f} seconds"
    try:
        answer = json.loads(_last_line(child.stdout))
    except ValueError:
        return f"importing {dag_file.name} ended its process ({child.returncode}): {_last_line(child.stderr)}"
    return answer if isinstance(answer, str) else frozenset(answer)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _try_import(dag_file: Path) -> str | list[str]:
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415 - only the child needs Airflow's own parts

    if not dag_file.is_file():
        return f"{dag_file} is not there"
    bag = BundleDagBag(
        dag_folder=dag_file, bundle_path=dag_file.parent, bundle_name="dags", safe_mode=False, load_op_links=False
    )
    if bag.import_errors:
        return _last_line(next(iter(bag.import_errors.values())))
    return list(bag.dags)


if __name__ == "__main__":
    # The last line of standard output is the answer; Airflow's log stands above it.
    result = _try_import(Path(sys.argv[1]))
    print("\n" + json.dumps(result), flush=True)

"""
Write the bytecode of what Airflow's programs and this package import: run by Dockerfile.backup.

Not of everything that is installed: the official image brings hundreds of megabytes that a backup never imports. By the
hash of the source and not by its time, so that the same sources give the same bytes.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import py_compile
import sys

PROGRAMS = (
    "airflow.__main__",
    "airflow.api_fastapi.main",
    "airflow.cli.commands.db_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.dag_processing.manager",
    "airflow.dag_processing.processor",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.sdk.execution_time.task_runner",
)


def main() -> None:
    """Import the programs and the package, and compile each module that this has brought."""
    # Otherwise an import makes a password and prints it.
    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "True"
    for name in PROGRAMS:
        importlib.import_module(name)
    include = importlib.import_module("include")
    for module in pkgutil.walk_packages(include.__path__, "include."):
        importlib.import_module(module.name)
    files = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    sources = sorted(file for file in files if file.endswith(".py") and "/tmp/" not in file)  # noqa: S108 - this script
    for source in sources:
        py_compile.compile(source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    print(f"{len(sources)} modules")


if __name__ == "__main__":
    main()

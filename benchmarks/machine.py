"""What the figures were taken on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from benchmarks.server import VERSION
from benchmarks.wishes import MB
from include.demo.embedded_postgres import embedded_binaries

__all__ = ["busy_cores", "machine", "versions"]


def machine() -> dict[str, str]:
    """Return processor, cores, memory, kernel and Python."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // MB:,} MB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def busy_cores() -> float:
    """Return how many cores were busy in the last minute: before a benchmark, with the work of others."""
    return os.getloadavg()[0]


def versions() -> dict[str, str]:
    """Return the versions of the programs and libraries that do the work; the server's is that of its psql."""
    first_lines = {
        name: subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        for name in ("tar", "gzip")
    }
    psql = subprocess.run(
        [embedded_binaries(VERSION) / "psql", "--version"], capture_output=True, text=True, check=True
    )
    first_lines["PostgreSQL"] = psql.stdout.strip()
    libraries = {name: importlib.metadata.version(name) for name in ("isal", "psycopg")}
    return {name: line.split()[-1] for name, line in first_lines.items()} | libraries


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

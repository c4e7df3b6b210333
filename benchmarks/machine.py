"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks.wishes import MB

__all__ = ["busy_cores", "machine"]


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


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

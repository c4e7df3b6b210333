"""What all tests share: real servers, and a short table at the end that says what ran."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

pytest_plugins = [
    "tests.fix_archives",  # first: others import it
    "tests.fix_age",
    "tests.fix_airflow",
    "tests.fix_api_server",
    "tests.fix_fleet",
    "tests.fix_checkpoints",
    "tests.fix_browser",
    "tests.fix_nights",
    "tests.fix_faults",
    "tests.fix_disks",
    "tests.fix_postgres",
    "tests.fix_mailbox",
    "tests.fix_object_store",
    "tests.fix_pipeline",
    "tests.fix_prometheus",
    "tests.fix_redis",
    "tests.fix_slack",
    "tests.fix_watch",
]

TESTS = Path(__file__).parent
REAL_SERVERS = {"postgres", "postgres_16", "postgres_18", "mailbox", "api_server", "object_store"}
KINDS = ("unit", "integration", "DAG", "specification", "end-to-end")
KIND = "kind of test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note on each test what kind it is; what takes longest runs last."""
    for item in items:
        item.user_properties.append((KIND, kind_of(item)))
    items.sort(key=lambda item: KINDS.index(kind_of(item)))


def kind_of(item: pytest.Item) -> str:
    """Return the kind of a test: by its folder, and in the others by whether it needs a real server."""
    folder = item.path.relative_to(TESTS).parts[0]
    by_folder = {
        "integration": "integration",
        "benchmarks": "integration",
        "faults": "integration",
        "dags": "DAG",
        "specs": "specification",
        "docs": "specification",
        "containers": "specification",
        "end_to_end": "end-to-end",
    }
    if folder in by_folder:
        return by_folder[folder]
    return "integration" if REAL_SERVERS & set(getattr(item, "fixturenames", ())) else "unit"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print how many tests of each kind ran, how they ended and how long they took."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: defaultdict[str, float] = defaultdict(float)
    for outcome, found in terminalreporter.stats.items():
        for report in found:
            if isinstance(report, pytest.TestReport):
                kind = str(dict(report.user_properties).get(KIND))
                counts[kind]["failed" if outcome == "error" else outcome] += 1
                seconds[kind] += report.duration
    terminalreporter.section("what ran")
    terminalreporter.write_line(f"{'':16}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for kind in (kind for kind in KINDS if kind in counts):
        count = counts[kind]
        row = f"{kind:16}{count['passed']:>8}{count['failed']:>8}{count['skipped']:>9}{seconds[kind]:>9.1f}"
        terminalreporter.write_line(row, red=bool(count["failed"]))

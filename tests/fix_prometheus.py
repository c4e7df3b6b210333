"""Prometheus and its promtool, where the machine has them: Debian's package `prometheus`, installed or unpacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MISSING = "Debian's package prometheus is not there: .ci/run brings it"


class Promtool:
    """The program that checks what Prometheus reads."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, *arguments: str | Path, text: str | None = None) -> str:
        """Run it, with the text on its standard input, and return all that it says; it must be content."""
        answer = subprocess.run(
            [self._program, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert answer.returncode == 0, answer.stdout
        return answer.stdout


def pytest_report_header() -> list[str]:
    """Name what is missing."""
    missing = [name for name in ("promtool", "prometheus") if not shutil.which(name)]
    return [f"missing: {' and '.join(missing)}; {MISSING}"] if missing else []


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Return promtool; without it the test is skipped."""
    return Promtool(_program("promtool"))


@pytest.fixture(scope="session")
def prometheus() -> str:
    """Return the path of the server; without it the test is skipped."""
    return _program("prometheus")


def _program(name: str) -> str:
    program = shutil.which(name)
    if not program:
        pytest.skip(MISSING)
    return program

"""
Real PostgreSQL servers for tests: the embedded 16 and 18, and the system's where there is one.

Tests between versions also take every `*/bin` below the folder TEST_POSTGRES_BINARIES: servers and psql of any version,
together or apart. `.ci/postgres` makes such a folder.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.demo.embedded_postgres import EmbeddedPostgres, embedded_binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SYSTEM_BINARIES = sorted(program.parent for program in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
ALL_BINARIES = [embedded_binaries(16), embedded_binaries(18), *SYSTEM_BINARIES]
NAMES = ["16", "18", *(f"system-{binaries.parent.name}" for binaries in SYSTEM_BINARIES)]

FURTHER = os.environ.get("TEST_POSTGRES_BINARIES")
EVERY_BINARIES = [*ALL_BINARIES, *(sorted(Path(FURTHER).absolute().glob("*/bin")) if FURTHER else ())]
KNOWN_MAJORS = range(13, 19)


def program_version(program: Path) -> str | None:
    """Return a program's version, for example 16.10, or None if it is not there or does not run here."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    return found[0] if found else None


def major_of(version: str) -> int:
    """Return 16 for 16.10."""
    return int(version.partition(".")[0])


def _found(program: str) -> dict[str, Path]:
    """Return the folders that have a program that runs, by its version, oldest first; of equal ones the first."""
    versions = {folder: program_version(folder / program) for folder in reversed(EVERY_BINARIES)}
    found = {version: folder for folder, version in versions.items() if version}
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


PSQL_BINARIES = _found("psql")
# One server of each major version: the newest.
SERVER_BINARIES = {major_of(version): folder for version, folder in _found("postgres").items()}


def pytest_report_header() -> list[str]:
    """Say which versions the tests between versions run on, and which are missing."""
    psql_majors = {major_of(version) for version in PSQL_BINARIES}
    missing = [f"server {major}" for major in KNOWN_MAJORS if major not in SERVER_BINARIES]
    missing += [f"psql {major}" for major in KNOWN_MAJORS if major not in psql_majors]
    lines = [f"PostgreSQL: servers {', '.join(map(str, SERVER_BINARIES))}; psql {', '.join(PSQL_BINARIES)}"]
    if missing:
        lines.append(f"PostgreSQL not tested: {', '.join(missing)} (see .ci/postgres and TEST_POSTGRES_BINARIES)")
    return lines


@pytest.fixture(scope="session")
def started_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """Give the server of some binaries; each starts when it is first asked for, and once."""
    servers: dict[Path, EmbeddedPostgres] = {}
    with ExitStack() as stack:

        def server(binaries: Path) -> EmbeddedPostgres:
            if binaries not in servers:
                folder = tmp_path_factory.mktemp("postgres")
                server = EmbeddedPostgres(folder, binaries=binaries, durable=False)
                servers[binaries] = stack.enter_context(server)
            return servers[binaries]

        yield server


@pytest.fixture(scope="session")
def postgres_16(started_postgres: Callable[[Path], EmbeddedPostgres]) -> EmbeddedPostgres:
    """The embedded PostgreSQL 16."""
    return started_postgres(embedded_binaries(16))


@pytest.fixture(scope="session")
def postgres_18(started_postgres: Callable[[Path], EmbeddedPostgres]) -> EmbeddedPostgres:
    """The embedded PostgreSQL 18."""
    return started_postgres(embedded_binaries(18))


@pytest.fixture(scope="session", params=ALL_BINARIES, ids=NAMES)
def postgres(request: pytest.FixtureRequest, started_postgres: Callable[[Path], EmbeddedPostgres]) -> EmbeddedPostgres:
    """Each of the servers in turn: a test that asks for it runs once on each."""
    return started_postgres(request.param)

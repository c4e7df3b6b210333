"""Real PostgreSQL servers for tests: the embedded 16 and 18, and the system's where there is one."""

from __future__ import annotations

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

"""Redis, where the machine has it: Debian's package `redis-server`, or `redis-tools`, which holds the same program."""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotConnectedError

from include.demo.child_process import bound_to_parent, last_lines, start_child
from include.demo.ports import HOST, free_port

# In Debian redis-server is a link to redis-check-rdb: the name by which it is called decides.
NAMES = ("redis-server", "redis-check-rdb")
MISSING = "Debian's package redis-tools is not there: .ci/run brings it"
START_SECONDS = 20


@dataclass(frozen=True)
class RedisServer:
    """A running server that wants a password."""

    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """Its address with the password, as Celery takes it."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def client(self) -> Redis:
        """Return a client that is logged in, and listens as long as it takes."""
        return Redis(host=HOST, port=self.port, password=self.password, socket_timeout=None)


def pytest_report_header() -> list[str]:
    """Say so if it is missing."""
    return [] if _program() else [f"missing: redis-server; {MISSING}"]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """An empty Redis; without the program the test is skipped."""
    program = _program()
    if not program:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(free_port(), secrets.token_urlsafe(16))
    called = folder / NAMES[0]
    called.symlink_to(program)
    settings = folder / "redis.conf"
    settings.write_text(
        f"bind {HOST}\nport {server.port}\nrequirepass {server.password}\ndir {folder}\nsave ''\nappendonly no\n"
    )
    child = start_child(
        "redis", [*bound_to_parent(signal.SIGTERM), called, settings], environment={}, log=folder / "redis.log"
    )
    try:
        _wait_for(server, child.log)
        yield server
    finally:
        child.request_stop(signal.SIGTERM)
        child.wait_or_kill(5)


def _wait_for(server: RedisServer, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with server.client() as client:
        while True:
            try:
                client.ping()
            except NotConnectedError:
                assert time.monotonic() < deadline, last_lines(log)
                time.sleep(0.05)
            else:
                return


def _program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)

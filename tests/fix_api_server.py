"""A real `airflow api-server` on loopback, with fixed logins, on the metadata database of the tests."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from include.backup.settings import BYTES_PER_MB, PACKAGED_SCOPE_FILE
from include.demo.airflow_processes import AIRFLOW
from include.demo.child_process import ChildProcess, bound_to_parent, last_lines, start_child
from include.demo.ports import HOST, free_port
from tests.auth_manager import ONE_BACKUP_ONLY
from tests.fix_airflow import LocalAirflow
from tests.fix_archives import publish_archive

PutArchive = Callable[..., Path]

READY_SECONDS = 300.0
STOP_SECONDS = 10.0
METRICS_TOKEN = "the-token-of-the-metrics-0123456789"

# By name: their roles in Airflow. A viewer may look at everything, a user may start runs, a guest may nothing.
ROLES = {"admin": "admin", "user": "user", "viewer": "viewer", "guest": "", ONE_BACKUP_ONLY: "viewer"}


@dataclass(frozen=True)
class ApiServer:
    """A running api-server; its backup's settings are those of `backup_dir` and the defaults."""

    address: str
    backup_dir: Path
    scope_file: Path
    process: ChildProcess
    passwords: Mapping[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """What the server has printed."""
        return self.process.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process that serves; there is one worker."""
        return self.process.process.pid

    def token(self, user: str) -> str:
        """Return a token for the user."""
        if user not in self.tokens:
            login = {"username": user, "password": self.passwords[user]}
            answer = httpx.post(f"{self.address}/auth/token", json=login, timeout=30, trust_env=False)
            assert answer.status_code == 201, answer.text
            self.tokens[user] = answer.json()["access_token"]
        return self.tokens[user]

    def client(self, user: str | None = None) -> httpx.Client:
        """Return a client with the user's token, or an anonymous one; it follows no redirects."""
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        return httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)

    def get(self, path: str, user: str | None = None, **headers: str) -> httpx.Response:
        """GET the path as this user; underscores in the names of headers stand for hyphens."""
        with self.client(user) as client:
            return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="session")
def api_server_process(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The server; tests ask for `api_server`, whose BACKUP_DIR is empty."""
    folder = tmp_path_factory.mktemp("api-server")
    passwords = {user: f"password of {user}" for user in ROLES}
    password_file = folder / "passwords.json"
    password_file.write_text(json.dumps(passwords))
    port = free_port()
    address = f"http://{HOST}:{port}"
    backup_dir = folder / "backups"
    environment = os.environ | {
        "PYTHONPATH": os.fspath(Path(__file__).resolve().parent.parent),
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.auth_manager.OneBackupAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": os.fspath(password_file),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "ADMIN_EMAILS": "admin@example.com",
        "BACKUP_DIR": os.fspath(backup_dir),
        "BACKUP_SCOPE_FILE": os.fspath(folder / "scope.yaml"),
        "BACKUP_MIN_SIZE_MB": "0",
        "BACKUP_METRICS_TOKEN": METRICS_TOKEN,
    }
    command = [*bound_to_parent(signal.SIGTERM), *AIRFLOW, "api-server"]
    process = start_child("api-server", command, environment=environment, log=folder / "api-server.log")
    try:
        _wait_until_ready(address, process)
        yield ApiServer(address, backup_dir, folder / "scope.yaml", process, passwords)
    finally:
        process.request_stop(signal.SIGTERM)
        process.wait_or_kill(STOP_SECONDS)


def unpause_dags() -> None:
    """Let Airflow have no DAG that is paused, as those are that it has just met."""
    from airflow.models import DagModel  # noqa: PLC0415 - only where Airflow is there
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import update  # noqa: PLC0415

    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=False))


@pytest.fixture
def api_server(api_server_process: ApiServer) -> ApiServer:
    """A real api-server whose BACKUP_DIR is there, and empty; its scope file is the packaged one, no DAG is paused."""
    unpause_dags()
    shutil.copy(PACKAGED_SCOPE_FILE, api_server_process.scope_file)
    shutil.rmtree(api_server_process.backup_dir, ignore_errors=True)
    api_server_process.backup_dir.mkdir(mode=0o700)
    return api_server_process


@pytest.fixture
def put_archive(api_server: ApiServer) -> PutArchive:
    """Put archives of random bytes into the server's BACKUP_DIR; keywords as those of `publish_archive`."""

    def put(*, size: int = 2 * BYTES_PER_MB + 7, **changes: object) -> Path:
        content = secrets.token_bytes(size)
        sha256 = hashlib.sha256(content).hexdigest()
        archive = publish_archive(api_server.backup_dir, size=size, archive_sha256=sha256, **changes)  # type: ignore[arg-type]
        archive.write_bytes(content)
        return archive

    return put


def _wait_until_ready(address: str, process: ChildProcess) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.is_running():
        try:
            if httpx.get(f"{address}/api/v2/version", timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the api-server was not ready after {READY_SECONDS:.0f} s:\n{last_lines(process.log, 30)}")

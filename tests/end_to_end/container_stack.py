"""The stack of docker-compose.prod.yml in a real engine, with a database to back up and a mail server around it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from include.demo.sample import write_sample_configuration
from tests.containers.compose_file import AIRFLOW, FILLED_IN, PRODUCTION, ROOT, Project
from tests.containers.engine import Engine
from tests.fix_documents import shell_block

T = TypeVar("T")

CONTAINERS = ROOT / "tests" / "containers"
SERVERS, OWN_BASE = "critical-backup-test/servers", "critical-backup-test/airflow"
OVERRIDE = CONTAINERS / "compose.override.yml"
PROGRAMS = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
FILES = "docker compose --env-file .env.production -f docker-compose."  # how the documents begin each line
UP_SECONDS = 300
RUN_SECONDS = 180
ADMIN_PASSWORD = secrets.token_urlsafe(12)

# What the guide has typed: settings, image and start; and for the next version.
SETTINGS, BUILD, UP = shell_block("docs/PRODUCTION.md", "cp -i .env.production.example").splitlines()
BUILD_NEXT, STOP, _, UP_NEXT = shell_block("docs/PRODUCTION.md", "stop airflow-scheduler").splitlines()
INSIDE = shell_block("docs/BACKUP_OPERATIONS.md", "exec airflow-scheduler").strip()
START = shell_block("docs/BACKUP_OPERATIONS.md", "prod.yml up").strip()
STOP_ALL = shell_block("docs/BACKUP_OPERATIONS.md", "yml down").strip()


def base_image() -> str:
    """Return the image with Airflow that ours is made from."""
    return os.environ.get("TEST_BASE_IMAGE") or OWN_BASE


def build_images(engine: Engine, own: Path, tags: Mapping[str, str]) -> None:
    """Build Airflow's stand-in (unless TEST_BASE_IMAGE names an image), ours with these versions, and the servers."""
    base = base_image()
    if base == OWN_BASE:
        engine.import_debian("critical-backup-test/debian", "bookworm")
        engine.build(airflow_context(own), base, "--build-arg", "DEBIAN_IMAGE=critical-backup-test/debian")
    for (tag, version), typed in zip(tags.items(), (BUILD, BUILD_NEXT), strict=True):
        build_as_typed(engine, typed, tag, "--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"VERSION={version}")
    engine.build(CONTAINERS / "servers", SERVERS, "--build-arg", f"BACKUP_IMAGE={next(iter(tags))}")


def build_as_typed(engine: Engine, line: str, tag: str, *options: str) -> None:
    """Build an image by a line of the documents, with a name of this test's."""
    docker, build, dash_f, file, dash_t, _, context = line.split()
    assert (docker, build, dash_f, dash_t, context) == ("docker", "build", "-f", "-t", ".")
    engine.build(ROOT, tag, dash_f, str(ROOT / file), *options)


def airflow_context(own: Path) -> Path:
    """Return a folder with the recipe of the stand-in, and with what this machine needs to reach its packages."""
    context = shutil.copytree(CONTAINERS / "airflow", own / "airflow")
    pinned = re.findall(r"^([\w.-]+==[^ ]+( ; [^\\]+)?)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    (context / "constraints.txt").write_text("".join(f"{line.strip()}\n" for line, _ in pinned))
    (context / "machine").mkdir()
    for file in ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf"):
        if Path("/", file).exists():
            (context / "machine" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", file), context / "machine" / file)
    return context


class Stack:
    """All containers together, as `docker compose` sees them."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.project = Project(folder)
        self.project.environment |= engine.environment | {
            "TEST_CHECKOUT": str(ROOT),
            "AIRFLOW_POSTGRES_IMAGE": SERVERS,
            "AIRFLOW_REDIS_IMAGE": SERVERS,
        }
        # As the guide asks for it: readable for the containers' group, which is 0.
        for file in write_sample_configuration(folder / "configuration"):
            os.chown(file, -1, 0)
            file.chmod(0o640)
        shutil.rmtree(folder / "ssl")
        for part in ("nginx.prod.conf", "ssl"):
            (folder / "configuration" / part).rename(folder / part)
        shutil.rmtree(folder / "configuration")
        (folder / "include").mkdir()
        shutil.copy(ROOT / "include" / "scope.yaml", folder / "include")
        folder.chmod(0o755)
        (folder / ".env.production").unlink()
        subprocess.run(["sh", "-e"], input=SETTINGS, cwd=folder, text=True, check=True)

    def use(self, image: str, **settings: str) -> None:
        """Write .env.production for this image."""
        values = {
            **FILLED_IN,
            "AIRFLOW_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "BACKUP_IMAGE": image,
            "BACKUP_MIN_SIZE_MB": "0",
            "POSTGRES_HOST": "source",
            "POSTGRES_USER": "backup_reader",
            "POSTGRES_PASSWORD": "reader",
            "SMTP_HOST": "mailbox",
            "SMTP_FROM": "backup@example.com",
            "AIRFLOW_CONN_BACKUP_DRILL": json.dumps(
                {"conn_type": "postgres", "host": "source", "login": "backup_drill", "password": "reader"}
            ),
        }
        self.project.settings(values | settings)

    def compose(self, *arguments: str) -> str:
        """Return what Compose prints; it must succeed."""
        command = ("-f", PRODUCTION, "-f", str(OVERRIDE), *arguments)
        answer = self.project.compose(*command, timeout_seconds=UP_SECONDS + 60)
        assert answer.returncode == 0, answer.stderr[-4000:]
        return answer.stdout.strip()

    def type_in(self, line: str, *more: str) -> str:
        """Do what a line of the documents does, with the test's own servers; return what Compose prints."""
        file, *arguments = line.removeprefix(FILES).split()
        assert file in ("airflow.yml", "prod.yml"), line
        return self.compose(*arguments, *more)

    def up(self, *more: str) -> None:
        """Start what is not as it shall be; return when all report that they are healthy."""
        self.type_in(UP, f"--wait-timeout={UP_SECONDS}", "source", "mailbox", *PROGRAMS, *more)
        self.type_in(START, "backup")

    def upgrade(self, image: str) -> None:
        """Go on with another image."""
        self.type_in(STOP)
        self.use(image)
        assert UP_NEXT == UP
        self.up()

    def run(self, service: str, *command: str) -> str:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *command)

    def run_inside(self, command: str) -> str:
        """Run a command of the operators' page, as that page says."""
        return self.type_in(INSIDE.replace(" exec ", " exec -T "), *shlex.split(command))

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        container = self.compose("ps", "--all", "--quiet", service)
        (facts,) = json.loads(self.engine.docker("inspect", container))
        assert isinstance(facts, dict)
        return facts

    def health(self, service: str) -> str:
        """Return what the engine says of its health: starting, healthy or unhealthy."""
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def query(self, statement: str) -> list[str]:
        """Return the lines of a query to Airflow's metadata."""
        psql = ("psql", "--host=/var/run/postgresql", "--username=airflow", "-XAtc", statement)
        return self.run("airflow-postgres", *psql).splitlines()

    def switch_on(self) -> None:
        """Unpause the DAGs, once Airflow knows them."""
        known = "SELECT count(*) FROM dag"
        self.wait_for(lambda: int(self.query(known)[0]) >= 4, "DAGs", 60)
        for line in shell_block("docs/BACKUP_OPERATIONS.md", "dags unpause").splitlines():
            self.run_inside(line)

    def back_up(self, command: str = "airflow dags trigger critical_backup") -> str:
        """Trigger a backup, and return the archive's name when its run has ended in success."""
        before = set(self.archives())
        self.run_inside(command)
        last = "SELECT state FROM dag_run WHERE dag_id = 'critical_backup' ORDER BY id DESC LIMIT 1"
        state = self.wait_for(lambda: {"success", "failed"} & set(self.query(last)), "end of the run", RUN_SECONDS)
        assert state == {"success"}, self.run("airflow-scheduler", "cat", "/var/log/backup/backup.log")
        (archive,) = set(self.archives()) - before
        return archive

    def archives(self) -> list[str]:
        """Return the archives in the volume."""
        return [name for name in self.run("backup", "ls", "/backups").splitlines() if name.endswith(".tar.gz")]

    def kill(self, service: str) -> None:
        """Kill a service's first process, as the kernel does when memory is short: the engine starts it again."""
        os.kill(int(self.inspect(service)["State"]["Pid"]), signal.SIGKILL)

    def wait_for(self, look: Callable[[], T], what: str, seconds: float) -> T:
        """Return what `look` finds."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"no {what} after {seconds:.0f} s: {self.compose('ps', '--all')}"
            time.sleep(1)
        return found

    def take_down(self) -> None:
        """Stop and remove Airflow as the plan has it, by its own file alone; the other services of the stack run on."""
        answer = self.project.compose("-f", AIRFLOW, *STOP_ALL.removeprefix(FILES).split()[1:], timeout_seconds=120)
        assert answer.returncode == 0, answer.stderr
        left = self.compose("ps", "--services").split()
        assert set(left) & {*PROGRAMS, "airflow-postgres"} == set()
        assert {"source", "mailbox", "backup"} <= set(left)

    def down(self) -> None:
        """Remove everything."""
        command = ("--profile", "celery", "-f", PRODUCTION, "-f", str(OVERRIDE), "down", "--volumes", "--timeout=5")
        answer: subprocess.CompletedProcess[str] = self.project.compose(*command, timeout_seconds=120)
        assert answer.returncode == 0, answer.stderr

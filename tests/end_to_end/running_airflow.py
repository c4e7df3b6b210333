"""A real Airflow for tests, started as `make demo` starts it, and what its administrators were mailed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg

from include.backup.export import ADVISORY_LOCK
from include.demo.airflow_api import AirflowApi
from include.demo.airflow_environment import METADATA_DATABASE
from include.demo.airflow_processes import STOP_SECONDS
from include.demo.databases import SAMPLE_DATABASE
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.errors import DemoError
from include.demo.folder import DemoFolder
from include.demo.progress import Progress
from include.demo.servers import Servers, Wishes, start_servers

T = TypeVar("T")

POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Mail:
    """One message that was received."""

    subject: str
    text: str
    recipients: str


@dataclass(frozen=True)
class RunningAirflow:
    """All of the demo's servers, in a folder of their own."""

    folder: DemoFolder
    servers: Servers
    database: str = field(repr=False)
    metadata: str = field(repr=False)

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        return self.servers.api

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return the task as the REST API shows it: `state`, `pid`, `try_number` and more."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        return cast("dict[str, Any]", self.api.request("GET", path).json())

    def mails(self, subject: str) -> list[Mail]:
        """Return the mails whose subject has this text, oldest first."""
        parser = BytesParser(policy=policy.default)
        found = []
        for file in sorted(self.folder.mailbox.glob("*.eml")):
            message: EmailMessage = parser.parsebytes(file.read_bytes())
            body = message.get_body(("plain",))
            text = body.get_content() if body else ""
            found.append(Mail(str(message["Subject"]), text, str(message["X-Envelope-To"])))
        return [mail for mail in found if subject in mail.subject]

    def wait_for(self, look: Callable[[], T | None], what: str, *, seconds: float) -> T:
        """Return what `look` finds; fail if it finds nothing in time, or one of the servers has died."""
        end = time.monotonic() + seconds
        while not (found := look()):
            self.servers.airflow.check()
            subjects = [mail.subject for mail in self.mails("")]
            assert time.monotonic() < end, f"no {what} after {seconds:.0f} s; mails: {subjects}; see {self.folder.logs}"
            time.sleep(POLL_SECONDS)
        return found

    def wait_for_mail(self, subject: str, *, seconds: float) -> Mail:
        """Return the one mail with this subject."""
        (mail,) = self.wait_for(lambda: self.mails(subject), f"mail '{subject}'", seconds=seconds)
        return mail

    def wait_for_end(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Return the state in which the run has ended."""

        def look() -> str | None:
            state = self.api.run_state(dag_id, run_id)
            return state if state in ("success", "failed") else None

        return self.wait_for(look, f"end of {run_id}", seconds=seconds)

    def process_of(self, dag_id: str, run_id: str, task_id: str, *, try_number: int, seconds: float = 60) -> int:
        """Return the process of this try of a task, once it runs."""

        def look() -> int | None:
            task = self.task(dag_id, run_id, task_id)
            is_there = task["state"] == "running" and task["try_number"] == try_number
            return int(task["pid"]) if is_there and task["pid"] else None

        return self.wait_for(look, f"try {try_number} of {task_id}", seconds=seconds)

    def restart(self, dag_id: str, settings: Mapping[str, str]) -> None:
        """Go on with other settings of the backup; return when the DAG's file has been read with them, or refused."""
        airflow = self.servers.airflow
        airflow.environment = {**airflow.environment, **settings}
        names = ("scheduler", "dag-processor")
        stopped = [program for program in airflow.programs if program.name in names]
        for program in stopped:
            program.request_stop(signal.SIGTERM)
        for program in stopped:
            program.wait_or_kill(STOP_SECONDS)
            airflow.programs.remove(program)
        begin = datetime.now(timezone.utc)
        airflow.start(*names)

        def has_been_read() -> bool:
            parsed_at = self.api.parsed_at(dag_id)
            return bool(parsed_at and parsed_at >= begin) or bool(self.api.import_error(dag_id, begin))

        self.wait_for(has_been_read, f"{dag_id} with {settings}", seconds=90)

    def kill(self, name: str) -> None:
        """Kill one of Airflow's programs with all its children, as a container is killed, and start it again."""
        airflow = self.servers.airflow
        (program,) = (program for program in airflow.programs if program.name == name)
        program.request_stop(signal.SIGKILL)
        program.wait_or_kill(0)
        airflow.programs.remove(program)
        airflow.start(name)

    def crash_metadata_database(self) -> None:
        """Kill one of its sessions: PostgreSQL ends all others, and recovers."""
        session = psycopg.connect(self.metadata)
        os.kill(session.info.backend_pid, signal.SIGKILL)
        session.close()

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """Clear the tasks of a run that have not succeeded, as an admin does."""
        order = {"dry_run": False, "dag_run_id": run_id, "only_failed": True}
        self.api.request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=order)

    def wait_for_end_of_revived(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Return the state in which the run has ended, while programs that give up are started again, as by systemd."""

        def look() -> str | None:
            for program in tuple(self.servers.airflow.programs):
                if not program.is_running():
                    self.kill(program.name)
            with contextlib.suppress(DemoError):  # the api-server is just coming back
                state = self.api.run_state(dag_id, run_id)
                return state if state in ("success", "failed") else None
            return None

        return self.wait_for(look, f"end of {run_id}", seconds=seconds)

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Let nobody else read a table of the sample database."""
        with psycopg.connect(self.database) as session:
            session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
            session.rollback()

    @contextmanager
    def other_export(self) -> Iterator[None]:
        """Let no export begin, as if another one took very long: it waits for its turn, without end."""
        with psycopg.connect(self.database, autocommit=True) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
            yield


def daily(*times: datetime) -> dict[str, str]:
    """Return the setting with which critical_backup has its slots at these minutes of one hour of every day."""
    (hour,) = {time.hour for time in times}
    return {"BACKUP_SCHEDULE": f"{','.join(str(time.minute) for time in times)} {hour} * * *"}


@contextmanager
def start_airflow(
    path: Path, environment: Mapping[str, str], airflow: Mapping[str, str] | None = None
) -> Iterator[RunningAirflow]:
    """Start everything with these settings of the backup, and of Airflow; stop everything at the end."""
    folder = DemoFolder(path)
    wishes = replace(Wishes.from_environment({**environment, "SCALE": "0.1"}), airflow=airflow or {})
    with folder.hold(), ExitStack() as stack:
        servers = start_servers(stack, folder, Progress(), wishes)
        stack.callback(servers.api.client.close)
        postgres = EmbeddedPostgres(folder.postgres, port=wishes.postgres_port)
        databases = (postgres.conninfo(name) for name in (SAMPLE_DATABASE, METADATA_DATABASE))
        yield RunningAirflow(folder, servers, *databases)

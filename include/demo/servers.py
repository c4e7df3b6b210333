"""Everything that runs while the demo is up: PostgreSQL, the mail server and Airflow."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from include.demo.airflow_api import AirflowApi
from include.demo.airflow_environment import ADMIN, airflow_environment, inherited_environment
from include.demo.airflow_processes import AirflowProcesses
from include.demo.backup_environment import backup_environment
from include.demo.backup_run import DAG_ID
from include.demo.databases import prepare_metadata, prepare_sample
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.errors import DemoError
from include.demo.folder import RunningDemo
from include.demo.mailbox import Mailbox
from include.demo.ports import HOST, choose_port
from include.demo.sample import write_sample_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from include.demo.folder import DemoFolder
    from include.demo.progress import Progress

__all__ = ["Servers", "Wishes", "start_servers"]

READY_SECONDS = 180.0
POLL_SECONDS = 0.3
NEEDED = {"metadatabase", "scheduler", "dag_processor"}


@dataclass(frozen=True)
class Wishes:
    """
    What the user set: ports, the sample's size, and further settings of the backup.

    Args:
        airflow: Further settings of Airflow, as environment variables; only tests have any.
    """

    airflow_port: int
    postgres_port: int
    smtp_port: int
    scale: float
    environment: Mapping[str, str]
    airflow: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Wishes:
        """Return the wishes, with free ports where none is named; raise DemoError for what cannot be met."""
        ports = {
            f"{server.lower()}_port": choose_port(name, environment.get(name, ""))
            for server in ("AIRFLOW", "POSTGRES", "SMTP")
            for name in [f"DEMO_{server}_PORT"]
        }
        return cls(**ports, scale=chosen_scale(environment.get("SCALE", "")), environment=environment, airflow={})


@dataclass(frozen=True)
class Servers:
    """The running servers, and how to reach Airflow."""

    airflow: AirflowProcesses
    api: AirflowApi
    running: RunningDemo


def start_servers(stack: ExitStack, folder: DemoFolder, progress: Progress, wishes: Wishes) -> Servers:
    """
    Start all servers and return when a backup can be made.

    Args:
        stack: Stops them, in the reverse order.
        folder: Where everything is written.
        progress: Shows the steps.
        wishes: Ports and size.
    """
    secrets = folder.secrets()
    side_work = stack.enter_context(ThreadPoolExecutor(1))
    with progress.step("PostgreSQL 18 and a mail server"):
        postgres = stack.enter_context(EmbeddedPostgres(folder.postgres, port=wishes.postgres_port))
        mailbox = Mailbox(folder.mailbox, port=wishes.smtp_port, password=secrets.mailbox_password)
        stack.enter_context(mailbox)
    sample = side_work.submit(prepare_sample, postgres, wishes.scale, password=secrets.reader_password)

    running = RunningDemo(os.getpid(), f"http://{HOST}:{wishes.airflow_port}", ADMIN, secrets.airflow_password)
    environment = {
        **inherited_environment(wishes.environment),
        **airflow_environment(folder, postgres, secrets, api_port=wishes.airflow_port),
        **backup_environment(folder, postgres, mailbox, reader_password=secrets.reader_password),
        **wishes.airflow,
    }
    write_sample_configuration(folder.configuration)
    folder.backups.mkdir(exist_ok=True, mode=0o700)
    with progress.step("Airflow's tables"):
        prepare_metadata(postgres, environment, folder.logs / "db-migrate.log")
    servers = Servers(
        stack.enter_context(AirflowProcesses(environment, folder.logs)),
        AirflowApi(running.airflow, running.user, running.password),
        running,
    )
    with progress.step("Airflow (scheduler, dag-processor, api-server)"):
        wait_for_airflow(servers)
    with progress.step("The sample database"):
        sample.result()
    folder.announce(running)
    return servers


def wait_for_airflow(servers: Servers) -> None:
    """Start Airflow and return when it is healthy and has read the DAG as it is now."""
    begin = datetime.now(timezone.utc)
    deadline = time.monotonic() + READY_SECONDS
    servers.airflow.kill_left_over()
    servers.airflow.start()
    while not is_ready(servers.api, begin):
        servers.airflow.check()
        if time.monotonic() > deadline:
            raise DemoError(
                f"Airflow was not ready after {READY_SECONDS:.0f} s: {', '.join(sorted(servers.api.healthy()))} "
                f"healthy, expected also {DAG_ID} to be read; see {servers.airflow.logs}"
            )
        time.sleep(POLL_SECONDS)
    servers.api.warm_up()


def is_ready(api: AirflowApi, since: datetime) -> bool:
    """Return whether a backup can be triggered; raise DemoError if the DAG's file cannot be read."""
    if not api.healthy() >= NEEDED:
        return False
    if (parsed_at := api.parsed_at(DAG_ID)) and parsed_at >= since:
        return True
    if reason := api.import_error(DAG_ID, since):
        raise DemoError(f"Airflow cannot read dags/{DAG_ID}.py: {reason}")
    return False


def chosen_scale(text: str) -> float:
    """Return how many times larger than usual the sample is; raise DemoError unless it is a number above 0."""
    try:
        scale = float(text or 1)
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise DemoError(f"SCALE={text} is no size: expected a number above 0, such as 1 or 0.5")
    return scale

"""
Airflow for tests: its own home and metadata, its real REST API, and the real DAG on real servers.

The environment is set when this module is imported, which must be before the first import of airflow.
Runs are triggered, backfilled and cleared through the REST API, as the UI does it; their tasks run one by one
in this process, with the code of dag.test().
"""

# ruff: noqa: PLC0415 - airflow is imported late: after the environment is set, and only by tests that need it

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from include.demo.databases import make_backup_role, set_password
from include.demo.mailbox import Mailbox
from include.demo.sample import load_sample, write_sample_configuration
from include.operators.connection_variables import connection_variables

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from airflow.serialization.definitions.dag import SerializedDAG
    from fastapi.testclient import TestClient
    from httpx import Response

    from include.demo.embedded_postgres import EmbeddedPostgres

DAG_ID = "critical_backup"
TASKS = (
    "create_workspace",
    "check_prerequisites",
    "export_database",
    "copy_configuration",
    "write_summary",
    "compress_archive",
    "verify_archive",
    "check_size",
    "choose_delivery",
    "email_attachment",
    "email_link",
    "update_status",
    "expire_old_backups",
    "remove_workspace",
)
COPY_TASK = "copy_archive"  # only where BACKUP_COPY_URL is set
BUNDLE = "dags-folder"
REPOSITORY = Path(__file__).resolve().parent.parent
DAGS_FOLDER = REPOSITORY / "dags"
HOME = Path(tempfile.mkdtemp(prefix="critical-backup-airflow-"))

# What the person who runs the tests has set for other programs is nobody's business here.
OWN_SETTINGS = ("AIRFLOW", "BACKUP_", "POSTGRES_", "SMTP_", "ADMIN_EMAILS", "SSL_CERT_FILE", "PG")

for variable in [name for name in os.environ if name.startswith(OWN_SETTINGS)]:
    del os.environ[variable]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/metadata.sqlite",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS_FOLDER),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_FETCH_INTERVAL": "0",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "platform.node",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
    "AIRFLOW__API__BASE_URL": "http://airflow.example.com:8080",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "BACKUP_LOG_FILE": str(HOME / "backup.log"),
}


def pytest_unconfigure() -> None:
    """Remove Airflow's home."""
    shutil.rmtree(HOME, ignore_errors=True)


@dataclass
class RunResult:
    """What a run has come to, as far as it went: states and errors by task id."""

    run_id: str
    run_type: str
    state: str
    states: dict[str, str | None]
    ran: list[str]
    errors: dict[str, BaseException]
    tries: dict[str, int]

    def tasks(self, state: str | None) -> set[str]:
        """Return the tasks that are in this state."""
        return {task for task, its_state in self.states.items() if its_state == state}


@dataclass
class LocalAirflow:
    """One Airflow with its REST API in this process, and the DAG that is looked at."""

    api: TestClient
    dag_id: str = DAG_ID

    def parse(self) -> BundleDagBag:
        """Parse the DAG folder in the present environment."""
        from airflow.dag_processing.dagbag import BundleDagBag

        return BundleDagBag(dag_folder=DAGS_FOLDER, bundle_path=DAGS_FOLDER, bundle_name=BUNDLE)

    def load_dag(self) -> DAG:
        """Parse the DAG in the present environment and store it, as the dag-processor does."""
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import sync_bag_to_db

        bag = self.parse()
        assert not bag.import_errors
        DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
        sync_bag_to_db(bag, BUNDLE, None)
        return bag.dags[self.dag_id]

    def stored_dag(self) -> SerializedDAG:
        """Return the DAG as the scheduler sees it."""
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.utils.session import create_session

        with create_session() as session:
            model = session.scalar(SerializedDagModel.latest_item_select_object(self.dag_id))  # type: ignore[no-untyped-call]
            assert model is not None
            dag: SerializedDAG = model.dag
            return dag

    def trigger(self, **params: object) -> str:
        """Start a run by hand and return its id; it has no logical date."""
        answer = self.request_trigger(params)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dag_run_id"])

    def request_trigger(self, params: Mapping[str, object]) -> Response:
        """Ask for a run with these params."""
        body = {"logical_date": None, "conf": dict(params)}
        answer: Response = self.api.post(f"/api/v2/dags/{self.dag_id}/dagRuns", json=body)
        return answer

    def schedule(self, slot: datetime) -> str:
        """Create the run of a slot of the schedule, as the scheduler does, and return its id."""
        from airflow.timetables.base import DataInterval
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        dag = self.stored_dag()
        info = next(iter(dag.iter_dagrun_infos_between(slot, slot)))
        assert info.logical_date is not None
        run_id = dag.timetable.generate_run_id(
            run_type=DagRunType.SCHEDULED,
            run_after=info.run_after,
            data_interval=DataInterval(info.logical_date, info.logical_date),
        )
        with create_session() as session:
            dag.create_dagrun(
                run_id=run_id,
                logical_date=info.logical_date,
                data_interval=info.data_interval,
                run_after=info.run_after,
                run_type=DagRunType.SCHEDULED,
                triggered_by=DagRunTriggeredByType.TIMETABLE,
                state=DagRunState.QUEUED,
                session=session,
            )
        return str(run_id)

    def free_slot(self, latest: datetime, every: timedelta) -> datetime:
        """Return the newest slot, from this one on back, that no run stands for: Airflow wants it so."""
        from airflow.models import DagRun
        from airflow.utils.session import create_session

        with create_session() as session:
            taken = {at for (at,) in session.query(DagRun.logical_date).filter_by(dag_id=self.dag_id)}
        return next(slot for back in itertools.count() if (slot := latest - back * every) not in taken)

    def cancel_backfills(self) -> None:
        """End the backfills whose runs have ended, as the scheduler would: there can be one at a time."""
        for earlier in self.api.get("/api/v2/backfills", params={"dag_id": self.dag_id}).json()["backfills"]:
            if not earlier["completed_at"]:
                self.api.put(f"/api/v2/backfills/{earlier['id']}/cancel")

    def backfill(self, first: datetime, last: datetime) -> list[str]:
        """Create a backfill and return the ids of its runs, oldest first."""
        self.cancel_backfills()
        body = {"dag_id": self.dag_id, "from_date": first.isoformat(), "to_date": last.isoformat()}
        answer = self.api.post("/api/v2/backfills", json=body)
        assert answer.status_code == 200, answer.text
        runs = self.api.get(
            f"/api/v2/dags/{self.dag_id}/dagRuns", params={"run_type": "backfill", "limit": 1000}
        ).json()
        wanted = (run for run in runs["dag_runs"] if first.isoformat() <= run["logical_date"] <= last.isoformat())
        return [str(run["dag_run_id"]) for run in sorted(wanted, key=lambda run: str(run["logical_date"]))]

    def clear(self, run_id: str, task_id: str, *, downstream: bool = False) -> set[str]:
        """Clear a task of a run, alone or with everything downstream; return what was cleared."""
        body = {
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": downstream,
            "only_failed": False,
            "dry_run": False,
        }
        answer = self.api.post(f"/api/v2/dags/{self.dag_id}/clearTaskInstances", json=body)
        assert answer.status_code == 200, answer.text
        return {str(instance["task_id"]) for instance in answer.json()["task_instances"]}

    def run(self, run_id: str, *, pause_before: str | None = None, dag: DAG | None = None) -> RunResult:
        """
        Run what is due of a run: to its end, or until a task waits for its next try.

        Args:
            run_id: Whose tasks.
            pause_before: Stop when only this task is due.
            dag: As it was parsed before; parsed now if None.
        """
        from airflow.models.dagbag import DBDagBag
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState

        # Parsed for each run, as every worker does: a run's params stay in the objects of the DAG.
        dag = dag or self.parse().dags[self.dag_id]
        errors: dict[str, BaseException] = {}
        ran: list[str] = []
        with create_session() as session:
            dag_run = self._dag_run(run_id, session)
            dag_run.dag = DBDagBag().get_dag_for_run(dag_run, session)
            if dag_run.state == DagRunState.QUEUED:
                dag_run.set_state(DagRunState.RUNNING)
                session.commit()
            seen: object = None
            while dag_run.state == DagRunState.RUNNING:
                due = self._schedule_due(dag_run, session, but_not=pause_before)
                for instance in due:
                    ran.append(instance.task_id)
                    result = _run_task(ti=instance, task=dag.task_dict[instance.task_id])
                    if result and result.error:
                        errors[instance.task_id] = result.error
                # Skipped and upstream_failed travel one task further at each look.
                now = {instance.task_id: instance.state for instance in dag_run.get_task_instances(session=session)}
                if not due and now == seen:
                    break
                seen = now
            session.commit()
            session.expire_all()
            instances = dag_run.get_task_instances(session=session)
            return RunResult(
                run_id=run_id,
                run_type=str(dag_run.run_type),
                state=str(dag_run.state),
                states={instance.task_id: instance.state and str(instance.state) for instance in instances},
                ran=ran,
                errors=errors,
                tries={instance.task_id: instance.try_number for instance in instances},
            )

    def run_through_retries(self, run_id: str, *, within_seconds: float) -> RunResult:
        """Run a run to its end, waiting for each next try."""
        deadline = time.monotonic() + within_seconds
        while (result := self.run(run_id)).state == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
        return result

    @staticmethod
    def _schedule_due(dag_run: DagRun, session: Any, *, but_not: str | None) -> list[Any]:
        """Let the run decide what is due, and mark it as the scheduler does."""
        from airflow.utils.state import TaskInstanceState

        session.add(dag_run)  # the tasks, which run in this thread, have closed the session that all share
        session.expire_all()
        ready, _ = dag_run.update_state(session=session, execute_callbacks=False)
        due = [instance for instance in ready if instance.task_id != but_not]
        for instance in due:
            instance.try_number += 1
            instance.state = TaskInstanceState.SCHEDULED
        session.commit()
        # One that has waited for a person goes on in the same try.
        instances = dag_run.get_task_instances(session=session, state=[TaskInstanceState.SCHEDULED])
        return due + [instance for instance in instances if instance not in due]

    def _dag_run(self, run_id: str, session: Any) -> DagRun:
        from airflow.models.dagrun import DagRun

        dag_run = session.query(DagRun).filter_by(dag_id=self.dag_id, run_id=run_id).one()
        assert isinstance(dag_run, DagRun)
        return dag_run

    def end_of_run(self, run_id: str, reason: str) -> Any:
        """Return what the dag-processor gives to the DAG's own callback when a run has failed."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            dag_run = self._dag_run(run_id, session)
            failed = session.query(TaskInstance).filter_by(dag_id=self.dag_id, run_id=run_id, state="failed").first()
            session.expunge_all()
        return {"dag_run": dag_run, "ti": failed, "dag": self.parse().dags[self.dag_id], "reason": reason}

    @staticmethod
    def stored_texts(run_id: str) -> dict[str, str]:
        """Return the XComs, the rendered templates and the conf of a run, as text."""
        from airflow.models.dagrun import DagRun
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            xcoms = session.query(XComModel).filter_by(run_id=run_id).all()
            rendered = session.query(RenderedTaskInstanceFields).filter_by(run_id=run_id).all()
            runs = session.query(DagRun).filter_by(run_id=run_id).all()
            return {
                **{f"XCom {xcom.task_id} {xcom.key}": str(xcom.value) for xcom in xcoms},
                **{f"template {fields.task_id}": str(fields.rendered_fields) for fields in rendered},
                **{f"conf {run.run_id}": str(run.conf) for run in runs},
            }


@dataclass(frozen=True)
class Site:
    """One place that is backed up: its folders, its mail server, and its settings as environment variables."""

    backup_dir: Path
    config_dir: Path
    mailbox: Mailbox
    settings: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The settings, and Airflow's connections made of them."""

        return self.settings | connection_variables(self.settings)

    @property
    def archives(self) -> dict[str, bytes]:
        """The content of every file with an archive's name, by name."""
        return {path.name: path.read_bytes() for path in sorted(self.backup_dir.glob("critical_backup_*.tar.gz"))}

    @property
    def backup_mails(self) -> list[Path]:
        """The mails that brought an archive or a link to it, oldest first; alerts are others."""
        return [path for path in self.mailbox.messages() if b"\nSubject: Backup" in path.read_bytes()]

    @property
    def published_paths(self) -> list[Path]:
        """The archives, oldest first."""
        return sorted(self.backup_dir.glob("critical_backup_*.tar.gz"))

    @property
    def published(self) -> set[str]:
        """The names of everything in BACKUP_DIR that is not hidden."""
        return {path.name for path in self.backup_dir.iterdir() if not path.name.startswith(".")}


MakeSite = Callable[[Path], Any]


@pytest.fixture(scope="session")
def airflow() -> Iterator[LocalAirflow]:
    """Airflow with its metadata initialised and its REST API served in this process."""
    from airflow.configuration import AIRFLOW_HOME

    assert str(HOME) == AIRFLOW_HOME, "airflow was imported before tests/fix_airflow.py"
    from airflow.utils.db import initdb

    initdb()
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    with TestClient(create_app(apps="core")) as api:
        token = api.get("/auth/token").json()["access_token"]
        api.headers["Authorization"] = f"Bearer {token}"
        yield LocalAirflow(api)


@pytest.fixture(scope="session")
def sample_settings(postgres_18: EmbeddedPostgres) -> dict[str, str]:
    """The POSTGRES_… settings of a small sample database, and of a role that can only read it."""
    database, role, password = "nightly_sample", "nightly_reader", secrets.token_urlsafe(16)
    conninfo = postgres_18.create_database(database)
    load_sample(conninfo, scale=0.05)
    make_backup_role(postgres_18, role=role, database=database)
    set_password(postgres_18, role, password)
    address = conninfo_to_dict(conninfo)
    return {
        "POSTGRES_HOST": str(address["host"]),
        "POSTGRES_PORT": str(address["port"]),
        "POSTGRES_DB": database,
        "POSTGRES_USER": role,
        "POSTGRES_PASSWORD": password,
    }


@pytest.fixture(scope="session")
def make_site(sample_settings: dict[str, str]) -> MakeSite:
    """Give a site in a folder, with a mail server that runs as long as the site is open."""

    @contextmanager
    def make(folder: Path) -> Iterator[Site]:
        backup_dir, config_dir = folder / "backups", folder / "config"
        backup_dir.mkdir(mode=0o700)
        write_sample_configuration(config_dir)
        with Mailbox(folder / "mailbox") as mailbox:
            settings = sample_settings | {
                "SMTP_HOST": mailbox.host,
                "SMTP_PORT": str(mailbox.port),
                "SMTP_USER": mailbox.user,
                "SMTP_PASS": mailbox.password,
                "SMTP_FROM": "backup@example.com",
                "ADMIN_EMAILS": "admin1@example.com, admin2@example.com",
                "BACKUP_DIR": str(backup_dir),
                "BACKUP_CONFIG_DIR": str(config_dir),
                "BACKUP_MIN_SIZE_MB": "0",
                "BACKUP_RETRY_DELAY_SECONDS": "1",
                "SSL_CERT_FILE": str(mailbox.certificate),
            }
            yield Site(backup_dir, config_dir, mailbox, settings)

    return make


@pytest.fixture
def site(airflow: LocalAirflow, make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site of its own for one test, with its settings in the environment and the DAG parsed with them."""
    with make_site(tmp_path) as site:
        for name, value in site.environment.items():
            monkeypatch.setenv(name, value)
        airflow.load_dag()
        yield site

"""The environment in which the demo's Airflow runs, with everything it asks of Airflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.demo.folder import REPOSITORY, write_private
from include.demo.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.demo.embedded_postgres import EmbeddedPostgres
    from include.demo.folder import DemoFolder, Secrets

__all__ = ["ADMIN", "MARK", "METADATA_DATABASE", "airflow_environment", "inherited_environment"]

ADMIN = "admin"
METADATA_DATABASE = "airflow"

# Only the demo's own children have it: by it they are known, should they outlive a killed demo.
MARK = "CRITICAL_BACKUP_DEMO"

# The user's own settings for other programs must not leak into the demo; his BACKUP_… ones may.
NOT_INHERITED = (MARK, "AIRFLOW", "PG", "POSTGRES_", "SMTP_", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS")


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment without what would change how the demo runs."""
    kept = {name: value for name, value in environment.items() if not name.startswith(NOT_INHERITED)}
    # Airflow's parts talk to one another over loopback: never through the user's proxy.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (kept.get(name), HOST, "localhost")))
    return kept


def airflow_environment(
    folder: DemoFolder, postgres: EmbeddedPostgres, secrets: Secrets, *, api_port: int
) -> dict[str, str]:
    """
    Return Airflow's settings as environment variables.

    Args:
        folder: AIRFLOW_HOME and the logs go there, and the file with the login's password.
        postgres: Holds the metadata (SQLite breaks under several triggers at once).
        secrets: Keys and the password.
        api_port: Where the api-server listens, on 127.0.0.1.
    """
    passwords = folder.airflow / "passwords.json"
    folder.airflow.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(passwords, json.dumps({ADMIN: secrets.airflow_password}))
    address = f"http://{HOST}:{api_port}"
    login = f"postgres:{quote(postgres.password, safe='')}"
    sections = {
        "CORE": {
            "DAGS_FOLDER": str(REPOSITORY / "dags"),
            "PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "LOAD_EXAMPLES": "False",
            "EXECUTOR": "LocalExecutor",
            "PARALLELISM": "4",
            "FERNET_KEY": secrets.fernet_key,
            "EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
            "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            # The default asks DNS, which may be slow or absent.
            "HOSTNAME_CALLABLE": "platform.node",
        },
        "DATABASE": {"SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{login}@{HOST}:{postgres.port}/{METADATA_DATABASE}"},
        "API": {
            "HOST": HOST,
            "PORT": str(api_port),
            "BASE_URL": address,
            "WORKERS": "1",
            "SECRET_KEY": secrets.api_secret_key,
        },
        "API_AUTH": {"JWT_SECRET": secrets.jwt_secret},
        "LOGGING": {
            "BASE_LOG_FOLDER": str(folder.logs / "tasks"),
            "DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(folder.logs / "dag_processor"),
            # The log servers are not started (see airflow_processes.py); nobody else's may be asked.
            "WORKER_LOG_SERVER_PORT": str(free_port()),
            "TRIGGER_LOG_SERVER_PORT": str(free_port()),
        },
        "SCHEDULER": {
            "SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            # How long a run that was killed with its demo holds up the next one: both are 300 s by default.
            "TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "ORPHANED_TASKS_CHECK_INTERVAL": "10",
        },
        # Also how late a worker may notice that its task has ended; the default is 5 s.
        "WORKERS": {"MIN_HEARTBEAT_INTERVAL": "1"},
        "DAG_PROCESSOR": {"REFRESH_INTERVAL": "10", "BUNDLE_REFRESH_CHECK_INTERVAL": "2"},
    }
    return {
        MARK: str(folder.path),
        "AIRFLOW_HOME": str(folder.airflow),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        **{
            f"AIRFLOW__{section}__{name}": value
            for section, settings in sections.items()
            for name, value in settings.items()
        },
    }

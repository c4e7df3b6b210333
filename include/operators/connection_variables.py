"""The environment variables that make Airflow's connections, from those of the settings; without Airflow itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

from include.backup.settings import DEFAULT_CONNECTION, Settings

DATABASE_CONNECTION = DEFAULT_CONNECTION
SMTP_CONNECTION = "smtp_default"
DRILL_CONNECTION = "backup_drill"
DATABASE_VARIABLE = f"AIRFLOW_CONN_{DATABASE_CONNECTION.upper()}"
DRILL_VARIABLE = f"AIRFLOW_CONN_{DRILL_CONNECTION.upper()}"
SMTP_VARIABLE = f"AIRFLOW_CONN_{SMTP_CONNECTION.upper()}"

SMTPS_PORT = 465  # RFC 8314


def connection_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Given POSTGRES_* and SMTP_* variables, return the variables that make Airflow's connections.

    JSON, because in the form of a URL the extras would be strings, and `disable_tls=false` would be true.

    Args:
        environment: A variable that is missing or empty has the default of the settings class.
    """

    def value(name: str) -> str:
        default = Settings.model_fields[name.lower()].default
        return environment.get(name) or str(default if default is not None else "")

    database = {
        "conn_type": "postgres",
        "host": value("POSTGRES_HOST"),
        "port": int(value("POSTGRES_PORT")),
        "schema": value("POSTGRES_DB"),
        "login": value("POSTGRES_USER"),
        "password": value("POSTGRES_PASSWORD"),
    }
    port = int(value("SMTP_PORT"))
    mail: dict[str, Any] = {
        "conn_type": "smtp",
        "host": value("SMTP_HOST"),
        "port": port,
        "login": value("SMTP_USER"),
        "password": value("SMTP_PASS"),
        "extra": {
            "disable_tls" if port == SMTPS_PORT else "disable_ssl": True,
            "from_email": value("SMTP_FROM"),
            "timeout": 30,
            "retry_limit": 0,
        },
    }
    return {DATABASE_VARIABLE: json.dumps(database), SMTP_VARIABLE: json.dumps(mail)}


def set_missing_connections(environment: MutableMapping[str, str]) -> None:
    """Make the connections whose server is named in the environment, unless they are made there already."""
    made = connection_variables(environment)
    if environment.get("POSTGRES_USER"):
        environment.setdefault(DATABASE_VARIABLE, made[DATABASE_VARIABLE])
    if environment.get("SMTP_HOST"):
        environment.setdefault(SMTP_VARIABLE, made[SMTP_VARIABLE])

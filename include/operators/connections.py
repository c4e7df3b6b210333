"""The Airflow connections that the DAGs use, and the environment variables that make them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseHook

from include.backup.database import Database
from include.backup.errors import PrerequisiteError

DATABASE_CONNECTION = "smart_ai_hub"
SMTP_CONNECTION = "smtp_default"


def source_database() -> Database:
    """
    Return the database behind the Airflow connection `smart_ai_hub`.

    Raises:
        PrerequisiteError: If the connection is missing or lacks a part.
    """
    try:
        connection = BaseHook.get_connection(DATABASE_CONNECTION)
    except Exception as error:  # noqa: BLE001 - each secrets backend raises its own
        raise PrerequisiteError(
            f"Airflow has no connection {DATABASE_CONNECTION} ({error}); create it in Admin → Connections or set "
            f"AIRFLOW_CONN_{DATABASE_CONNECTION.upper()}"
        ) from None
    missing = [part for part in ("host", "schema", "login") if not getattr(connection, part)]
    if missing:
        raise PrerequisiteError(
            f"the Airflow connection {DATABASE_CONNECTION} has no {', '.join(missing)}; expected the server's "
            "host, the database's name in the field 'schema', and a login"
        )
    return Database(
        host=str(connection.host),
        port=connection.port or 5432,
        name=str(connection.schema),
        user=str(connection.login),
        password=connection.password or "",
        parameters={key: str(value) for key, value in connection.extra_dejson.items()},
    )


def connection_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Given POSTGRES_* and SMTP_* variables, return the variables that make Airflow's connections.

    JSON, because in the form of a URL the extras would be strings, and `disable_tls=false` would be true.
    """
    database = {
        "conn_type": "postgres",
        "host": environment.get("POSTGRES_HOST", "localhost"),
        "port": int(environment.get("POSTGRES_PORT", "5432")),
        "schema": environment.get("POSTGRES_DB", "smart_ai_hub"),
        "login": environment.get("POSTGRES_USER", ""),
        "password": environment.get("POSTGRES_PASSWORD", ""),
    }
    port = int(environment.get("SMTP_PORT", "587"))
    implicit_tls = port == 465  # noqa: PLR2004 - SMTPS, RFC 8314
    mail: dict[str, Any] = {
        "conn_type": "smtp",
        "host": environment.get("SMTP_HOST", ""),
        "port": port,
        "login": environment.get("SMTP_USER", ""),
        "password": environment.get("SMTP_PASS", ""),
        "extra": {
            "disable_tls" if implicit_tls else "disable_ssl": True,
            "from_email": environment.get("SMTP_FROM", ""),
            "timeout": 30,
            "retry_limit": 0,
        },
    }
    return {
        f"AIRFLOW_CONN_{DATABASE_CONNECTION.upper()}": json.dumps(database),
        f"AIRFLOW_CONN_{SMTP_CONNECTION.upper()}": json.dumps(mail),
    }

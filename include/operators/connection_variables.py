"""The environment variables that make Airflow's connections, from those of the settings; without Airflow itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DATABASE_CONNECTION = "smart_ai_hub"
SMTP_CONNECTION = "smtp_default"


def connection_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Given POSTGRES_* and SMTP_* variables, return the variables that make Airflow's connections.

    JSON, because in the form of a URL the extras would be strings, and `disable_tls=false` would be true.
    """
    database = {
        "conn_type": "postgres",
        "host": environment.get("POSTGRES_HOST") or "localhost",
        "port": int(environment.get("POSTGRES_PORT") or "5432"),
        "schema": environment.get("POSTGRES_DB") or "smart_ai_hub",
        "login": environment.get("POSTGRES_USER", ""),
        "password": environment.get("POSTGRES_PASSWORD", ""),
    }
    port = int(environment.get("SMTP_PORT") or "587")
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

"""The Airflow connections that the DAGs use."""

from __future__ import annotations

from airflow.sdk import BaseHook, Connection

from include.backup.database import Database
from include.backup.errors import PrerequisiteError
from include.operators.connection_variables import DATABASE_CONNECTION, SMTP_CONNECTION


def source_database() -> Database:
    """
    Return the database behind the Airflow connection `smart_ai_hub`.

    Raises:
        PrerequisiteError: If the connection is missing or lacks a part.
    """
    connection = _connection(DATABASE_CONNECTION)
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


def require_mail_connection() -> None:
    """
    Make sure that the Airflow connection `smtp_default` names a mail server.

    Raises:
        PrerequisiteError: If it is missing or has no host.
    """
    if not _connection(SMTP_CONNECTION).host:
        raise PrerequisiteError(
            f"the Airflow connection {SMTP_CONNECTION} has no host; expected the mail server's name: set it in "
            "Admin → Connections, or SMTP_HOST where the connection is made from variables"
        )


def _connection(name: str) -> Connection:
    try:
        return BaseHook.get_connection(name)
    except Exception as error:  # noqa: BLE001 - each secrets backend raises its own
        raise PrerequisiteError(
            f"Airflow has no connection {name} ({error}); create it in Admin → Connections or set "
            f"AIRFLOW_CONN_{name.upper()}"
        ) from None

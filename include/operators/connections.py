"""The Airflow connections that the DAGs use."""

from __future__ import annotations

import dataclasses
import os
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import cast

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import BaseHook, Connection

from include.backup.database import Database
from include.backup.errors import PrerequisiteError
from include.backup.mail import explain
from include.backup.masking import remember_connection
from include.backup.settings import load_usable_settings
from include.operators.connection_variables import (
    DRILL_CONNECTION,
    SMTP_CONNECTION,
    set_missing_connections,
)


def source_database(name: str) -> Database:
    """
    Return the database behind an Airflow connection: that of BACKUP_CONNECTION.

    Raises:
        PrerequisiteError: If the connection is missing or lacks a part.
    """
    return _database(name, _connection(name), ("host", "schema", "login"))


def drill_database(source: str) -> Database:
    """
    Return where drills restore: behind the connection `backup_drill`, otherwise on the source's own server.

    Its database is only entered to make others; `postgres` if none is named. `source` is the source's connection.

    Raises:
        PrerequisiteError: If a connection is missing or lacks a part.
    """
    try:
        connection = _look_up(DRILL_CONNECTION)
    except Exception:  # noqa: BLE001 - each secrets backend raises its own; it is optional
        return dataclasses.replace(source_database(source), name="postgres")
    return _database(DRILL_CONNECTION, connection, ("host", "login"))


def target_database(connection_name: str, database: str) -> Database:
    """
    Return the database of that name on the server behind an Airflow connection.

    Raises:
        PrerequisiteError: If the connection is missing or lacks a part.
    """
    server = _database(connection_name, _connection(connection_name), ("host", "login"))
    return dataclasses.replace(server, name=database)


def _database(name: str, connection: Connection, parts: tuple[str, ...]) -> Database:
    missing = [part for part in parts if not getattr(connection, part)]
    if missing:
        raise PrerequisiteError(
            f"the Airflow connection {name} has no {', '.join(missing)}; expected the server's "
            "host, the database's name in the field 'schema', and a login"
        )
    return Database(
        host=str(connection.host),
        port=connection.port or 5432,
        name=str(connection.schema or "postgres"),
        user=str(connection.login),
        password=connection.password or "",
        parameters={key: str(value) for key, value in connection.extra_dejson.items()},
    )


def require_mail_connection() -> None:
    """
    Make sure that the Airflow connection `smtp_default` names a mail server, and protects what is sent to it.

    Raises:
        PrerequisiteError: If it is missing or has no host; if mails and the login would travel in clear, or to a
            server that has not proven who it is, over a network, and SMTP_ALLOW_PLAINTEXT is not set.
    """
    connection = _connection(SMTP_CONNECTION)
    if not connection.host:
        raise PrerequisiteError(
            f"the Airflow connection {SMTP_CONNECTION} has no host; expected the mail server's name: set it in "
            "Admin → Connections, or SMTP_HOST where the connection is made from variables"
        )
    hook = SmtpHook(smtp_conn_id=SMTP_CONNECTION)
    hook.smtp_connection = connection
    sender = str(hook.from_email or "")
    if not sender.isprintable():
        raise PrerequisiteError(
            f"the Airflow connection {SMTP_CONNECTION} has from_email={sender[:80]!r}, which is no e-mail address: a "
            "line break would begin another header; expected for example 'backup@example.com'"
        )
    is_protected = (hook.smtp_starttls or hook.use_ssl) and hook.ssl_context != "none"
    if not is_protected and not _is_loopback(connection.host) and not load_usable_settings().smtp_allow_plaintext:
        raise PrerequisiteError(
            f"the Airflow connection {SMTP_CONNECTION} would send the login and the archive to {connection.host} "
            "without verified TLS; expected STARTTLS or SMTPS: take disable_tls or disable_ssl, and ssl_context, out "
            "of its extras (a private authority's certificate goes into SSL_CERT_FILE), or set "
            "SMTP_ALLOW_PLAINTEXT=true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_connection(name: str) -> None:
    """Make sure that Airflow has a connection of that name, and mask its secrets. PrerequisiteError if it has none."""
    _connection(name)


@contextmanager
def mail_server() -> Iterator[tuple[smtplib.SMTP, str | None]]:
    """
    Connect and log in to the mail server of `smtp_default`, by the provider's hook: TLS, verified.

    Yields:
        The client, and the connection's `from_email` if it has one.

    Raises:
        PrerequisiteError: If the connection is missing, has no host, or has no TLS where it must have it.
        TemporaryError, DeliveryError: If the server cannot be reached, or does not take the login.
    """
    require_mail_connection()
    hook = SmtpHook(smtp_conn_id=SMTP_CONNECTION)
    try:
        try:
            hook.get_conn()
        except Exception as error:
            # The hook says no more than "unable to connect" of a server that hung up.
            hidden = isinstance(error.__context__, smtplib.SMTPServerDisconnected)
            raise explain(error.__context__ if hidden else error) from error  # type: ignore[arg-type]
        yield cast("smtplib.SMTP", hook._smtp_client), hook.from_email  # noqa: SLF001 - it has no public name
    finally:
        if hook._smtp_client is not None:  # noqa: SLF001
            hook._smtp_client.close()  # noqa: SLF001


def _look_up(name: str) -> Connection:
    connection = BaseHook.get_connection(name)
    remember_connection(connection.password, connection.extra_dejson)
    return connection


def _connection(name: str) -> Connection:
    try:
        return _look_up(name)
    except Exception:  # noqa: BLE001 - each secrets backend raises its own
        set_missing_connections(os.environ)
    try:
        return _look_up(name)
    except Exception as error:  # noqa: BLE001 - each secrets backend raises its own
        raise PrerequisiteError(
            f"Airflow has no connection {name} ({error}); create it in Admin → Connections or set "
            f"AIRFLOW_CONN_{name.upper()}"
        ) from None

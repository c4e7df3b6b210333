"""The database that is backed up: how to reach it, in-process (psycopg) and from child processes (libpq)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from include.backup.errors import BackupError, PrerequisiteError, TemporaryError

APPLICATION_NAME = "critical_backup"
MAINTENANCE_DATABASE = "postgres"

# Text form of every value, pinned: what is exported must not depend on the server's or the role's defaults.
# https://www.postgresql.org/docs/current/runtime-config-client.html
SESSION_SETTINGS: Mapping[str, str] = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "standard_conforming_strings": "on",
    "search_path": "pg_catalog",
    "row_security": "off",  # a hidden row is an error, not a gap
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "60s",
    "synchronize_seqscans": "off",  # rows in file order, the same every time
    "max_parallel_workers_per_gather": "0",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "jit": "off",
}

# What a server may be too old for: it would refuse them among the options. A session that lasts is never ended; one
# whose machine is gone without a word does not hold its locks and its snapshot for the system's usual two hours.
SETTINGS_IF_KNOWN = (
    "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES ('transaction_timeout', '0'), "
    "('idle_session_timeout', '0'), ('tcp_user_timeout', '60000')) v (name, value) USING (name)"
)

# A server that is gone without a word (power, network) is noticed after a minute; libpq has no variables for these.
KEEP_ALIVE = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=60000"

# Since PostgreSQL 14: a server that waits for a lock looks whether its client still lives.
_NOTICE_DEAD_CLIENT = "SET client_connection_check_interval = '2s'"

_LIBPQ_VARIABLES = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "gssencmode": "PGGSSENCMODE",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}

# A failed connection has no SQLSTATE in libpq; these texts never pass by waiting.
_PERMANENT = re.compile(
    r"password authentication failed|no password supplied|authentication failed|no pg_hba\.conf entry"
    r"|database .* does not exist|role .* does not exist|permission denied for database"
    r"|certificate verify failed|server does not support SSL|SSL was required|root certificate file|private key file"
)


@dataclass(frozen=True)
class Database:
    """
    Where a database is and who logs in.

    Args:
        parameters: Further libpq parameters; only those of TLS, Kerberos and target_session_attrs are used.
    """

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)  # sslpassword is one

    def __str__(self) -> str:
        """Return the database without its secret, for messages."""
        return f"{self.name} on {self.host}:{self.port} as {self.user}"

    @property
    def environment(self) -> dict[str, str]:
        """Everything that psql and pg_dump get to see, and nothing else of this process's environment."""
        extra = {_LIBPQ_VARIABLES[key]: value for key, value in self._known_parameters.items()}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.name,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGPASSFILE": os.devnull,
            "PGSERVICEFILE": os.devnull,
            "PGCONNECT_TIMEOUT": "10",
            "PGCLIENTENCODING": "UTF8",
            "PGAPPNAME": APPLICATION_NAME,
            "PGOPTIONS": _OPTIONS,
            **extra,
        }

    @property
    def _known_parameters(self) -> dict[str, str]:
        return {key: value for key, value in self.parameters.items() if key in _LIBPQ_VARIABLES}

    def connect_for_maintenance(self) -> psycopg.Connection[TupleRow]:
        """Open a session in the server's own database: this one need not exist. Raises as `connect`."""
        return dataclasses.replace(self, name=MAINTENANCE_DATABASE).connect()

    def connect_for_restore(self) -> psycopg.Connection[TupleRow]:
        """Open a session that may write: for new databases only. Raises as `connect`."""
        session = self.connect()
        session.execute("SET default_transaction_read_only = off")
        return session

    def connect(self) -> psycopg.Connection[TupleRow]:
        """
        Open a session with the pinned settings; it can only read.

        Raises:
            TemporaryError: If the server cannot be reached or takes no more sessions.
            PrerequisiteError: If the login or the database is wrong: that does not pass by waiting.
        """
        try:
            session = _connect(
                make_conninfo(
                    KEEP_ALIVE,
                    host=self.host,
                    port=self.port,
                    dbname=self.name,
                    user=self.user,
                    password=self.password,
                    connect_timeout=10,
                    client_encoding="UTF8",
                    application_name=APPLICATION_NAME,
                    options=_OPTIONS,
                    **self._known_parameters,
                )
            )
            session.execute(SETTINGS_IF_KNOWN)
            with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
                session.execute(_NOTICE_DEAD_CLIENT)
        except psycopg.OperationalError as error:
            raise self._refused(str(error)) from None
        return session

    def _refused(self, text: str) -> BackupError:
        reason = _last_line(text)
        if _PERMANENT.search(reason):
            return PrerequisiteError(
                f"cannot log in to {self}: {reason}; check the Airflow connection or POSTGRES_HOST, _PORT, _DB, "
                "_USER and _PASSWORD"
            )
        return TemporaryError(f"cannot reach {self}: {reason}; check that the server runs and the address is right")


# The environment is the whole process's.
_ENVIRONMENT = threading.Lock()


def _connect(conninfo: str) -> psycopg.Connection[TupleRow]:
    """Connect to what the conninfo names: the worker's PGHOSTADDR, PGSERVICE or PGSSLMODE lead nowhere else."""
    with _ENVIRONMENT:
        worker = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("PG")}
        try:
            return psycopg.connect(conninfo, autocommit=True)
        finally:
            os.environ.update(worker)


_OPTIONS = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Is the server running")] or lines  # libpq's hint
    return re.sub(r"^.*?(FATAL|ERROR):\s*", "", lines[-1]) if lines else "no reason given"


def explain(error: psycopg.Error, doing: str) -> BackupError:
    """
    Return the error to raise for a failed statement.

    Connections lost, servers shutting down, locks and lack of resources may pass; the rest does not.
    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html (classes 08, 40, 53, 55, 57, 58).
    """
    text = f"{doing}: {error.diag.message_primary or _last_line(str(error)) or type(error).__name__}"
    if is_temporary(error.sqlstate):
        return TemporaryError(text)
    return BackupError(text)


def is_temporary(sqlstate: str | None) -> bool:
    """Whether an SQLSTATE (None: the connection broke) stands for something that may pass."""
    return sqlstate is None or sqlstate[:2] in {"08", "40", "53", "55", "57", "58"}

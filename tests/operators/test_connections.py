"""Airflow's connections: made from environment variables, and read back."""

from __future__ import annotations

import json

import pytest
from airflow.providers.smtp.hooks.smtp import SmtpHook

from include.backup.errors import PrerequisiteError
from include.operators.connection_variables import DATABASE_CONNECTION, SMTP_CONNECTION, connection_variables
from include.operators.connections import source_database

VARIABLES = {
    "POSTGRES_HOST": "db.example.com",
    "POSTGRES_PORT": "6543",
    "POSTGRES_DB": "shop & more",
    "POSTGRES_USER": "reader",
    "POSTGRES_PASSWORD": 'p@ss/w:rd?#%"\\ ä',
    "SMTP_HOST": "mail.example.com",
    "SMTP_USER": "mailer",
    "SMTP_PASS": "s3cr&t=/%",
    "SMTP_FROM": "backup@example.com",
}
DATABASE_VARIABLE, MAIL_VARIABLE = "AIRFLOW_CONN_SMART_AI_HUB", "AIRFLOW_CONN_SMTP_DEFAULT"


def use(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Put the connections made of the variables, changed, into the environment."""
    for name, value in connection_variables(VARIABLES | changes).items():
        monkeypatch.setenv(name, value)


def mail_hook() -> SmtpHook:
    """Return the provider's hook with its connection loaded, not opened."""
    hook = SmtpHook(smtp_conn_id=SMTP_CONNECTION)
    hook.smtp_connection = hook.get_connection(SMTP_CONNECTION)
    return hook


def test_database_comes_back_as_it_went_in_with_every_odd_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password needs no quoting, because the connection is JSON."""
    use(monkeypatch)
    database = source_database(DATABASE_CONNECTION)
    assert (database.host, database.port, database.name, database.user, database.password) == (
        "db.example.com",
        6543,
        "shop & more",
        "reader",
        VARIABLES["POSTGRES_PASSWORD"],
    )


def test_database_in_a_message_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither str() nor repr() gives it away."""
    use(monkeypatch)
    database = source_database(DATABASE_CONNECTION)
    assert VARIABLES["POSTGRES_PASSWORD"] not in f"{database} {database!r}"


@pytest.mark.parametrize("missing", ["login", "host", "schema"])
def test_connection_that_lacks_a_part_is_refused_naming_the_part(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """The message names the connection and what it has not."""
    connection = {"conn_type": "postgres", "host": "h", "schema": "d", "login": "u", missing: ""}
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps(connection))
    with pytest.raises(PrerequisiteError, match=f"connection smart_ai_hub has no {missing}; expected"):
        source_database(DATABASE_CONNECTION)


def test_missing_connection_is_refused_saying_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line: which connection, and where to create it."""
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    with pytest.raises(PrerequisiteError, match=r"no connection smart_ai_hub.*AIRFLOW_CONN_SMART_AI_HUB") as raised:
        source_database(DATABASE_CONNECTION)
    assert "\n" not in str(raised.value)


def test_connection_without_a_port_uses_postgresqls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection made by hand in the UI may have none."""
    connection = {"conn_type": "postgres", "host": "h", "schema": "d", "login": "u"}
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps(connection))
    assert source_database(DATABASE_CONNECTION).port == 5432


def test_tls_parameters_of_the_connection_reach_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the extras is given to libpq."""
    connection = {
        "conn_type": "postgres",
        "host": "h",
        "schema": "d",
        "login": "u",
        "extra": {"sslmode": "verify-full", "sslrootcert": "/ca.pem"},
    }
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps(connection))
    environment = source_database(DATABASE_CONNECTION).environment
    assert (environment["PGSSLMODE"], environment["PGSSLROOTCERT"]) == ("verify-full", "/ca.pem")


@pytest.mark.parametrize(
    ("port", "starttls", "implicit_tls"), [("587", True, False), ("2525", True, False), ("465", False, True)]
)
def test_mail_travels_encrypted_on_every_port(
    monkeypatch: pytest.MonkeyPatch, port: str, starttls: bool, implicit_tls: bool
) -> None:
    """SMTPS on 465, STARTTLS everywhere else; never neither."""
    use(monkeypatch, SMTP_PORT=port)
    hook = mail_hook()
    assert (hook.port, hook.smtp_starttls, hook.use_ssl) == (int(port), starttls, implicit_tls)


def test_mail_connection_has_the_login_sender_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are Airflow's business, so the hook makes none."""
    use(monkeypatch)
    hook = mail_hook()
    assert (hook.host, hook.smtp_user, hook.smtp_password, hook.from_email) == (
        "mail.example.com",
        "mailer",
        VARIABLES["SMTP_PASS"],
        "backup@example.com",
    )
    assert (hook.timeout, hook.smtp_retry_limit) == (30, 0)


def test_defaults_are_those_of_the_settings() -> None:
    """With nothing set, the connections name the same servers and ports as the settings class."""
    from include.backup.settings import Settings  # noqa: PLC0415 - only here

    variables = connection_variables({})
    database, mail = json.loads(variables[DATABASE_VARIABLE]), json.loads(variables[MAIL_VARIABLE])
    defaults = {name: info.default for name, info in Settings.model_fields.items()}
    assert (database["host"], database["port"], database["schema"]) == (
        defaults["postgres_host"],
        defaults["postgres_port"],
        defaults["postgres_db"],
    )
    assert mail["port"] == defaults["smtp_port"]


@pytest.mark.parametrize("variable", ["POSTGRES_PORT", "SMTP_PORT"])
def test_empty_port_is_the_default_port(variable: str) -> None:
    """An empty variable, as Compose makes it from `${SMTP_PORT}`, means: not set. So it is for the settings."""
    variables = connection_variables(VARIABLES | {variable: ""})
    name, port = {"POSTGRES_PORT": (DATABASE_VARIABLE, 5432), "SMTP_PORT": (MAIL_VARIABLE, 587)}[variable]
    assert json.loads(variables[name])["port"] == port

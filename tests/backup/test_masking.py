"""Secrets in texts."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from include.backup import masking
from include.backup.database import Database
from include.backup.errors import SettingsError
from include.backup.masking import known_secrets, mask, remember_connection
from include.backup.notice import Notice
from include.backup.settings import load_settings

ODD = "pa'ss\\wo\"rd/@:% ก"
CONNECTION = {"conn_type": "postgres", "password": "secret-one", "extra": {"sslpassword": "secret-two"}}


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("POSTGRES_PASSWORD", "s3cret-word", "s3cret-word"),
        ("SMTP_PASS", "s3cret-word", "s3cret-word"),
        ("PGPASSWORD", "s3cret-word", "s3cret-word"),
        ("AIRFLOW__API_AUTH__JWT_SECRET", "s3cret-word", "s3cret-word"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://u:s3cret-word@db/airflow", "s3cret-word"),
        ("BACKUP_LINK_BASE_URL", "https://u:s3cret-word@example.com", "s3cret-word"),
        ("BACKUP_METRICS_TOKEN", "s3cret-word", "s3cret-word"),
        ("BACKUP_HEARTBEAT_URL", "https://hc.example.com/s3cret-word", "s3cret-word"),
        ("BACKUP_HEARTBEAT_URL", "https://hc.example.com/push?token=s3cret-word", "s3cret-word"),
        ("BACKUP_SLACK_WEBHOOK_URL", "https://hooks.example.com/services/T0/s3cret-word", "s3cret-word"),
        ("AIRFLOW_CONN_SMART_AI_HUB", json.dumps(CONNECTION), "secret-one"),
        ("AIRFLOW_CONN_SMART_AI_HUB", json.dumps(CONNECTION), "secret-two"),
        ("AIRFLOW_CONN_X", json.dumps({"extra": json.dumps({"sslpassword": "secret-two"})}), "secret-two"),
        ("AIRFLOW_CONN_X", "postgres://u:secret%2Fone@db/x?sslpassword=secret-two", "secret/one"),
        ("AIRFLOW_CONN_X", "postgres://u:secret%2Fone@db/x?sslpassword=secret-two", "secret-two"),
        ("POSTGRES_PASSWORD", ODD, ODD),
    ],
)
def test_secret_of_the_environment_is_masked_wherever_it_stands(name: str, value: str, secret: str) -> None:
    """As it is, and as URLs, JSON, Python and libpq quote it."""
    for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert mask(f"before {form} after", {name: value}) == "before *** after"


def test_what_is_no_secret_stays() -> None:
    """Names of files and addresses, short values, and texts without any secret."""
    environment = {
        "PGPASSFILE": "/home/backup/pgpass",
        "PWD": "/home/backup",
        "POSTGRES_PASSWORD": "abc",
        "BACKUP_HEARTBEAT_URL": "https://hc.example.com/ping",
        "AIRFLOW_CONN_X": "{not json",
    }
    text = "abc of /home/backup/pgpass at https://db.example.com:5432/ping; 10:20@home: password authentication failed"
    assert mask(text, environment) == text


def test_text_of_the_form_of_a_login_is_masked_without_knowing_it() -> None:
    """A URL or a parameter that somebody else's error quotes."""
    text = "connect to smtp://user:unknown-1@mx and host=db password='unknown 2' sslpassword=unknown-3;"
    assert mask(text, {}) == "connect to smtp://***@mx and host=db password=*** sslpassword=***;"


def test_masking_twice_is_masking_once() -> None:
    """Notices and logs may both do it."""
    environment = {"SMTP_PASS": "s3cret-word"}
    once = mask("SMTP_PASS=s3cret-word: wrong; http://u:s3cret-word@x", environment)
    assert mask(once, environment) == once == "SMTP_PASS=***: wrong; http://***@x"


def test_longer_secret_that_holds_another_leaves_nothing_behind() -> None:
    """Masking the shorter one first would leave the longer one's end."""
    assert mask("secret-and-more", {"A_PASSWORD": "secret", "B_PASSWORD": "secret-and-more"}) == "***"


def test_connection_that_was_looked_up_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come from Airflow's own database, where the environment knows nothing of it."""
    monkeypatch.setattr(masking, "_told", set())
    remember_connection("from-the-store", {"sslpassword": "in-an-extra", "sslmode": "verify-full", "token": 12345678})
    assert known_secrets({}) == {"from-the-store", "in-an-extra", "12345678"}
    remember_connection(None, {})
    assert mask("from-the-store verify-full", {}) == "*** verify-full"


def test_database_shows_neither_password_nor_parameters() -> None:
    """`repr` stands in stack traces and in logs of other programs."""
    database = Database("db", 5432, "hub", "reader", "pass-in-it", {"sslpassword": "also-in-it"})
    assert "in-it" not in f"{database!r} {database}"


def test_notice_is_masked_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way it is sent."""
    monkeypatch.setenv("POSTGRES_PASSWORD", "s3cret-word")
    notice = Notice("failed", "no s3cret-word", "why s3cret-word", (("Try", "s3cret-word 1"),), (), None)
    assert (notice.title, notice.text, notice.facts) == ("no ***", "why ***", (("Try", "*** 1"),))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUP_LINK_BASE_URL", "https://user:s3cret-word@example.com"),
        ("BACKUP_HEARTBEAT_URL", "https://user:s3cret-word@example.com/ping"),
        ("BACKUP_HEARTBEAT_URL", "ftp://example.com/s3cret-word"),
        ("BACKUP_HEARTBEAT_URL", "file:///s3cret-word"),
        ("BACKUP_HEARTBEAT_URL", "s3cret-word"),
    ],
)
def test_address_with_a_login_or_of_another_kind_is_refused_without_showing_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the variable and what is expected; a link's login would stand in every mail."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^wrong settings: {name}=.*not a web address") as raised:
        load_settings()
    assert "s3cret-word" not in str(raised.value)


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints them by mistake prints stars."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_HEARTBEAT_URL", "https://hc.example.com/s3cret-word")
    monkeypatch.setenv("POSTGRES_PASSWORD", "s3cret-word")
    settings = load_settings()
    assert "s3cret-word" not in f"{settings!r} {settings.model_dump_json()}"

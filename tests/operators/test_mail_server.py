"""The connection to real mail servers, made by the provider's hook: encrypted and verified, or not at all."""

from __future__ import annotations

import json
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.backup.errors import BackupError, DeliveryError, PrerequisiteError, TemporaryError
from include.demo.mailbox import Mailbox
from include.operators.connections import mail_server, require_mail_connection
from include.operators.mail import mail_server_limit

STARTTLS = {"disable_ssl": True}
SMTPS = {"disable_tls": True}
PLAIN = {"disable_ssl": True, "disable_tls": True}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one setting that has no default, and no authority but the system's."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def connect(monkeypatch: pytest.MonkeyPatch, host: str, port: int, **values: Any) -> None:
    """Put a connection into the environment; `extra` says how it is protected."""
    extra = {"timeout": 2, "retry_limit": 0, **values.pop("extra", STARTTLS)}
    connection = {"conn_type": "smtp", "host": host, "port": port, "extra": extra, **values}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))


def use(monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox, *, trusted: bool = True, **values: Any) -> None:
    """Connect to a mailbox, with its login and its certificate's authority."""
    connect(monkeypatch, mailbox.host, mailbox.port, **({"login": mailbox.user, "password": mailbox.password} | values))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(mailbox.certificate))


@pytest.mark.parametrize(("tls", "extra"), [("starttls", STARTTLS), ("smtps", SMTPS), ("none", PLAIN)])
def test_mail_server_with_a_private_authority_takes_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: Any, extra: dict[str, bool]
) -> None:
    """STARTTLS and SMTPS with the authority in SSL_CERT_FILE; plain text only because it is the loopback interface."""
    with Mailbox(tmp_path / "m", tls=tls, max_message_bytes=7_000_000) as mailbox:
        use(monkeypatch, mailbox, extra=extra)
        with mail_server() as (client, _):
            assert client.noop()[0] == 250
        assert mail_server_limit() == 7_000_000


BAD: list[tuple[dict[str, Any], dict[str, Any], type[BackupError], str]] = [
    ({}, {"trusted": False}, DeliveryError, "self-signed certificate|self signed certificate"),
    ({"certificate_valid": timedelta(days=-1)}, {}, DeliveryError, "certificate has expired"),
    ({"tls": "smtps", "certificate_valid": timedelta(days=-1)}, {"extra": SMTPS}, DeliveryError, "has expired"),
    ({"tls": "smtps"}, {"extra": SMTPS, "trusted": False}, DeliveryError, "certificate verify failed"),
    ({"tls": "none"}, {}, DeliveryError, "STARTTLS extension not supported"),
    ({"tls": "none"}, {"extra": SMTPS}, DeliveryError, "no secure connection"),
    ({}, {"password": "not-the-password"}, DeliveryError, "535"),
]


@pytest.mark.parametrize(("server", "connection", "kind", "words"), BAD)
def test_mail_server_that_is_not_to_be_trusted_gets_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    server: dict[str, Any],
    connection: dict[str, Any],
    kind: type[BackupError],
    words: str,
) -> None:
    """One line that says why and where to look, final, with no secret; asking for its limit only finds none."""
    with Mailbox(tmp_path / "m", **server) as mailbox:
        use(monkeypatch, mailbox, **connection)
        with pytest.raises(kind, match=words) as caught, mail_server():
            pass
        assert mail_server_limit() is None
        assert type(caught.value) is kind
        assert "smtp_default" in str(caught.value)
        assert not re.search(f"{re.escape(mailbox.password)}|not-the-password", str(caught.value))


def test_certificate_of_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in the connection has to stand in the certificate."""
    with Mailbox(tmp_path / "m", host="127.0.0.2") as mailbox:
        use(monkeypatch, mailbox)
        with pytest.raises(DeliveryError, match=r"not valid for '127\.0\.0\.2'"), mail_server():
            pass


def test_mail_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the connection's time-out, and worth another try."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(monkeypatch, "127.0.0.1", server.getsockname()[1])
        with pytest.raises(TemporaryError, match="timed out"), mail_server():
            pass


@pytest.mark.parametrize("extra", [PLAIN, {**STARTTLS, "ssl_context": "none"}, {**SMTPS, "ssl_context": "none"}])
@pytest.mark.parametrize(
    ("host", "allowed", "refused"),
    [
        ("mail.example.com", "", True),
        ("10.0.0.5", "false", True),
        ("127.evil.example.com", "", True),
        ("mail.example.com", "true", False),
        ("localhost", "", False),
        ("127.0.0.1", "", False),
        ("::1", "", False),
    ],
)
def test_connection_without_verified_tls_is_for_the_loopback_interface_unless_allowed(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], host: str, allowed: str, *, refused: bool
) -> None:
    """Before any byte is sent, and before work starts; the message says how to mend it, and how to allow it."""
    connect(monkeypatch, host, 25, extra=extra)
    monkeypatch.setenv("SMTP_ALLOW_PLAINTEXT", allowed)
    if not refused:
        monkeypatch.setenv("BACKUP_WINDOW_MONTHS", "many")  # an alert of a wrong setting goes out as well
        return require_mail_connection()
    with pytest.raises(PrerequisiteError, match=rf"to {host} without verified TLS.*SMTP_ALLOW_PLAINTEXT=true"):
        require_mail_connection()
    with pytest.raises(PrerequisiteError), mail_server():
        pass
    return None

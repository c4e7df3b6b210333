"""The dead-man's switch, against real servers on loopback that answer, hang, fail, redirect, or are not there."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.backup.heartbeat import ping
from include.demo.certificate import make_server_context

TOKEN = "token-4f1d9a7c"


@dataclass
class Switch:
    """A server that notes what it is asked, and answers as it is told."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    trickle_seconds: float = 0
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """The address, with a token in it."""
        return f"http://127.0.0.1:{self.port}/ping/{TOKEN}"


@contextmanager
def serve(context: ssl.SSLContext | None = None) -> Iterator[Switch]:
    """Run a switch on a free port, over TLS if a context is given."""
    state = Switch()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            deadline = time.monotonic() + state.trickle_seconds
            while time.monotonic() < deadline:  # a status line without end: no single read ever times out
                self.wfile.write(b"X")
                time.sleep(0.05)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def switch() -> Iterator[Switch]:
    """A switch that is called in clear."""
    with serve() as state:
        yield state


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happens, the token never stands in the log."""
    caplog.set_level(logging.DEBUG)
    yield
    assert TOKEN not in caplog.text


def test_each_event_calls_its_own_address(switch: Switch) -> None:
    """Start and failure below the address, success at the address itself."""
    assert [ping(switch.url, event) for event in ("start", "success", "fail")] == [True, True, True]
    assert switch.asked == [f"/ping/{TOKEN}/start", f"/ping/{TOKEN}", f"/ping/{TOKEN}/fail"]


def test_address_with_parameters_or_a_slash_keeps_its_meaning(switch: Switch) -> None:
    """The event belongs to the path; a slash is not doubled."""
    ping(f"http://127.0.0.1:{switch.port}/push?token={TOKEN}", "fail")
    ping(f"http://127.0.0.1:{switch.port}", "start")
    ping(f"http://127.0.0.1:{switch.port}/x/", "start")
    ping(f"http://127.0.0.1:{switch.port}/x/", "success")
    assert switch.asked == [f"/push/fail?token={TOKEN}", "/start", "/x/start", "/x/"]


def test_without_an_address_nobody_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """The switch is optional, and its absence no warning."""
    assert ping(None, "success") is False
    assert caplog.records == []


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_server_that_fails_is_a_warning(status: int, switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    """Its answer stands in the log, the address does not."""
    switch.status = status
    assert ping(switch.url, "success") is False
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"it answered {status}" in record.getMessage()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int, switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    """The token goes nowhere but where it was meant to."""
    switch.status, switch.headers = status, {"Location": f"http://127.0.0.1:{switch.port}/elsewhere"}
    assert ping(switch.url, "success") is False
    assert switch.asked == [f"/ping/{TOKEN}"]
    assert "redirects are not followed" in caplog.text


def test_server_that_is_not_there_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Refused at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert ping(f"http://127.0.0.1:{port}/{TOKEN}", "fail") is False
    assert "Connection refused" in caplog.text


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "127.0.0.1:99999", "[::1"])
def test_address_that_leads_nowhere_is_a_warning(host: str) -> None:
    """A name that nobody knows, or that cannot be one."""
    assert ping(f"http://{host}/{TOKEN}", "start", timeout_seconds=2) is False


def test_server_that_is_silent_holds_nobody_up() -> None:
    """It takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ping(f"http://127.0.0.1:{silent.getsockname()[1]}/{TOKEN}", "start", timeout_seconds=0.3) is False


def test_server_that_trickles_holds_nobody_up(switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte comes in time, the answer never does: the time-out is for all of it."""
    switch.trickle_seconds = 1.5
    assert ping(switch.url, "start", timeout_seconds=0.3) is False
    assert "no answer within 0.3 s" in caplog.text


def test_server_that_speaks_no_http_is_a_warning() -> None:
    """For example a TLS port that is called in clear."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x16")

        thread = threading.Thread(target=answer)
        thread.start()
        assert ping(f"http://127.0.0.1:{server.getsockname()[1]}/{TOKEN}", "start", timeout_seconds=2) is False
        thread.join()


def test_certificate_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The token is not handed to whoever answers; a private authority is named by SSL_CERT_FILE."""
    certificate = tmp_path / "certificate.pem"
    with serve(make_server_context(certificate, tmp_path / "key.pem")) as state:
        url = state.url.replace("http:", "https:")
        assert ping(url, "start") is False
        assert "certificate verify failed" in caplog.text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ping(url, "success") is True
    assert state.asked == [f"/ping/{TOKEN}"]

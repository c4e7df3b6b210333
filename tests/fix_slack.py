"""A real HTTP server in Slack's place, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from include.demo.ports import free_port


@dataclass
class Hooks:
    """A server whose paths say how it answers: /200/…, /500/…, /302/…, /hang/…."""

    port: int
    texts: list[str] = field(default_factory=list)

    def url(self, answer: str) -> str:
        return f"http://127.0.0.1:{self.port}/{answer}/secret-token"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """A server that answers as the address says, and what it took."""
    hooks = Hooks(free_port())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            answer = self.path.split("/")[1]
            if answer == "hang":
                time.sleep(3)
                return
            if answer == "200":
                hooks.texts.append(json.loads(content)["text"])
            self.send_response(int(answer))
            self.send_header("Location", hooks.url("200"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", hooks.port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hooks
        server.shutdown()
        thread.join()

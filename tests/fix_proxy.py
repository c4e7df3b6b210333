"""A way to the server that is slow, or ends: a TCP proxy on the loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

BLOCK_BYTES = 16384


class Proxy:
    """
    Hands bytes on between its own port and a server's, while its context is open.

    Args:
        host: The server's.
        port: The server's.
        cut_after: So many bytes of the server's answers, of all connections together, go through; then all is cut.
        bytes_per_second: Of each connection's answers; as fast as it goes if None.
    """

    def __init__(
        self, host: str, port: int, *, cut_after: int | None = None, bytes_per_second: int | None = None
    ) -> None:
        self._server = (host, port)
        self._left = cut_after
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.carried = 0
        self.is_cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """End every connection now, without a farewell, and take no new one."""
        self.is_cut.set()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in (self._listener, *self._open):
            end.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            if self.is_cut.is_set():
                self.cut()
            self._start(self._carry, client, server, False)
            self._start(self._carry, server, client, True)

    def _carry(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK_BYTES):
                allowed = self._allowed(len(block)) if is_answer else len(block)
                target.sendall(block[:allowed])
                if allowed < len(block):
                    self.cut()
                    return
                if is_answer and self._bytes_per_second:
                    time.sleep(len(block) / self._bytes_per_second)
        for end in (source, target):  # neither side speaks on to nobody
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _allowed(self, size: int) -> int:
        with self._lock:
            if self._left is None:
                self.carried += size
                return size
            size = min(size, self._left)
            self._left -= size
            self.carried += size
            return size

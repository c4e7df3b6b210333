"""Which ports on the loopback interface the demo's servers get."""

from __future__ import annotations

import random
import socket

from include.demo.errors import DemoError

__all__ = ["HOST", "choose_port", "free_port"]

HOST = "127.0.0.1"

# Below 32768, where Linux starts to hand out ports for outgoing connections: a port that is free now but
# is bound seconds later (Airflow starts slowly) must not be taken by a connection in between.
CANDIDATES = range(20_000, 32_000)


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on at this moment."""
    for port in random.SystemRandom().sample(CANDIDATES, k=200):
        if is_free(port):
            return port
    raise DemoError(f"no free port on {HOST} among 200 tried between {CANDIDATES.start} and {CANDIDATES.stop}")


def choose_port(variable: str, wish: str) -> int:
    """
    Return the port that the user wishes, or a free one where the wish is empty.

    Args:
        variable: The environment variable that carried the wish, for the message.
        wish: Its value; may be empty.

    Raises:
        DemoError: If the value is no port number, or the port is taken.
    """
    if not wish:
        return free_port()
    if not wish.isdecimal() or not 0 < int(wish) < 2**16:
        raise DemoError(f"{variable}={wish} is no port: expected a number from 1 to 65535")
    if not is_free(int(wish)):
        raise DemoError(f"{variable}={wish}: that port on {HOST} is taken; choose another or leave {variable} empty")
    return int(wish)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

"""Everything that is ever sent to a broker, as an eavesdropper sees it: also what is gone from it a moment later."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from redis.client import Monitor

from tests.fix_redis import RedisServer

END = "end of the record"
# Celery packs its messages in JSON, and their bodies in base64.
BODY = re.compile(r'"body": "([A-Za-z0-9+/=]+)"')


@dataclass(frozen=True)
class BrokerRecord:
    """The commands that Redis was sent, oldest first."""

    commands: list[str] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """All commands, and once more what was packed in them."""
        said = "\n".join(tuple(self.commands))
        return said + "\n".join(base64.b64decode(body).decode() for body in BODY.findall(said))


@contextmanager
def recorded(redis: RedisServer) -> Iterator[BrokerRecord]:
    """Record what Redis is sent, until the end of the block."""
    record = BrokerRecord()
    with redis.client() as watching, redis.client() as client, watching.monitor() as monitor:
        listener = threading.Thread(target=_listen, args=(monitor, record), daemon=True)
        listener.start()
        yield record
        client.echo(END)
        listener.join(10)


def _listen(monitor: Monitor, record: BrokerRecord) -> None:
    while END not in (command := str(monitor.next_command()["command"])):  # type: ignore[no-untyped-call]
        record.commands.append(command)

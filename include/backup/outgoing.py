"""A mail as it goes over the wire; its attachment is read and encoded block by block, never held whole."""

from __future__ import annotations

import base64
import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from include.backup.archive_name import is_encrypted

LINE_BYTES = 57  # as 76 characters of base64: RFC 2045 6.8
ENCODED_LINE_BYTES = 78  # with CR LF
BLOCK_BYTES = LINE_BYTES * 8192


def base64_bytes(size_bytes: int) -> int:
    """Return how many bytes of base64, with its line ends, so many bytes become: 1.37 times as many."""
    lines, rest = divmod(size_bytes, LINE_BYTES)
    return lines * ENCODED_LINE_BYTES + (4 * math.ceil(rest / 3) + 2 if rest else 0)


@dataclass(frozen=True)
class Outgoing:
    """
    A mail ready to be sent.

    Args:
        head: All that stands before the attachment's content.
        attachment: The file; None if nothing is attached.
        tail: All that stands after its content.
    """

    head: bytes
    attachment: Path | None = None
    tail: bytes = b""

    @property
    def size_bytes(self) -> int:
        """The mail's size on the wire."""
        content = base64_bytes(self.attachment.stat().st_size) if self.attachment else 0
        return len(self.head) + content + len(self.tail)

    def blocks(self) -> Iterator[bytes]:
        """Yield the mail in order, in blocks that end at line ends."""
        yield self.head
        if self.attachment:
            with self.attachment.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    yield base64.encodebytes(block).replace(b"\n", b"\r\n")
        yield self.tail


def outgoing(message: EmailMessage, attachment: Path | None = None) -> Outgoing:
    """Return the mail as it goes over the wire, with the archive attached if one is given. Changes the message."""
    if attachment is None:
        return Outgoing(message.as_bytes(policy=SMTP))
    # The email package builds the frame around one line; the file's content takes its place while it is sent.
    line = secrets.token_bytes(LINE_BYTES)
    subtype = "octet-stream" if is_encrypted(attachment.name) else "gzip"  # age has no registered type
    message.add_attachment(line, maintype="application", subtype=subtype, filename=attachment.name)
    head, tail = message.as_bytes(policy=SMTP).split(base64.b64encode(line) + b"\r\n")
    return Outgoing(head, attachment, tail)

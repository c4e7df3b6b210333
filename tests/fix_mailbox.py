"""A real mail server for tests, and what it has received."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

import pytest

from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Mail:
    """A mail as it arrived."""

    recipients: set[str]
    subject: str
    text: str
    html: str
    attachments: dict[str, bytes]


def read_mail(path: Path) -> Mail:
    """Return what stands in a mail."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    return Mail(
        recipients=set(re.split(r",\s*", str(message["X-Envelope-To"]))),
        subject=str(message["Subject"]),
        text=text.get_content(),
        html=html.get_content(),
        attachments={str(part.get_filename()): part.get_content() for part in message.iter_attachments()},
    )


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    """An empty mailbox that takes mail for everybody."""
    with Mailbox(tmp_path / "mailbox") as server:
        yield server

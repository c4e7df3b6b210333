"""A real mail server for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    """An empty mailbox that takes mail for everybody."""
    with Mailbox(tmp_path / "mailbox") as server:
        yield server

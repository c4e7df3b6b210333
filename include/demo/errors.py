"""The one kind of error that the demo expects: it is shown as one line, without a traceback."""

from __future__ import annotations

__all__ = ["DemoError"]


class DemoError(Exception):
    """Something the user can put right; the message says what was seen and what to do."""

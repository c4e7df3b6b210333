"""The one kind of error that the benchmark expects: it is shown as one line, without a traceback."""

from __future__ import annotations

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """A figure that would be wrong, or something the user can put right; the message says what was seen."""

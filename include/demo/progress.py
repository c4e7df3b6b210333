"""What people see while the demo works: steps of the preparation, then the tasks of a backup."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from include.demo.airflow_api import TaskState

__all__ = ["Progress"]

COLOURS = {
    "success": "green",
    "running": "yellow",
    "failed": "bold red",
    "upstream_failed": "red",
    "up_for_retry": "magenta",
    "skipped": "bright_black",
}
DONE = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass
class Progress:
    """Live on a terminal; one plain line for each change elsewhere."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step of the preparation and, when it is done, how long it took."""
        begin = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(name):
                yield
        else:
            yield
        self.say(f"  {name:<44}{time.monotonic() - begin:6.1f} s")

    @contextmanager
    def tasks(self) -> Iterator[Callable[[Sequence[TaskState]], None]]:
        """Give a function that is called again and again with the states of all tasks, in their order."""
        if not self.console.is_terminal:
            yield Changes(self.say).show
            return
        with Live(console=self.console, refresh_per_second=8) as live:
            yield lambda states: live.update(as_table(states))

    def say(self, text: str) -> None:
        """Print a line, at once and as it is."""
        self.console.print(Text(text))

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started


@dataclass
class Changes:
    """Says what has changed since the last look."""

    say: Callable[[str], None]
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    def show(self, states: Sequence[TaskState]) -> None:
        """Print one line for each task whose state is another than before."""
        for task in states:
            now = (task.state, task.attempt)
            if self.seen.get(task.name) != now and (task.state in COLOURS):
                self.say(f"  {task.name:<24}{task.state:<16}{seconds(task)}")
            self.seen[task.name] = now


def as_table(states: Sequence[TaskState]) -> Table:
    """Return the tasks as they are drawn on a terminal."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(min_width=24)
    table.add_column(min_width=14)
    table.add_column(justify="right", min_width=8)
    for task in states:
        colour = COLOURS.get(task.state, "bright_black")
        attempt = f" (try {task.attempt})" if task.attempt > 1 else ""
        table.add_row(task.name, Text(task.state + attempt, style=colour), seconds(task))
    return table


def seconds(task: TaskState) -> str:
    """Return how long a finished or running task took so far, or nothing."""
    started = task.state in DONE or task.state == "running"
    return f"{task.seconds:6.1f} s" if started and task.seconds is not None else ""

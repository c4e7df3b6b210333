"""The demo's order of events: start everything, make a backup, stay, stop everything."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn

from include.demo.airflow_api import AirflowApi
from include.demo.backup_run import FinishedBackup, make_backup, wait_for_drill
from include.demo.errors import DemoError
from include.demo.servers import Servers, Wishes, start_servers
from include.demo.summary import how_to_go_on, what_was_made, what_was_proven

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from include.demo.folder import DemoFolder
    from include.demo.progress import Progress

__all__ = ["StopRequested", "one_more_backup", "run_demo"]

CHECK_SECONDS = 0.5


class StopRequested(BaseException):
    """Somebody asked the demo to end: Ctrl-C, or SIGTERM, or the terminal was closed."""


def run_demo(folder: DemoFolder, progress: Progress, environment: Mapping[str, str], *, once: bool) -> None:
    """
    Bring everything up, make one backup and show it; unless `once`, stay until somebody ends it.

    Args:
        folder: Where everything is written.
        progress: Shows what happens.
        environment: The user's: ports, SCALE, BACKUP_….
        once: End after the backup.

    Raises:
        DemoError: If something did not start or died, or if the backup failed and `once` is set.
        StopRequested: If somebody ended it before it had made its backup.
    """
    with stop_on_signals(), folder.hold(), ExitStack() as stack:
        servers = start_servers(stack, folder, progress, Wishes.from_environment(environment))
        stack.enter_context(stopping(progress))
        progress.say(f"Critical backup (ready after {progress.elapsed_seconds:.0f} s)")
        first_backup(servers, folder, progress, once=once)
        if not once:
            stay(servers, folder, progress)


def first_backup(servers: Servers, folder: DemoFolder, progress: Progress, *, once: bool) -> None:
    """Make the backup; one that fails ends the demo only if it was to run once."""
    try:
        backup = make_backup(servers.api, folder, progress, check=servers.airflow.check)
    except DemoError as error:
        if once:
            raise
        progress.say(f"\n{error}\n")
    else:
        tell(servers.api, backup, progress, check=servers.airflow.check)


def tell(
    api: AirflowApi, backup: FinishedBackup, progress: Progress, *, check: Callable[[], None] = lambda: None
) -> None:
    """Say what was made, and when the drill has ended what it showed."""
    progress.say("\n".join(["", *what_was_made(backup)]))
    progress.say(what_was_proven(wait_for_drill(api, backup.archive, check=check)))


def stay(servers: Servers, folder: DemoFolder, progress: Progress) -> None:
    """Say how to go on, then wait until somebody ends the demo; raise DemoError if Airflow dies."""
    progress.say("\n".join(how_to_go_on(folder, servers.running)))
    try:
        while True:
            servers.airflow.check()
            time.sleep(CHECK_SECONDS)
    except StopRequested:
        return


def one_more_backup(folder: DemoFolder, progress: Progress) -> None:
    """Make one more backup in the demo that runs in this folder; raise DemoError if none does."""
    running = folder.running()
    if running is None:
        raise DemoError(f"no demo runs in {folder.path}: start one with make demo")
    api = AirflowApi(running.airflow, running.user, running.password)
    tell(api, make_backup(api, folder, progress), progress)


@contextmanager
def stopping(progress: Progress) -> Iterator[None]:
    """Say at the end that everything is being stopped: it takes some seconds."""
    try:
        yield
    finally:
        progress.say("Stopping everything …")


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first signal to end into StopRequested; further ones do not disturb the clean-up."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested

    for each in signals:
        signal.signal(each, stop)
    yield

"""What the demo says at the end of a backup, in a few lines."""

from __future__ import annotations

import textwrap
from email import policy
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from include.backup.drill_record import DrillRecord
    from include.demo.backup_run import FinishedBackup
    from include.demo.folder import DemoFolder, RunningDemo

__all__ = ["how_to_go_on", "what_was_made", "what_was_proven"]

BYTES_PER_MB = 2**20
WIDTH = 100
INDENT = " " * 10


def what_was_made(backup: FinishedBackup) -> list[str]:
    """Return lines about the archive, the time each step took, and the mail."""
    sidecar = backup.sidecar
    steps = [
        f"{task.name}\N{NO-BREAK SPACE}{task.seconds or 0:.1f}\N{NO-BREAK SPACE}s"
        for task in backup.tasks
        if task.state == "success"
    ]
    size = sidecar.archive_bytes / BYTES_PER_MB
    return [
        f"Archive   {backup.archive}",
        f"          {size:.2f} MB, {sidecar.rows:,} rows in {len(sidecar.tables)} tables, verified",
        f"Time      {backup.seconds:.1f} s",
        *textwrap.wrap(", ".join(steps), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT),
        *(f"Warning   {warning}" for warning in sidecar.warnings),
        *(line for mail in backup.mails for line in about_mail(mail)),
    ]


def what_was_proven(drill: DrillRecord | None) -> str:
    """Return a line about the drill that followed the backup."""
    if drill is None:
        return "Drill     has not ended yet; see the DAG restore_drill in Airflow"
    if not drill.passed:
        return f"Drill     FAILED: {drill.error}"
    return f"Proven    restored into a scratch database in {drill.seconds:.1f} s, {drill.rows:,} rows compared, dropped"


def about_mail(mail: Path) -> list[str]:
    """Return who got a message, and where it can be read."""
    with mail.open("rb") as file:
        headers = BytesHeaderParser(policy=policy.default).parse(file)
    return [f"Mail      to {headers['X-Envelope-To']}: {headers['Subject']}", f"          {mail}"]


def how_to_go_on(folder: DemoFolder, running: RunningDemo) -> list[str]:
    """Return how to open Airflow, where the logs are, and how to make one more backup and stop."""
    again = "make backup" if folder.is_usual else f"make backup DEMO_DIR={folder.path}"
    return [
        f"Airflow   {running.airflow}   login {running.user}, password {running.password}",
        f"Logs      {folder.logs}",
        f"Next      {again} in another terminal makes one more; Ctrl-C here stops everything",
    ]

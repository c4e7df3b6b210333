"""What is wrong with the nightly backup since when: opened by its alerts, closed by the next success."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime

from include.backup.durable import write_atomically
from include.backup.manifest import Record
from include.backup.notice import Notice
from include.backup.small_file import read_small_file

INCIDENT_FILE = ".open_incident.json"
ALERTED_FILE = ".alerted_run_of_{dag_id}"


class Incident(Record):
    """The first alert since the last success."""

    since: AwareDatetime
    title: str


def open_incident(backup_dir: Path, title: str, *, now: datetime) -> None:
    """Remember that an alert was sent; the first one since the last success counts."""
    if read_incident(backup_dir) is None:
        content = Incident(since=now, title=title).model_dump_json().encode()
        write_atomically(backup_dir / INCIDENT_FILE, content)


def read_incident(backup_dir: Path) -> Incident | None:
    """Return the open incident; None if there is none that can be read."""
    try:
        return Incident.model_validate_json(read_small_file(backup_dir / INCIDENT_FILE))
    except (OSError, ValueError):
        return None


def close_incident(backup_dir: Path) -> None:
    """Forget the open incident."""
    (backup_dir / INCIDENT_FILE).unlink(missing_ok=True)


def mark_alerted(backup_dir: Path, dag_id: str, run_id: str) -> None:
    """Remember that a task of this run has told why it failed, so that the run's own alert need not."""
    write_atomically(backup_dir / ALERTED_FILE.format(dag_id=dag_id), run_id.encode())


def take_alerted(backup_dir: Path, dag_id: str, run_id: str) -> bool:
    """Return whether a task of this run has told why it failed, and forget it: the run may be cleared and fail anew."""
    file = backup_dir / ALERTED_FILE.format(dag_id=dag_id)
    try:
        if file.read_text() != run_id:
            return False
        file.unlink()
    except OSError:
        return False
    return True


def over_notice(incident: Incident, archive: str, *, since_text: str, url: str | None) -> Notice:
    """Return what to say when a backup has succeeded again."""
    return Notice(
        state="ok",
        title="critical_backup works again",
        text=f"{archive} is verified. It is over: {incident.title}.",
        facts=(("Since", since_text), ("Archive", archive)),
        next_steps=("Nothing. Nights that were missed are named by backup_watch, with the backfill command.",),
        url=url,
    )

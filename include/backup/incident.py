"""What is wrong with a DAG since when: opened by its alerts, closed by its next success."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime

from include.backup.backup_id import BACKUP_DAG, Backup
from include.backup.durable import write_atomically
from include.backup.manifest import Record
from include.backup.notice import Notice
from include.backup.small_file import read_small_file

WATCH_DAG = "backup_watch"
INCIDENT_FILE, INCIDENT_FILE_OF_WATCH = ".open_incident.json", ".open_incident_of_backup_watch.json"


class Incident(Record):
    """The first alert since the last success."""

    since: AwareDatetime
    title: str


def has_incidents(dag_id: str) -> bool:
    """Return whether a success of this DAG ends what was wrong: of those that make backups, and of backup_watch."""
    return dag_id in (WATCH_DAG, Backup.of_dag(dag_id).dag_id)


def _file(backup_dir: Path, dag_id: str) -> Path:
    """Return the file of a DAG's incident; each backup has its own folder."""
    return backup_dir / (INCIDENT_FILE_OF_WATCH if dag_id == WATCH_DAG else INCIDENT_FILE)


def open_incident(backup_dir: Path, title: str, *, now: datetime, dag_id: str = BACKUP_DAG) -> bool:
    """
    Remember that an alert was sent; return whether it is the first one since the last success.

    Raises:
        OSError: If it cannot be written.
    """
    if read_incident(backup_dir, dag_id):
        return False
    content = Incident(since=now, title=title).model_dump_json().encode()
    write_atomically(_file(backup_dir, dag_id), content)
    return True


def read_incident(backup_dir: Path, dag_id: str = BACKUP_DAG) -> Incident | None:
    """Return the open incident; None if there is none that can be read."""
    try:
        return Incident.model_validate_json(read_small_file(_file(backup_dir, dag_id)))
    except (OSError, ValueError):
        return None


def close_incident(backup_dir: Path, dag_id: str = BACKUP_DAG) -> None:
    """Forget the open incident."""
    (_file(backup_dir, dag_id)).unlink(missing_ok=True)


def over_notice(incident: Incident, dag_id: str, proof: str, *, since_text: str, url: str | None) -> Notice:
    """Return what to say when the DAG has succeeded again; `proof` is the sentence that says so."""
    return Notice(
        state="ok",
        title=f"{dag_id} works again",
        text=f"{proof} It is over: {incident.title}.",
        facts=(("Since", since_text),),
        next_steps=(
            "Nothing."
            if Backup.of_dag(dag_id).is_checkpoints
            else "Nothing. Nights that were missed are named by backup_watch, with the backfill command.",
        ),
        url=url,
    )

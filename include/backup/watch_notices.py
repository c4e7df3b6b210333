"""What the watch says: each notice names what is wrong, the reason, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from include.backup.backup_id import UNNAMED, Backup
from include.backup.health import Limits
from include.backup.manifest import Sidecar
from include.backup.missed import backfill_commands
from include.backup.notice import Notice
from include.backup.status import LAST_SUCCESS_FILE
from include.backup.templates import size_text, time_text

MAX_REASON_CHARACTERS = 2000
MAX_NAMES = 5


@dataclass(frozen=True)
class Staleness:
    """When the last success was (None: never), when the watch looked first, how old that is, and the limit."""

    success: datetime | None
    first_look_at: datetime
    age_hours: float
    limits: Limits


def stale(how: Staleness, newest: str, *, zone: ZoneInfo, url: str | None, backup: Backup = UNNAMED) -> Notice:
    """Return the notice that no backup has succeeded for too long; `newest` names the newest archive."""
    minutes = how.limits.max_age_minutes
    title = (
        f"No checkpoint for {how.age_hours * 60:.0f} minutes" if minutes else f"No backup for {how.age_hours:.0f} hours"
    )
    limit = f"{minutes} minutes" if minutes else f"{how.limits.max_age_hours} hours"
    if how.success is None:
        seen = (
            f"No success is known ({LAST_SUCCESS_FILE}); the watch looked first at {time_text(how.first_look_at, zone)}"
        )
    elif how.age_hours < 0:
        title = "The last backup lies in the future"
        seen = f"{LAST_SUCCESS_FILE} names {time_text(how.success, zone)}: a clock, or that file, is wrong"
    else:
        seen = f"The last backup that was verified and delivered is that of {time_text(how.success, zone)}"
    return Notice(
        state="failed",
        title=title,
        text=f"{seen}; expected one within {limit} ({how.limits.age_setting.partition('=')[0]}).",
        facts=(("Newest archive", newest), ("Limit", limit)),
        next_steps=(
            f"Open {backup.dag_id} in Airflow: the last line of a red task's log says what to do.",
            "If no run is there: is the DAG paused, the scheduler running, the schedule right?",
            f"Trigger {backup.dag_id} once the cause is mended. Earlier archives are untouched.",
        ),
        url=url,
    )


def unreadable(folder: Path, error: OSError, url: str | None, backup: Backup = UNNAMED) -> Notice:
    """Return the notice that BACKUP_DIR cannot be read."""
    return Notice(
        state="failed",
        title=f"BACKUP_DIR cannot be read: {folder}",
        text=f"{error.strerror or error}: {folder}; expected the folder of the archives. Backups fail, too.",
        facts=(("Setting", f"BACKUP_DIR={folder}"),),
        next_steps=(
            "Is the volume mounted on every worker? Does the workers' user own the folder?",
            f"Trigger {backup.dag_id} once it is there again.",
        ),
        url=url,
    )


def odd_size(sidecar: Sidecar, reasons: Sequence[str], url: str | None, _: Sequence[str] = ()) -> Notice:
    """Return the notice of an archive's odd size; there is only one key that it could name."""
    return Notice(
        state="warning",
        title=f"Odd size: {sidecar.archive}",
        text="\n".join(f"• {reason}" for reason in reasons),
        facts=(("Size", size_text(sidecar.archive_bytes)), ("Rows", f"{sidecar.rows:,}"), ("Run", sidecar.run.run_id)),
        next_steps=(
            "The archive is verified and kept: it holds what the database held. Look at the tables named above.",
            "If rows were lost, an earlier archive has them: see its BACKUP_INFO.txt, or restore it.",
            "If it is right so, nothing is to be done; the next archives are compared with this one, too.",
        ),
        url=url,
    )


def missed(
    slots: Mapping[str, datetime],
    every: Sequence[datetime],
    zone: ZoneInfo,
    url: str | None,
    keys: Sequence[str],
    *,
    backup: Backup = UNNAMED,
) -> Notice:
    """Return the notice of missed nights; `keys` says which of the slots it names."""
    named = [slots[key] for key in keys]
    nights = [f"{slot.astimezone(zone):%Y-%m-%d %H:%M}" for slot in named]
    several = len(nights) > 1
    commands = backfill_commands(named, every, zone, backup)
    return Notice(
        state="failed",
        title=f"{len(nights)} nights without an archive" if several else f"No archive for {nights[0]}",
        text=f"No archive in BACKUP_DIR stands for {', '.join(nights)} ({zone.key}).",
        facts=(("Nights", str(len(nights))),),
        next_steps=(
            "If a run failed, or Airflow was down: mend the cause first.",
            "Then paste this where Airflow runs" + (", one command after the other." if len(commands) > 1 else "."),
            "A backfill takes what the database holds now, with that night's cut-off; it cannot bring back the past.",
        ),
        url=url,
        commands=commands,
    )


def vanished(folder: Path, left: int, url: str | None, keys: Sequence[str]) -> Notice:
    """Return the notice of archives that are gone before their time; `keys` are their names, each with `is gone`."""
    names = [key.partition(" ")[0] for key in keys]
    what = names[0] if len(names) == 1 else f"{len(names)} archives"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    others = "1 other is" if left == 1 else f"{left} others are" if left else "nothing else is"
    return Notice(
        state="failed",
        title=f"{what} {'is' if len(names) == 1 else 'are'} gone before {'its' if len(names) == 1 else 'their'} time",
        text=(
            f"The last look saw {', '.join(names[:MAX_NAMES])}{more} in BACKUP_DIR={folder}; now they are not there, "
            f"or not as their manifests say. It is too early for retention to have removed them; {others} there."
        ),
        facts=(("Gone", str(len(names))), ("Still there", str(left)), ("Oldest", names[0]), ("Newest", names[-1])),
        next_steps=(
            "Is the volume mounted, and the right one, on the worker that runs backup_watch?",
            "Who removed or changed them? Look at who may write there. Mails and second copies may have them.",
            "Copies go back with their manifests (critical_backup_….manifest.json). Then trigger the backup.",
        ),
        url=url,
    )


def scope_wrong(reasons: Sequence[str]) -> Notice:
    """Return the notice that the scope file does not say which backups there are."""
    return Notice(
        state="failed",
        title="The scope file is wrong",
        text="; ".join(reasons),
        facts=(),
        next_steps=("Mend what it says. Backups that are missing because of it are made again from then on.",),
        url=None,
    )


def dag_cannot_run(dag_id: str, title: str, reason: str, *steps: str, url: str | None) -> Notice:
    """Return the notice that a backup's DAG cannot run."""
    facts = (("DAG", dag_id),)
    text = reason[:MAX_REASON_CHARACTERS]
    return Notice(state="failed", title=title, text=text, facts=facts, next_steps=steps, url=url)

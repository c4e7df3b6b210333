"""What can happen in one night of the soak, and afterwards to what lies in BACKUP_DIR."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.fix_disks import fill, free
from tests.fix_faults import FaultSite, Run, routed
from tests.fix_proxy import Proxy
from tests.one_backup import STEPS, Ended

KILLED = Ended(step="killed", error="killed")
CARRIED_BYTES = 1_000_000  # of a backup of the site, about


@dataclass(frozen=True)
class Night:
    """
    One slot that has come.

    Args:
        site: Where it is backed up.
        slot: Aware.
        dice: For what is left to chance.
        disk: A small file system that BACKUP_DIR lies in; None where none can be mounted.
    """

    site: FaultSite
    slot: datetime
    dice: random.Random
    disk: Path | None

    def start(self, *, at: datetime | None = None, kind: str = "scheduled", **changes: Any) -> Run:
        """Start the night's run, or with `at` once more later, or as a backfill."""
        run_id = None if kind == "manual" else f"{kind}__{self.slot.isoformat()}"
        slot = None if kind == "manual" else self.slot
        moment = (at or self.slot + timedelta(seconds=2)).astimezone(timezone.utc)
        clocks = {"wall_clock": moment, "server_clock_too": True, "lock_wait_milliseconds": 300} | changes
        return self.site.start(run_id, kind=kind, slot=slot, **clocks)

    def back_up(self, **changes: Any) -> Ended:
        """Do it to its end."""
        return self.start(**changes).end() or KILLED


def killed_at_any_moment(night: Night) -> Ended:
    """As by the kernel, when memory is short."""
    run = night.start()
    step = night.dice.choice(STEPS)
    run.wait_for(step)
    time.sleep(night.dice.expovariate(1 / (0.3 if step == "export_database" else 0.005)))
    run.kill(signal.SIGKILL)
    return run.end() or KILLED


def terminated_in_the_export(night: Night) -> Ended:
    """As Airflow ends a task that somebody has cleared."""
    run = night.start()
    run.wait_for("export_database")
    time.sleep(night.dice.uniform(0, 0.3))
    run.kill(signal.SIGTERM)
    return run.end() or KILLED


def server_away(night: Night) -> Ended:
    """It is being maintained."""
    night.site.server.stop()
    try:
        return night.back_up()
    finally:
        night.site.server.start()


def server_restarted(night: Night) -> Ended:
    """In the middle of the export, or of what comes after it."""
    run = night.start()
    run.wait_for("export_database")
    time.sleep(night.dice.uniform(0, 0.3))
    night.site.server.stop()
    night.site.server.start()
    return run.end() or KILLED


def connection_cut(night: Night) -> Ended:
    """At any byte of the server's answers."""
    server = night.site.server
    with Proxy(server.host, server.port, cut_after=night.dice.randrange(CARRIED_BYTES)) as proxy:
        return night.back_up(environment=routed(night.site, proxy.port))


def table_locked(night: Night) -> Ended:
    """By somebody who went home."""
    with night.site.holding("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE"):
        return night.back_up()


def rights_revoked(night: Night) -> Ended:
    """Of the whole role."""
    role = night.site.environment["POSTGRES_USER"]
    night.site.sql(f"REVOKE pg_read_all_data FROM {role}")
    try:
        return night.back_up()
    finally:
        night.site.sql(f"GRANT pg_read_all_data TO {role}")


def table_renamed(night: Night) -> Ended:
    """A migration, of which the scope does not know."""
    night.site.sql("ALTER TABLE users RENAME TO people")
    try:
        return night.back_up()
    finally:
        night.site.sql("ALTER TABLE people RENAME TO users")


def configuration_gone(night: Night) -> Ended:
    """A file of the scope."""
    file = Path(night.site.environment["BACKUP_CONFIG_DIR"]) / "app.conf"
    aside = file.rename(file.with_name("aside"))
    try:
        return night.back_up()
    finally:
        aside.rename(file)


def part_changed(night: Night) -> Ended:
    """A bit flips on the disk between two steps."""
    middle = STEPS.index("compress_archive")
    night.back_up(steps=STEPS[:middle])
    (part,) = night.site.backup_dir.glob(f".work/scheduled__{night.slot:%Y-%m-%d}*/export/payments.csv.gz")
    content = bytearray(part.read_bytes())
    content[night.dice.randrange(100, len(content) - 100)] ^= 1
    part.write_bytes(content)
    return night.back_up(steps=STEPS[middle:])


def folder_away(night: Night) -> Ended:
    """The volume is not mounted from some step on."""
    step = night.dice.randrange(len(STEPS))
    if step:
        night.back_up(steps=STEPS[:step])
    folder = night.site.backup_dir
    aside = folder.rename(folder.with_name("aside"))
    try:
        return night.back_up(steps=STEPS[step:])
    finally:
        aside.rename(folder)


def disk_full(night: Night) -> Ended:
    """From some step on; `free` makes room again."""
    if not night.disk:
        return folder_away(night)
    step = night.dice.randrange(1, len(STEPS))
    night.back_up(steps=STEPS[:step])
    fill(night.disk, leave=night.dice.choice((0, 4096, 50_000, 300_000)))
    try:
        return night.back_up(steps=STEPS[step:])
    finally:
        free(night.disk)


def clock_wrong(night: Night) -> Ended:
    """Days away from the server's, back or forth."""
    days = night.dice.choice((-40, -3, 3, 40))
    return night.back_up(wall_clock=datetime.now(timezone.utc) + timedelta(days=days), server_clock_too=False)


def two_at_once(night: Night) -> Ended:
    """Somebody starts one by hand at the same time."""
    by_hand, run = night.start(kind="manual"), night.start()
    ended = run.end() or KILLED
    by_hand.end()
    return ended


def airflow_down(_night: Night) -> None:
    """Nothing happens."""


FAULTS: tuple[Callable[[Night], Ended | None], ...] = (
    killed_at_any_moment,
    killed_at_any_moment,
    killed_at_any_moment,
    terminated_in_the_export,
    server_away,
    server_restarted,
    connection_cut,
    table_locked,
    rights_revoked,
    table_renamed,
    configuration_gone,
    part_changed,
    folder_away,
    disk_full,
    disk_full,
    clock_wrong,
    two_at_once,
    airflow_down,
    airflow_down,
)


def remove(archive: Path) -> None:
    """Somebody clears up, and leaves the manifest."""
    archive.unlink()


def truncate(archive: Path) -> None:
    """A file system is repaired."""
    os.truncate(archive, archive.stat().st_size // 2)


ACCIDENTS: tuple[Callable[[Path], None], ...] = (remove, truncate)

"""Ninety nights as they come to pass: archives, drills, deliveries in BACKUP_DIR, and Airflow's runs of them."""

from __future__ import annotations

import math
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.copy_record import CopyRecord, write_copy
from include.backup.delivery_record import DeliveryRecord, RecipientRecord, write_delivery
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import FileRecord, RunRecord, TableRecord
from include.backup.run import Kind
from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer, unpause_dags
from tests.fix_archives import ENCRYPTION, NOW, make_table, publish_archive

DAY = timedelta(days=1)
LAST_SLOT = (NOW - timedelta(hours=2, minutes=3)).replace(hour=2, minute=0, second=0)
ENCRYPTED_NIGHTS = 12
ADMINS = ("somchai@example.com", "priya@example.com", "anna@example.com")
# Rows of a small shop, and how many more there are each night.
TABLES = {
    "users": ("users.sql", 8_420, 21.0, 190),
    "user_profiles": ("users.sql", 8_420, 21.0, 310),
    "organizations": ("organization.sql", 312, 0.4, 240),
    "roles": ("config.sql", 9, 0.0, 60),
    "system_settings": ("config.sql", 64, 0.1, 90),
    "credit_accounts": ("organization.sql", 8_400, 21.0, 120),
    "credit_transactions": ("credit_transactions.csv", 41_800, 160.0, 150),
    "point_transactions": ("point_transactions.csv", 28_300, 95.0, 130),
    "purchases": ("purchases.csv", 12_050, 44.0, 170),
}
FILES = (
    ("schema.sql", "schema", 48_211),
    ("nginx.prod.conf", "configuration", 1_912),
    (".env.production", "configuration", 840),
)


def slot_of(nights_ago: int) -> datetime:
    """Return the slot of a night; 0 is the last one whose run has had time to end."""
    return LAST_SLOT - nights_ago * DAY


def tables_of(nights_ago: int, *, share: float = 1.0) -> tuple[TableRecord, ...]:
    """Return the tables of a night, each with as many rows as it has grown to."""
    found = []
    for name, (file, rows, a_night, row_bytes) in TABLES.items():
        if name == "purchases" and nights_ago > 40:
            continue  # a table that came into the scope one day
        busy = 1 + 0.6 * math.sin(nights_ago * 1.7)  # some nights bring more than others
        count = int((rows - a_night * (nights_ago + busy)) * share)
        facts = {"rows": count, "bytes": count * row_bytes, "windowed": file.endswith(".csv")}
        found.append(make_table(name, file, ("id", "created_at"), **facts))
    return tuple(found)


def make_archive(
    folder: Path, nights_ago: int, *, kind: Kind = "scheduled", minutes_after: float = 0.2, **changes: Any
) -> Path:
    """Put a night's archive into the folder, delivered and drilled; `copied` and `encryption` are those of a night."""
    slot = slot_of(nights_ago)
    share, drill_seconds = changes.pop("share", 1.0), changes.pop("drill_seconds", 38 + 6 * math.sin(nights_ago))
    copied = changes.pop("copied", False)
    refused, passed = changes.pop("refused", ()), changes.pop("passed", True)
    tables = tables_of(nights_ago, share=share)
    size = int(sum(table.bytes for table in tables) * 0.29)
    run_id = changes.pop("run_id", f"{'backfill' if kind == 'backfill' else 'scheduled'}__{slot.isoformat()}")
    made = slot + timedelta(minutes=minutes_after)
    archive = publish_archive(
        folder,
        **{
            "hours_old": (NOW - made) / timedelta(hours=1),
            "size": size,
            "run": RunRecord(run_id=run_id, kind=kind, stands_for=slot, reason=""),
            "tables": tables,
            "files": tuple(
                FileRecord(name=name, kind=of, mode="0600", bytes=count, sha256="5f" * 32) for name, of, count in FILES
            ),
            **changes,
        },
    )
    os.utime(sidecar_path(archive), (made.timestamp() + 60,) * 2)
    states = {address: "refused" if address in refused else "accepted" for address in ADMINS}
    recipients = {a: RecipientRecord(state=state, series="1", at=made, answer="250 ok") for a, state in states.items()}
    write_delivery(archive, DeliveryRecord(recipients=recipients))
    if copied:
        url, at = f"s3://backups/nightly/{archive.name}", made + timedelta(minutes=2)
        write_copy(archive, CopyRecord(url=url, copied_at=at, sha256="5f" * 32, bytes=size, seconds=1.4))
    if drill_seconds:
        record = DrillRecord(
            drilled_at=made + timedelta(minutes=3),
            passed=passed,
            seconds=drill_seconds,
            tables=len(tables),
            rows=sum(table.rows for table in tables),
            server_version="18.0",
            error="" if passed else "table public.users: 8,401 rows, the manifest says 8,420",
        )
        write_drill(archive, record)
    return archive


class Nights:
    """
    What becomes of nights: in the folder, and in Airflow.

    Args:
        folder: BACKUP_DIR.
        airflow: That knows the DAGs.
    """

    def __init__(self, folder: Path, airflow: LocalAirflow) -> None:
        self.folder = folder
        self.airflow = airflow

    def run(
        self, nights_ago: int, state: str, *, seconds: float = 55.0, failed_task: str = "", late_by: float = 0
    ) -> str:
        """Make Airflow's run of a night and end it in that state; return its id."""
        from airflow.models import DagRun, TaskInstance  # noqa: PLC0415 - only where Airflow is there
        from airflow.utils.session import create_session  # noqa: PLC0415
        from sqlalchemy import update  # noqa: PLC0415

        slot = slot_of(nights_ago)
        run_id = self.airflow.schedule(slot)
        began = slot + timedelta(seconds=2 + late_by)
        ended = None if state in ("queued", "running") else began + timedelta(seconds=seconds)
        with create_session() as session:
            chosen = DagRun.dag_id == self.airflow.dag_id, DagRun.run_id == run_id
            session.execute(update(DagRun).where(*chosen).values(_state=state, start_date=began, end_date=ended))
            if failed_task:
                task = TaskInstance.run_id == run_id, TaskInstance.task_id == failed_task
                session.execute(update(TaskInstance).where(*task).values(state="failed", end_date=ended))
        return run_id

    def done(self, nights_ago: int, *, seconds: float | None = None, **changes: Any) -> Path:
        """A night whose run succeeded, and its archive."""
        run_seconds = 52 + 9 * math.sin(nights_ago * 2.3) if seconds is None else seconds
        run_id = self.run(nights_ago, "success", seconds=run_seconds)
        return make_archive(self.folder, nights_ago, run_id=run_id, **changes)

    def fill(self, count: int = 90) -> None:
        """
        So many nights, and what happens in them: failures, a missed night, a backfill, late runs, odd sizes.

        The last ones are encrypted, and have a second copy.
        """
        for ago in reversed(range(count)):
            modern: dict[str, Any] = {"encryption": ENCRYPTION, "copied": True} if ago < ENCRYPTED_NIGHTS else {}
            if ago == 52:
                self.run(ago, "failed", seconds=210, failed_task="export_database")
            elif ago == 23:
                continue  # Airflow was down: no run at all
            elif ago == 36:
                self.run(ago, "success", seconds=58)
                make_archive(self.folder, ago, kind="backfill", minutes_after=60 * 31)
            elif ago in (17, 61):
                self.done(ago, seconds=60 * 14)
            elif ago == 9:
                self.done(ago, share=1.9, **modern)
            elif ago == 5:
                self.done(ago, refused=ADMINS[2:], warnings=("table public.gift_cards is in no scope",), **modern)
            elif ago <= 30 or ago % 7 == 0:
                self.done(ago, **modern)
            else:  # expired
                self.run(ago, "success", seconds=52 + 9 * math.sin(ago * 2.3))


@pytest.fixture
def nights(airflow: LocalAirflow, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """The maker of nights for the api-server's BACKUP_DIR; Airflow knows the DAGs, and none of their runs."""
    from airflow.models import DagModel, DagRun  # noqa: PLC0415 - only where Airflow is there
    from airflow.models.backfill import Backfill, BackfillDagRun  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import delete  # noqa: PLC0415

    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", os.fspath(api_server.backup_dir))
    with create_session() as session:
        if session.get(DagModel, airflow.dag_id) is None:
            airflow.load_dag()
        for model in (BackfillDagRun, DagRun, Backfill):
            session.execute(delete(model))
    unpause_dags()
    return Nights(api_server.backup_dir, airflow)


def start_restore(nights: Nights, archive: Path) -> str:
    """Start a run of the restore of an archive through Airflow's API; return its id."""
    nights.airflow.load_dag()
    restore = LocalAirflow(nights.airflow.api, "restore_backup")
    return restore.trigger(archive=archive.name, confirm="smart_ai_hub_restored")

"""Years of nights for the status page: archives with all that lies beside them, and Airflow's runs of the last ones."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg

from include.backup.archive_name import archive_name, sidecar_path
from include.backup.delivery_record import DeliveryRecord, RecipientRecord, write_delivery
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import FileRecord, RunRecord, ServerRecord, Sidecar, TableRecord
from include.backup.overview import CALENDAR_DAYS
from include.backup.status import update_status
from include.demo.airflow_environment import METADATA_DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    from include.demo.embedded_postgres import EmbeddedPostgres

__all__ = ["lay_archives", "record_runs"]

DAY = timedelta(days=1)
DAG_ID = "critical_backup"
TABLES = 17  # of the sample database, with as many columns
COLUMNS = 12
FILES = 12
ARCHIVE_BYTES = 2 << 20
ADMINS = tuple(f"admin{number}@example.com" for number in range(1, 6))
SHA256 = hashlib.sha256(b"").hexdigest()

RUNS = """
    INSERT INTO dag_run (dag_id, run_id, run_type, logical_date, run_after, state, start_date, end_date,
                         clear_number, span_status)
    SELECT %(dag)s, 'scheduled__' || slot, 'scheduled', slot, slot, 'success', slot, slot + interval '50 s',
           0, 'not_started'
    FROM (SELECT %(last)s - n * interval '1 day' AS slot FROM generate_series(0, %(days)s - 1) AS n) AS nights"""


def lay_archives(folder: Path, count: int, *, last: datetime) -> None:
    """
    Put an archive of each night into the folder, with manifest, delivery and drill, and the status files.

    Args:
        folder: BACKUP_DIR, empty.
        count: How many nights.
        last: The slot of the newest, aware.
    """
    newest = None
    for number in range(count):
        slot = last - number * DAY
        sidecar = make_sidecar(slot)
        archive = folder / sidecar.archive
        with archive.open("wb") as file:
            file.truncate(sidecar.archive_bytes)
        sidecar_path(archive).write_text(sidecar.model_dump_json(indent=1, by_alias=True))
        taken = RecipientRecord(state="accepted", series="1", at=slot, answer="250 OK")
        write_delivery(archive, DeliveryRecord(recipients=dict.fromkeys(ADMINS, taken)))
        write_drill(archive, make_drill(sidecar))
        newest = newest or sidecar
    if newest:
        update_status(newest, folder)


def make_sidecar(slot: datetime) -> Sidecar:
    """Return the manifest of a night as the demo's has it: as many tables, columns and files."""
    snapshot = slot + timedelta(seconds=4)
    names = tuple(f"column_{number}" for number in range(COLUMNS))
    tables = tuple(
        TableRecord(
            schema="public", name=f"table_{number}", file="users.sql", partitioned=False, columns=names,
            types=("character varying(200)",) * COLUMNS, rows=1000 * number, rows_by_reference=0, offset=0,
            bytes=100_000 * number, sha256=SHA256, window=None,
        )
        for number in range(TABLES)
    )  # fmt: skip
    server = ServerRecord(
        host="localhost", port=5432, version="18.0", version_number=180000, database="benchmark", encoding="UTF8",
        collate="C", ctype="C", locale_provider="c", locale=None, icu_rules=None,
    )  # fmt: skip
    files = tuple(
        FileRecord(name=f"site_{number}.conf", kind="configuration", mode="0640", bytes=2000, sha256=SHA256)
        for number in range(FILES)
    )
    return Sidecar(
        format_version=1, archive=archive_name(snapshot), snapshot_at=snapshot, cut_off=snapshot - 90 * DAY,
        run=RunRecord(run_id=f"scheduled__{slot}", kind="scheduled", stands_for=slot, reason=""), server=server,
        clients={"psql": "18.0", "pg_dump": "18.0"}, configuration_dir="/config", tables=tables, files=files,
        sequences=(), left_out=(), warnings=(), archive_bytes=ARCHIVE_BYTES, archive_sha256=SHA256,
    )  # fmt: skip


def make_drill(sidecar: Sidecar) -> DrillRecord:
    """Return the record of a drill that passed."""
    at = sidecar.snapshot_at + timedelta(minutes=3)
    return DrillRecord(
        drilled_at=at, passed=True, seconds=41.0, tables=TABLES, rows=sidecar.rows, server_version="18.0", error=""
    )


def record_runs(postgres: EmbeddedPostgres, *, last: datetime) -> None:
    """Write the runs of the nights that the calendar shows into Airflow's tables, which know the DAG's name only."""
    values = {"dag": DAG_ID, "last": last, "days": CALENDAR_DAYS}
    with psycopg.connect(postgres.conninfo(METADATA_DATABASE)) as session:
        session.execute(RUNS, values)

"""Two databases in one scope file: the sample without an id, and a small one, `orders`, with everything of its own."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from include.backup.settings import PACKAGED_SCOPE_FILE
from include.demo.databases import make_backup_role, set_password
from tests.fix_airflow import LocalAirflow, Site

if TYPE_CHECKING:
    from include.demo.embedded_postgres import EmbeddedPostgres

DATABASE, ROLE = "orders_of_the_fleet", "orders_reader"
ORDERS: dict[str, object] = {
    "connection": "orders_db",
    "schedule": "30 3 * * *",
    "recipients": ["orders@example.com"],
    "tables": {"orders.sql": ["orders"]},
}


@dataclasses.dataclass(frozen=True)
class FleetSite:
    """A site whose scope file names two backups."""

    site: Site
    scope_file: Path
    airflow: LocalAirflow

    @property
    def orders(self) -> Path:
        """The folder of the second."""
        return self.site.backup_dir / "orders"

    def of(self, dag_id: str) -> LocalAirflow:
        """Return Airflow with this DAG in view."""
        return dataclasses.replace(self.airflow, dag_id=dag_id)

    def name(self, **entries: object) -> None:
        """Let the scope file name these backups besides the sample, and Airflow parse it."""
        write_fleet(self.scope_file, **entries)
        self.airflow.load_dag()


def write_fleet(scope_file: Path, **entries: object) -> None:
    """Write the packaged scope with these backups below it."""
    scope_file.write_text(f"{PACKAGED_SCOPE_FILE.read_text()}\nbackups: {json.dumps(entries)}\n")


@pytest.fixture(scope="session")
def orders_connection(postgres_18: EmbeddedPostgres) -> dict[str, str]:
    """Airflow's connections of the second database: of its reader, and of who may drill on that server."""
    conninfo, password = postgres_18.create_database(DATABASE), secrets.token_urlsafe(16)
    with psycopg.connect(conninfo) as session:
        session.execute("CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL)")
        session.execute("INSERT INTO orders SELECT n, 'item ' || n FROM generate_series(1, 321) n")
    make_backup_role(postgres_18, role=ROLE, database=DATABASE)
    set_password(postgres_18, ROLE, password)
    address = conninfo_to_dict(conninfo)
    server = {"conn_type": "postgres", "host": address["host"], "port": int(str(address["port"]))}
    reader = server | {"schema": DATABASE, "login": ROLE, "password": password}
    drills = server | {"login": address["user"], "password": address["password"]}
    return {"AIRFLOW_CONN_ORDERS_DB": json.dumps(reader), "AIRFLOW_CONN_BACKUP_DRILL": json.dumps(drills)}


@pytest.fixture
def fleet(
    airflow: LocalAirflow,
    site: Site,
    orders_connection: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FleetSite]:
    """A site with two databases, parsed."""
    for name, value in orders_connection.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BACKUP_SCOPE_FILE", str(tmp_path / "scope.yaml"))
    fleet = FleetSite(site, tmp_path / "scope.yaml", airflow)
    fleet.name(orders=ORDERS)
    yield fleet
    monkeypatch.delenv("BACKUP_SCOPE_FILE")
    airflow.load_dag()

"""What scope.yaml says about rows outside the backup that taken rows refer to: take, not_valid, error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from include.backup.database import Database
from include.backup.errors import BackupError
from include.backup.manifest import Sidecar
from include.backup.prerequisites import Findings, check_prerequisites
from include.backup.run import BackupRun, cut_off, utc_now
from include.backup.settings import Settings
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, restore_by_hand, run_sql

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE kinds (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer int CONSTRAINT to_customer REFERENCES customers,
    kind int CONSTRAINT to_kind REFERENCES kinds, refund_of int CONSTRAINT to_order REFERENCES orders,
    at timestamptz);
INSERT INTO customers VALUES (7), (8);
INSERT INTO kinds VALUES (1);
INSERT INTO orders VALUES (1, NULL, 1, NULL, '2001-01-01'), (2, NULL, 1, NULL, '2001-01-01'), (3, 7, 1, 1, now()),
    (4, 8, 1, 2, now()), (5, NULL, 1, NULL, now());
"""
WINDOWED = (
    "{{version: 1, tables: {{a.sql: [kinds{customers}]}}, windowed: {{o.csv: {{table: orders, column: at{mode}}}}}}}"
)


@dataclass
class Shop:
    """One database, and what is done with it under one scope after another."""

    server: EmbeddedPostgres
    conninfo: str
    folder: Path
    make_pipeline: Callable[[str, str | None], Pipeline]

    @property
    def major(self) -> int:
        with psycopg.connect(self.conninfo) as session:
            return session.info.server_version // 10000

    def pipeline(self, scope: str) -> Pipeline:
        return self.make_pipeline(self.conninfo, scope)

    def check(self, scope: str) -> Findings:
        pipeline = self.pipeline(scope)
        settings = Settings(
            admin_emails=("admin@example.com",),
            backup_dir=pipeline.backup_dir,
            backup_config_dir=pipeline.config_dir,
            backup_scope_file=self.folder / "scope.yaml",
        )
        return check_prerequisites(
            settings, pipeline.database, cut_off_for=lambda months: cut_off(utc_now(), months, "UTC")
        )

    def restore(self, scope: str) -> tuple[Sidecar, dict[str, bool]]:
        """Back up and restore; give the manifest and, by name, whether each foreign key is validated."""
        pipeline = self.pipeline(scope)
        archive, sidecar = pipeline.backup()
        result = restore_by_hand(archive, self.folder / "out", pipeline.database, pipeline.clients)
        assert result.returncode == 0, result.stderr
        return sidecar, validated_keys(self.server, pipeline.database)


def validated_keys(server: EmbeddedPostgres, database: Database) -> dict[str, bool]:
    with psycopg.connect(server.conninfo(f"{database.name}_restored")) as session:
        keys = session.execute(
            "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
        )
        return dict(keys.fetchall())


@pytest.fixture
def empty_shop(
    postgres: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    make_pipeline: Callable[[str, str | None], Pipeline],
    tmp_path: Path,
) -> Shop:
    return Shop(postgres, new_database(postgres), tmp_path, make_pipeline)


@pytest.fixture
def shop(empty_shop: Shop) -> Shop:
    run_sql(empty_shop.conninfo, SHOP)
    return empty_shop


def test_not_valid_leaves_old_rows_and_missing_tables_out_and_the_restore_holds(shop: Shop, tmp_path: Path) -> None:
    """Exactly the keys that would break are NOT VALID; manifest, warnings and BACKUP_INFO.txt name them."""
    scope = WINDOWED.format(customers="", mode=", reference: not_valid")
    assert shop.check(scope).errors == []
    sidecar, validated = shop.restore(scope)
    assert validated == {"to_customer": False, "to_kind": True, "to_order": False}
    (orders,) = (table for table in sidecar.tables if table.name == "orders")
    assert (orders.rows, orders.rows_by_reference) == (3, 0)
    assert set(orders.not_valid) == {"to_customer", "to_order"}
    assert sum("is restored NOT VALID" in warning for warning in sidecar.warnings) == 2
    info = (tmp_path / "out" / "BACKUP_INFO.txt").read_text()
    assert [warning for warning in sidecar.warnings if warning not in info] == []
    # The one that both steps can see is said once, in the same words.
    assert set(shop.check(scope).warnings) & set(sidecar.warnings)


def test_not_valid_that_nothing_needs_leaves_the_key_valid(shop: Shop) -> None:
    """A key whose rows are all there is restored as it was, and there is no warning."""
    run_sql(shop.conninfo, "UPDATE orders SET refund_of = NULL")
    sidecar, validated = shop.restore(WINDOWED.format(customers=", customers", mode=", reference: not_valid"))
    assert validated == {"to_customer": True, "to_kind": True, "to_order": True}
    assert sidecar.warnings == ()
    assert [table.not_valid for table in sidecar.tables] == [(), (), ()]


def test_row_taken_along_by_another_table_is_not_missing(shop: Shop) -> None:
    """A key of a not_valid table holds when another table's rows have brought the rows it needs."""
    run_sql(
        shop.conninfo,
        "CREATE TABLE notes (order_id int CONSTRAINT note_order REFERENCES orders)",
        "INSERT INTO notes VALUES (1), (2)",
    )
    scope = WINDOWED.format(customers=", customers, notes", mode=", reference: not_valid")
    sidecar, validated = shop.restore(scope)
    assert validated == {"to_customer": True, "to_kind": True, "to_order": True, "note_order": True}
    assert {table.name: table.rows_by_reference for table in sidecar.tables}["orders"] == 2


def test_whole_table_in_the_long_form_is_restored_not_valid(shop: Shop) -> None:
    """`{table: …, reference: not_valid}` stands beside plain names; only that table's key is NOT VALID."""
    run_sql(
        shop.conninfo,
        "CREATE TABLE notes (order_id int CONSTRAINT note_order REFERENCES orders)",
        "INSERT INTO notes VALUES (1), (3)",
    )
    scope = WINDOWED.format(customers=", customers, {table: notes, reference: not_valid}", mode="")
    run_sql(shop.conninfo, "UPDATE orders SET refund_of = NULL")
    sidecar, validated = shop.restore(scope)
    assert validated == {"to_customer": True, "to_kind": True, "to_order": True, "note_order": False}
    assert {table.name: table.rows for table in sidecar.tables} == {
        "kinds": 1, "customers": 2, "notes": 2, "orders": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("customers", "key"), [(", customers", "to_order"), ("", "to_customer")])
def test_error_refuses_with_count_and_example(shop: Shop, customers: str, key: str, tmp_path: Path) -> None:
    """The check and the export itself refuse, in one line that says how many rows and shows one of them."""
    scope = WINDOWED.format(customers=customers, mode=", reference: error")
    messages = shop.check(scope).errors
    pipeline = shop.pipeline(scope)
    with pytest.raises(BackupError) as caught:
        pipeline.export(tmp_path / "parts").run(pipeline.plan, cut_off=utc_now())
    example = {"to_order": "(refund_of)=(1)", "to_customer": "(customer)=(7)"}[key]
    for message in (messages[0], str(caught.value)):
        for words in (
            f"foreign key {key} of orders",
            "2 rows",
            example,
            "reference: error",
            "say reference: not_valid",
        ):
            assert words in message
        assert "\n" not in message


def test_error_with_nothing_missing_is_a_backup_like_any_other(shop: Shop) -> None:
    """`error` only speaks when a row is missing."""
    run_sql(shop.conninfo, "UPDATE orders SET refund_of = NULL")
    scope = WINDOWED.format(customers=", customers", mode=", reference: error")
    assert (shop.check(scope).errors, shop.check(scope).warnings) == ([], [])
    assert shop.restore(scope)[1] == {"to_customer": True, "to_kind": True, "to_order": True}


def test_row_that_came_after_the_check_stops_the_export(shop: Shop, tmp_path: Path) -> None:
    """No archive is made that could not be restored, whatever the check saw before."""
    pipeline = shop.pipeline(WINDOWED.format(customers="", mode=""))
    with pytest.raises(BackupError, match="a restore would fail"):
        pipeline.export(tmp_path / "parts").run(pipeline.plan, cut_off=utc_now())


ODD_NAMES = """
CREATE SCHEMA "S ""1"".x";
CREATE TABLE "S ""1"".x"."Out;" ("i d" int PRIMARY KEY);
CREATE TABLE "S ""1"".x"."t;'--" (a int CONSTRAINT "k "";
'" REFERENCES "S ""1"".x"."Out;" ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    b int CONSTRAINT "order" REFERENCES "S ""1"".x"."Out;", at timestamptz);
CREATE TABLE "order" (a int CONSTRAINT "k "";
'" REFERENCES "S ""1"".x"."Out;", at timestamptz);
INSERT INTO "S ""1"".x"."Out;" VALUES (1);
INSERT INTO "S ""1"".x"."t;'--" VALUES (1, NULL, now());
COMMENT ON CONSTRAINT "order" ON "S ""1"".x"."t;'--" IS 'ALTER TABLE ONLY "S ""1"".x"."Out;"
    ADD CONSTRAINT x FOREIGN KEY (a) REFERENCES b(c);';
"""


def test_not_valid_names_with_quotes_are_found_in_the_dump(empty_shop: Shop) -> None:
    """Quotes, semicolons, line feeds and key words in names; a key of the same name on another table stays valid."""
    run_sql(empty_shop.conninfo, ODD_NAMES)
    scope = """
version: 1
tables:
  a.sql:
    - {table: "\\"S \\"\\"1\\"\\".x\\".t;'--", reference: not_valid}
    - {table: order, reference: not_valid}
"""
    sidecar, _ = empty_shop.restore(scope)
    assert [table.not_valid for table in sidecar.tables] == [("k \";\n'",), ()]
    with psycopg.connect(empty_shop.server.conninfo(f"{database_name(empty_shop)}_restored")) as session:
        rows = session.execute(
            "SELECT r.relname, k.conname, k.convalidated, k.condeferrable FROM pg_constraint k "
            "JOIN pg_class r ON r.oid = k.conrelid WHERE contype = 'f'"
        ).fetchall()
    assert sorted(rows) == [
        ("order", "k \";\n'", True, False),
        ("t;'--", "k \";\n'", False, True),
        ("t;'--", "order", True, False),
    ]


def database_name(shop: Shop) -> str:
    return shop.pipeline("{version: 1, tables: {a.sql: [x]}}").database.name


PARTED = """
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE parted (customer int CONSTRAINT to_customer REFERENCES customers, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2010-01-01');
CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2010-01-01') TO (MAXVALUE);
INSERT INTO customers VALUES (1);
INSERT INTO parted VALUES (1, now());
"""
PARTED_SCOPE = "{version: 1, tables: {a.sql: [{table: parted, reference: not_valid}]}}"


def test_not_valid_on_a_partitioned_table_needs_postgresql_18(empty_shop: Shop, tmp_path: Path) -> None:
    """Older servers cannot do it: check and export refuse with the reason; 18 restores it."""
    run_sql(empty_shop.conninfo, PARTED)
    findings = empty_shop.check(PARTED_SCOPE)
    if empty_shop.major >= 18:
        assert findings.errors == []
        assert empty_shop.restore(PARTED_SCOPE)[1] == {"to_customer": False}
        return
    (error,) = findings.errors
    assert "partitioned table parted cannot be restored NOT VALID" in error
    assert f"PostgreSQL {empty_shop.major}, only by 18" in error
    pipeline = empty_shop.pipeline(PARTED_SCOPE)
    with pytest.raises(BackupError, match="cannot be restored NOT VALID"):
        pipeline.export(tmp_path / "parts").run(pipeline.plan, cut_off=utc_now())


def test_key_of_one_partition_is_seen_and_can_be_not_valid(empty_shop: Shop) -> None:
    """A key declared on a partition alone leads out of the backup as well; every server can restore it NOT VALID."""
    run_sql(
        empty_shop.conninfo,
        PARTED.replace("CONSTRAINT to_customer REFERENCES customers", ""),
        "ALTER TABLE parted_new ADD CONSTRAINT of_part FOREIGN KEY (customer) REFERENCES customers",
    )
    (error,) = empty_shop.check("{version: 1, tables: {a.sql: [parted]}}").errors
    assert "of_part of parted_new refers to customers" in error
    sidecar, validated = empty_shop.restore(PARTED_SCOPE)
    assert validated == {"of_part": False}
    assert sidecar.tables[0].not_valid == ("of_part",)


def test_key_to_a_partitioned_table_can_be_not_valid(empty_shop: Shop) -> None:
    """Only the referring table counts: PostgreSQL of every version takes NOT VALID there."""
    run_sql(
        empty_shop.conninfo,
        "CREATE TABLE p (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE p_old PARTITION OF p FOR VALUES FROM (MINVALUE) TO ('2010-01-01')",
        "CREATE TABLE p_new PARTITION OF p FOR VALUES FROM ('2010-01-01') TO (MAXVALUE)",
        "CREATE TABLE c (id int, at timestamptz, CONSTRAINT to_p FOREIGN KEY (id, at) REFERENCES p)",
        "INSERT INTO p VALUES (1, '2001-01-01'), (2, '2012-01-01')",
        "INSERT INTO c TABLE p",
    )
    scope = (
        "{version: 1, tables: {c.sql: [{table: c, reference: not_valid}]}, windowed: {p.csv: {table: p, column: at}}}"
    )
    sidecar, validated = empty_shop.restore(scope)
    assert validated == {"to_p": False}
    assert {table.name: table.rows for table in sidecar.tables} == {"c": 2, "p": 0}


def test_archive_differs_from_pg_dump_only_in_these_statements(shop: Shop, tmp_path: Path) -> None:
    """Without NOT VALID constraints.sql of the archive is that of a backup that takes everything."""
    texts = []
    for count, (customers, mode) in enumerate([(", customers", ""), ("", ", reference: not_valid")]):
        run = BackupRun(f"manual__{count}", "manual", utc_now())
        archive, _ = shop.pipeline(WINDOWED.format(customers=customers, mode=mode)).backup(run)
        folder = tmp_path / f"unpacked{count}"
        folder.mkdir()
        subprocess.run(["tar", "-xzf", archive, "-C", folder, "constraints.sql"], check=True)
        lines = (folder / "constraints.sql").read_text().splitlines()
        texts.append([line for line in lines if "restrict" not in line])
    whole, without = texts
    assert [line.replace(" NOT VALID;", ";") for line in without] == whole
    assert sum(line.endswith(" NOT VALID;") for line in without) == 2

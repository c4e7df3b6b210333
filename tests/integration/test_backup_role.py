"""include/sql/backup_role.sql: its role can make a backup of everything, and change nothing."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from include.backup.prerequisites import Findings, check_prerequisites
from include.backup.restore import Restore
from include.backup.settings import Settings
from include.demo.databases import make_backup_role, set_password
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.errors import DemoError
from include.demo.sample import load_sample, write_sample_configuration
from tests.fix_documents import REPOSITORY, shell_block, type_in
from tests.fix_pipeline import Pipeline, run_sql
from tests.fix_postgres import SERVER_BINARIES

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

PASSWORD = "only-for-this-test"
SINCE_MAJOR = 14

SHOP = """
CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
INSERT INTO customers (name) VALUES ('Ada');
CREATE TABLE orders (id serial, at date) PARTITION BY RANGE (at);
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO orders VALUES (1, '2026-11-20');
CREATE SCHEMA secret;
CREATE TABLE secret.keys (id int);
CREATE SEQUENCE secret.counter;
CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM customers;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT lo_create(77);
"""

# Every kind of write, and every lock that stands in somebody's way.
WRITES = (
    "INSERT INTO customers (name) VALUES ('x')",
    "UPDATE customers SET name = 'x'",
    "DELETE FROM customers",
    "TRUNCATE customers",
    "COPY customers (name) FROM STDIN",
    "SELECT * FROM customers FOR UPDATE",
    "SELECT * FROM customers FOR KEY SHARE",
    "LOCK TABLE customers IN ROW EXCLUSIVE MODE",
    "LOCK TABLE customers IN ACCESS EXCLUSIVE MODE",
    "SELECT nextval('secret.counter')",
    "SELECT setval('secret.counter', 1)",
    "CREATE TABLE stolen (id int)",
    "CREATE TEMPORARY TABLE stolen (id int)",
    "CREATE TABLE secret.stolen (id int)",
    "CREATE SCHEMA stolen",
    "CREATE FUNCTION public.two() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "CREATE DATABASE stolen",
    "CREATE ROLE stolen",
    "CREATE INDEX ON customers (name)",
    "CREATE TRIGGER t BEFORE INSERT ON customers EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE customers ADD COLUMN more int",
    "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "DROP TABLE customers",
    "DROP FUNCTION one()",
    "COMMENT ON TABLE customers IS 'x'",
    "REFRESH MATERIALIZED VIEW sums",
    "REINDEX TABLE customers",
    "CLUSTER customers USING customers_pkey",
    "SELECT lo_unlink(77)",
    "SELECT lo_put(77, 0, 'x')",
    "COPY customers TO PROGRAM 'true'",
    "COPY customers TO '/tmp/stolen'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SET session_replication_role = replica",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
)


@pytest.fixture(params=sorted(major for major in SERVER_BINARIES if major >= SINCE_MAJOR))
def server(request: pytest.FixtureRequest, started_postgres: Callable[..., EmbeddedPostgres]) -> EmbeddedPostgres:
    """Each major version that is at hand."""
    return started_postgres(SERVER_BINARIES[request.param])


@pytest.fixture
def shop(server: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline) -> Pipeline:
    """A small database with something of every kind to write to."""
    conninfo = new_database(server)
    run_sql(conninfo, SHOP)
    scope = "{version: 1, tables: {c.sql: [customers, orders]}, exclude: ['secret.*']}"
    return make_pipeline(conninfo, scope)


def as_reader(pipeline: Pipeline, server: EmbeddedPostgres, **variables: str) -> Pipeline:
    """Run the script for the pipeline's database, and let the pipeline log in as that role."""
    role = f"reader_{pipeline.database.name}"
    make_backup_role(server, role=role, database=pipeline.database.name, **variables)
    set_password(server, role, PASSWORD)
    database = dataclasses.replace(pipeline.database, user=role, password=PASSWORD)
    return dataclasses.replace(pipeline, database=database)


def check(pipeline: Pipeline) -> Findings:
    """Return what check_prerequisites finds as the pipeline's role."""
    settings = Settings(
        admin_emails=("admin@example.com",),
        backup_dir=pipeline.backup_dir,
        backup_config_dir=pipeline.config_dir,
        backup_scope_file=pipeline.backup_dir.parent / "scope.yaml",
    )
    cut_off = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return check_prerequisites(settings, pipeline.database, cut_off_for=lambda _: cut_off)


def test_role_backs_up_the_sample_and_a_drill_role_restores_it(
    server: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """A whole run as the one, a restore that is compared as the other; neither may do the other's work."""
    conninfo = new_database(server)
    load_sample(conninfo, scale=0.02)
    pipeline = make_pipeline(conninfo, None)
    write_sample_configuration(pipeline.config_dir)
    drill_role = f"drill_{pipeline.database.name}"
    reader = as_reader(pipeline, server, strict="on", drill_role=drill_role)
    set_password(server, drill_role, PASSWORD)
    archive, sidecar = reader.backup()
    assert sidecar.rows > 100
    target = dataclasses.replace(reader.database, name=f"{reader.database.name}_restored", user=drill_role)
    folder = pipeline.backup_dir.parent / "unpacked"
    folder.mkdir()
    restored = Restore(archive, target, reader.clients, folder).run()
    assert restored.rows == sidecar.rows
    source = dataclasses.replace(target, name=reader.database.name)
    with source.connect() as session, pytest.raises(errors.InsufficientPrivilege):
        session.execute("SELECT FROM public.users")
    with reader.database.connect() as session, pytest.raises(errors.ReadOnlySqlTransaction):
        session.execute("CREATE TABLE x ()")


def test_role_can_change_nothing(shop: Pipeline, server: EmbeddedPostgres) -> None:
    """Each kind of write is refused for want of rights, also where the session has lifted its own read-only setting."""
    reader = as_reader(shop, server, strict="on")
    allowed = []
    with reader.database.connect_for_restore() as session:
        session.execute("SET search_path = public")
        assert session.execute("SELECT name FROM customers").fetchall() == [("Ada",)]
        assert session.execute("SELECT count(*) FROM secret.keys").fetchone() == (0,)
        for statement in WRITES:
            try:
                session.autocommit = not statement.startswith("LOCK")  # which wants a transaction around it
                session.execute(statement)
                allowed.append(statement)
            except errors.InsufficientPrivilege:
                session.rollback()
    assert allowed == []
    with psycopg.connect(server.conninfo(reader.database.name)) as session:
        assert session.execute("SELECT name FROM customers").fetchall() == [("Ada",)]


def test_role_reads_what_is_made_later(shop: Pipeline, server: EmbeddedPostgres) -> None:
    """New schemas, tables and sequences, of whatever owner, need no further grant."""
    reader = as_reader(shop, server)
    other = f"other_{shop.database.name}"
    run_sql(
        server.conninfo(shop.database.name),
        f"CREATE ROLE {other}",
        f"CREATE SCHEMA later AUTHORIZATION {other}",
        f"SET ROLE {other}; CREATE TABLE later.things (id serial); INSERT INTO later.things DEFAULT VALUES",
    )
    assert check(reader).errors == []
    with reader.database.connect() as session:
        assert session.execute("SELECT id, last_value FROM later.things, later.things_id_seq").fetchall() == [(1, 1)]


def test_role_for_named_tables_reads_no_others_and_the_check_names_them(
    shop: Pipeline, server: EmbeddedPostgres
) -> None:
    """The schema of every table is in a backup: what the role lacks is said before any work; without others it does."""
    reader = as_reader(shop, server, tables="customers, public.orders")
    with reader.database.connect() as session:
        session.execute("SELECT id, name FROM public.customers, public.customers_id_seq")
        assert session.execute("SELECT id FROM public.orders_2026").fetchall() == [(1,)]
        for statement in ("SELECT FROM secret.keys", "SELECT FROM secret.counter", "SELECT FROM public.sums"):
            with pytest.raises(errors.InsufficientPrivilege):
                session.execute(statement)
    (error,) = check(reader).errors
    assert f"role {reader.database.user} may not read secret.counter, secret.keys;" in error
    assert f"GRANT pg_read_all_data TO {reader.database.user}" in error
    run_sql(server.conninfo(shop.database.name), "DROP SCHEMA secret CASCADE")
    assert check(reader).errors == []
    assert reader.backup()[1].rows == 2


def test_script_run_again_gives_no_more_and_no_less(shop: Pipeline, server: EmbeddedPostgres) -> None:
    """A second run changes nothing; one with other variables takes back what only the first allowed."""
    as_reader(shop, server)
    reader = as_reader(shop, server)
    assert check(reader).errors == []
    narrow = as_reader(shop, server, tables="customers")
    assert "may not read orders, orders_id_seq, secret.counter, secret.keys" in check(narrow).errors[0]
    narrower = as_reader(shop, server, tables="orders")
    assert "may not read customers, customers_id_seq" in check(narrower).errors[0]
    assert check(as_reader(shop, server)).errors == []


def test_row_security_is_no_gap(shop: Pipeline, server: EmbeddedPostgres) -> None:
    """The exemption comes with the next run of the script, and only where a table has row level security."""
    reader = as_reader(shop, server)
    exempt = f"SELECT rolbypassrls FROM pg_roles WHERE rolname = '{reader.database.user}'"
    with psycopg.connect(server.conninfo(shop.database.name), autocommit=True) as session:
        assert session.execute(exempt).fetchone() == (False,)
        session.execute("ALTER TABLE customers ENABLE ROW LEVEL SECURITY")
        assert "ALTER ROLE" in check(reader).errors[0]
        as_reader(shop, server)
        assert session.execute(exempt).fetchone() == (True,)
    assert check(reader).errors == []
    assert reader.backup()[1].rows == 2


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ("CREATE ROLE {role} SUPERUSER", "is a superuser"),
        ("CREATE ROLE {role} CREATEDB CREATEROLE", "may create roles, may create databases"),
        ("CREATE ROLE {role} IN ROLE pg_write_all_data", "is a member of pg_write_all_data"),
        ("CREATE ROLE {role}; ALTER TABLE customers OWNER TO {role}", "owns objects"),
    ],
)
def test_role_that_may_write_already_is_refused(
    shop: Pipeline, postgres_18: EmbeddedPostgres, prepare: str, words: str, new_database: NewDatabase
) -> None:
    """Nothing is taken from a role that somebody else may need; nothing is granted to it either."""
    conninfo = new_database(postgres_18)
    database = conninfo.partition("dbname=")[2].split()[0]
    role = f"busy_{database}"
    run_sql(conninfo, "CREATE TABLE customers ()", prepare.format(role=role))
    with pytest.raises(DemoError, match=words):
        make_backup_role(postgres_18, role=role, database=database)


@pytest.mark.parametrize("given", [{}, {"role": "r"}, {"database": "postgres"}])
def test_script_without_its_variables_says_how_it_is_called(
    postgres_18: EmbeddedPostgres, given: dict[str, str]
) -> None:
    """One line, before anything is changed."""
    with pytest.raises(DemoError, match="is not set: psql -v role=backup_reader -v database="):
        make_backup_role(postgres_18, **given)


def test_odd_names_are_quoted(postgres_18: EmbeddedPostgres) -> None:
    """Names with quotes, spaces and capitals are names, not SQL."""
    name = "Odd \"na'me\\"
    with psycopg.connect(postgres_18.conninfo(), autocommit=True) as session:
        session.execute('CREATE DATABASE "Odd ""na\'me\\"')
    make_backup_role(postgres_18, role=name, database=name, drill_role=name + "2")
    with psycopg.connect(postgres_18.conninfo()) as session:
        rows = session.execute("SELECT rolname, rolcreatedb FROM pg_roles WHERE rolname LIKE 'Odd%'").fetchall()
    assert sorted(rows) == [(name, False), (name + "2", True)]


def test_role_of_the_readme_and_the_dump_by_hand(tmp_path: Path) -> None:
    """The command that makes the role, and what goes on by hand with it where the service cannot."""
    with EmbeddedPostgres(tmp_path / "server", version=18, durable=False) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as session:
            session.execute("CREATE DATABASE smart_ai_hub")
        load_sample(server.conninfo("smart_ai_hub"), scale=0.05)
        variables = {
            "PATH": f"{server.binaries}:{os.environ['PATH']}",
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGPASSWORD": server.password,
        }
        made = type_in(shell_block("README.md", "backup_role.sql"), REPOSITORY, variables)
        assert made.returncode == 0, made.stderr
        with psycopg.connect(server.conninfo(), autocommit=True) as session:
            session.execute(f"ALTER ROLE backup_reader PASSWORD '{PASSWORD}'")
        by_hand = shell_block("docs/BACKUP_OPERATIONS.md", "pg_dump")
        dumped = type_in(by_hand, tmp_path, variables | {"PGPASSWORD": PASSWORD}, {"DB_HOST": server.host})
        assert dumped.returncode == 0, dumped.stderr
        (dump,) = tmp_path.glob("manual_*.dump")
        assert dump.stat().st_mode & 0o777 == 0o600
        listed = subprocess.check_output([server.binaries / "pg_restore", "--list", dump], text=True)
        assert " TABLE DATA public users " in listed

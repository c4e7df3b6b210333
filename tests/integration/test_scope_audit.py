"""`python -m include.backup.scope`: an audit that says what is wrong, and a first scope for any database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from include.backup.catalog import read_catalog
from include.backup.names import QualifiedName
from include.backup.scope import Scope, load_scope
from include.backup.scope_check import check_scope
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample
from tests.fix_documents import shell_block, type_in
from tests.fix_pipeline import Pipeline, database_of, restore_by_hand, run_sql, source_variables

REPOSITORY = Path(__file__).resolve().parents[2]
MakePipeline = Callable[[str, str | None], Pipeline]


@dataclass
class Source:
    """One database and the command that looks at it, in an environment without any setting of mail or Airflow."""

    conninfo: str
    folder: Path

    @property
    def scope_file(self) -> Path:
        return self.folder / "scope.yaml"

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": os.environ["PATH"],
            **source_variables(database_of(self.conninfo)),
            "BACKUP_SCOPE_FILE": str(self.scope_file),
        }
        return subprocess.run(
            [sys.executable, "-m", "include.backup.scope", *command.split()],
            cwd=REPOSITORY,
            env=variables | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def audit(self, scope: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.scope_file.write_text(scope)
        return self.run("audit", **environment)

    def propose(self) -> Scope:
        """Propose, and hold the result against what is promised: it loads, fits, and is closed."""
        result = self.run("propose")
        assert (result.returncode, result.stderr) == (0, "")
        self.scope_file.write_text(result.stdout)
        scope = load_scope(self.scope_file)
        with database_of(self.conninfo).connect() as session:
            catalog = read_catalog(session)
        found = check_scope(catalog, scope, role="postgres")
        assert (found.errors, found.warnings) == ((), ())
        taken = set(scope.taken)
        assert [key for key in catalog.foreign_keys if key.table in taken and key.referenced not in taken] == []
        assert not any(scope.excludes(name) for name in taken)
        audit = self.run("audit")
        assert audit.returncode == 0, audit.stdout
        return scope


@pytest.fixture
def source(postgres: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str], tmp_path: Path) -> Source:
    return Source(new_database(postgres), tmp_path)


SHOP = """
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer int CONSTRAINT to_customer REFERENCES customers,
    created_at timestamptz);
CREATE TABLE events (id int, created_at timestamptz DEFAULT now());
CREATE TABLE user_sessions (id int);
CREATE TABLE colours (id int);
CREATE TABLE log_2025 (id int);
INSERT INTO customers VALUES (7);
INSERT INTO orders SELECT n, 7, now() - n * interval '1 day' FROM generate_series(1, 1000) n;
INSERT INTO events SELECT n, now() FROM generate_series(1, 100001) n;
"""
SHOP_SCOPE = """\
version: 1
tables:
  colours.sql:
    - colours
windowed:
  orders.csv: {table: orders, column: created_at}
exclude:
  - log_*
"""


@pytest.fixture
def shop(source: Source) -> Source:
    run_sql(source.conninfo, SHOP, "ANALYZE")
    return source


def section(text: str, title: str) -> list[str]:
    """Return the lines below a title, up to the next line at the margin."""
    return re.split(r"\n(?!  )", text.partition(f"\n{title}")[2])[0].splitlines()[1:]


def test_proposal_of_the_readme_passes_its_audit(source: Source) -> None:
    """Both commands as they are typed, in the reader's own folder."""
    load_sample(source.conninfo, scale=0.05)
    variables = source_variables(database_of(source.conninfo))
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables |= {"PATH": programs, "PYTHONPATH": str(REPOSITORY)}
    result = type_in(shell_block("README.md", "scope propose"), source.folder, variables)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "credit_transactions" in source.scope_file.read_text()


def test_audit_shows_what_is_taken_windowed_left_out_unknown_and_leaving(shop: Source) -> None:
    """Each table stands in its section with rows and file; the used key out of the backup makes the status 1."""
    result = shop.audit(SHOP_SCOPE)
    assert (result.returncode, result.stderr) == (1, "")
    text = result.stdout
    assert [line.split()[0] for line in section(text, "Taken whole (1)")] == ["colours"]
    (orders,) = section(text, "Windowed")
    assert "orders.csv" in orders
    assert "of 1,000 rows" in orders
    assert 70 < int(orders.split()[1]) < 110
    assert [line.split()[0] for line in section(text, "Left out on purpose (1)")] == ["log_2025"]
    assert [line.split()[0] for line in section(text, "Unknown")] == ["customers", "events", "user_sessions"]
    (_, key) = section(text, "Foreign keys that leave the backup (1)")
    assert key.split()[:3] == ["to_customer", "of", "orders"]
    assert key.endswith("no backup")
    assert "a restore would fail" in text
    assert "\x1b" not in text
    assert max(map(len, text.partition("Warnings")[0].partition("Wrong")[0].splitlines()[2:])) <= 120


def test_audit_proposal_pasted_into_the_scope_mends_it(shop: Source) -> None:
    """Its lines, put below the keys of the same name, make a scope that knows every table and whose keys hold."""
    proposal = yaml.safe_load(shop.audit(SHOP_SCOPE).stdout.partition("Proposal:")[2].partition("\n")[2])
    assert proposal == {
        "tables": {"more_tables.sql": ["customers"]},
        "windowed": {"events.csv": {"table": "events", "column": "created_at"}},
        "exclude": ["user_sessions"],
    }
    scope = yaml.safe_load(SHOP_SCOPE)
    scope["tables"] |= proposal["tables"]
    scope["windowed"] |= proposal["windowed"]
    scope["exclude"] += proposal["exclude"]
    result = shop.audit(yaml.safe_dump(scope))
    assert result.returncode == 0
    for title in ("Unknown", "Foreign keys", "Warnings", "Wrong", "Proposal"):
        assert title not in result.stdout


def test_audit_unknown_tables_alone_are_status_0(shop: Source) -> None:
    """What is only a warning is shown, and the status says that nothing is wrong."""
    result = shop.audit("{version: 1, tables: {a.sql: [customers, orders, events]}}")
    assert result.returncode == 0
    assert "Unknown" in result.stdout
    assert "neither taken nor left out: colours, log_2025, user_sessions" in result.stdout


def test_audit_key_answered_with_not_valid_is_a_warning(shop: Source) -> None:
    """The key is listed as NOT VALID, and the table that is left out on purpose is not proposed again."""
    scope = (
        "{version: 1, windowed: {o.csv: {table: orders, column: created_at, reference: not_valid}}, exclude: ['[!o]*']}"
    )
    result = shop.audit(scope)
    assert result.returncode == 0
    assert section(result.stdout, "Foreign keys")[1].endswith("NOT VALID")
    assert "Proposal" not in result.stdout


def test_audit_excluded_table_that_is_needed_is_proposed(shop: Source) -> None:
    """A table left out on purpose, which taken rows refer to, is in the proposal with that reason."""
    result = shop.audit("{version: 1, tables: {o.sql: [orders]}, exclude: ['[!o]*']}")
    assert result.returncode == 1
    assert "- customers  # left out on purpose, but orders refers to it" in result.stdout


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("{version: 1, tables: {a.sql: [gone, orders]}}", "table gone is in the scope file but not in the database"),
        ("{version: 1, windowed: {a.csv: {table: orders, column: id}}}", "column id of orders is of type integer"),
        ("{version: 1, tables: {a.sql: [orders]}, colour: red}", "colour"),
    ],
)
def test_audit_scope_that_does_not_fit_is_status_1(shop: Source, scope: str, words: str) -> None:
    """A missing table, a wrong column and a scope file that cannot be read are wrong, not a wrong usage."""
    result = shop.audit(scope)
    assert result.returncode == 1
    assert words in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("command", "environment", "words"),
    [
        ("", {}, "usage:"),
        ("adit", {}, "usage:"),
        ("audit", {"POSTGRES_PASSWORD": "wrong-secret"}, "password authentication failed"),
        ("audit", {"POSTGRES_PORT": "1"}, "cannot reach"),
        ("audit", {"POSTGRES_PORT": "many"}, "POSTGRES_PORT='many'"),
        ("propose", {"POSTGRES_USER": ""}, "POSTGRES_USER is not set"),
    ],
)
def test_wrong_usage_or_no_connection_is_status_2(
    shop: Source, command: str, environment: dict[str, str], words: str
) -> None:
    """One line on standard error, nothing on standard output, and no secret anywhere."""
    result = shop.run(command, **environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert "wrong-secret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_propose_sample_takes_small_tables_whole(source: Source) -> None:
    """Small tables are whole, in one file; sessions and logs are left out."""
    load_sample(source.conninfo, scale=0.05)
    scope = source.propose()
    assert scope.exclude == ("audit_logs", "sessions", "usage_logs")
    assert QualifiedName("public", "users") in scope.taken
    assert list(scope.tables) == ["tables.sql"]


def test_propose_shop_closes_foreign_keys_and_gives_reasons(shop: Source) -> None:
    """A session table that an order refers to is taken, with the reason beside it."""
    run_sql(
        shop.conninfo,
        "ALTER TABLE user_sessions ADD PRIMARY KEY (id)",
        "ALTER TABLE orders ADD session int REFERENCES user_sessions",
    )
    text = shop.run("propose").stdout
    assert re.search(r"- user_sessions  # .*looks volatile by its name, but orders refers to it", text)
    scope = shop.propose()
    assert list(scope.windowed) == ["events.csv"]
    assert scope.exclude == ("log_2025",)


def test_propose_empty_database_is_one_clear_line(source: Source) -> None:
    """There is nothing to write, and the status says so."""
    result = source.run("propose")
    assert (result.returncode, result.stdout) == (1, "")
    assert "has no tables: there is nothing to back up" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_propose_only_volatile_tables_takes_them(source: Source) -> None:
    """A scope takes at least one table."""
    run_sql(source.conninfo, "CREATE TABLE sessions (id int)", "CREATE TABLE audit_logs (id int)")
    assert len(source.propose().taken) == 2


ODD = r"""
CREATE SCHEMA "Odd.Schema"; CREATE SCHEMA schema; CREATE SCHEMA "งาน"; CREATE SCHEMA "null";
CREATE TABLE "Odd.Schema"."a ""b"" #c: [d]" (id int PRIMARY KEY);
CREATE TABLE "Odd.Schema"."x - y: # z" (id int REFERENCES "Odd.Schema"."a ""b"" #c: [d]");
CREATE TABLE schema."log[1]*?" (id int);
CREATE TABLE schema."log1x" (id int PRIMARY KEY REFERENCES "Odd.Schema"."a ""b"" #c: [d]");
CREATE TABLE schema.lines (id int REFERENCES schema.log1x);
CREATE TABLE schema.restore (id int);
CREATE TABLE "งาน"."ผู้ใช้ 👋" (id int);
CREATE TABLE "null"."true" (id int); CREATE TABLE "null"."1" (id int); CREATE TABLE "null"."2026-01-01" (id int);
CREATE TABLE "Users" (id int); CREATE TABLE "users" (id int); CREATE TABLE "~" (id int); CREATE TABLE "*_logs" (id int);
CREATE TABLE "big.One" (id int, "Created At" timestamptz DEFAULT now()) PARTITION BY RANGE ("Created At");
CREATE TABLE "big.One 1" PARTITION OF "big.One" DEFAULT;
CREATE TABLE big (id int, "date" date); CREATE TABLE "Big" (id int, "createdAt" timestamp);
CREATE TABLE nothing ();
CREATE TABLE one (id int PRIMARY KEY, other int); CREATE TABLE two (id int PRIMARY KEY REFERENCES one);
ALTER TABLE one ADD FOREIGN KEY (other) REFERENCES two;
INSERT INTO "big.One" SELECT n, now() FROM generate_series(1, 100001) n;
INSERT INTO big SELECT n, now() FROM generate_series(1, 100001) n;
INSERT INTO "Big" SELECT n, now() FROM generate_series(1, 100001) n;
"""


def test_propose_odd_names_schemas_and_partitions_load_and_fit(source: Source) -> None:
    """Whatever tables are called, the proposal loads, knows every table, and stays closed."""
    run_sql(source.conninfo, ODD, "ANALYZE")
    scope = source.propose()
    assert {str(item.table): item.column for item in scope.windowed.values()} == {
        '"big.One"': "Created At",
        "big": "date",
        "Big": "createdAt",
    }
    assert len(scope.tables) <= 5
    assert len({name.casefold() for name in (*scope.tables, *scope.windowed)}) == len(scope.tables) + 3
    assert sorted(scope.exclude) == ["[*]_logs", "schema.log[[]1][*][?]"]


def test_propose_many_schemas_share_one_file(source: Source) -> None:
    """At most a few files, however many schemas there are."""
    run_sql(source.conninfo, *(f"CREATE SCHEMA s{n} CREATE TABLE t (id int)" for n in range(12)))
    scope = source.propose()
    assert list(scope.tables) == ["tables.sql"]
    assert len(scope.taken) == 12


def test_propose_role_without_rights_is_told(shop: Source, postgres: EmbeddedPostgres) -> None:
    """The scope is written all the same; standard error says what to grant, and the status is 1."""
    role = f"poor_{database_of(shop.conninfo).name}"
    run_sql(shop.conninfo, f"CREATE ROLE {role} LOGIN PASSWORD 'poor-secret'")
    result = shop.run("propose", POSTGRES_USER=role, POSTGRES_PASSWORD="poor-secret")
    assert result.returncode == 1
    assert "GRANT pg_read_all_data" in result.stderr
    assert Scope.model_validate(yaml.safe_load(result.stdout)).taken


def test_proposed_scope_backs_up_and_restores(shop: Source, make_pipeline: MakePipeline, tmp_path: Path) -> None:
    """The proposal is not only well-formed: a backup with it restores by its own instructions."""
    shop.propose()
    pipeline = make_pipeline(shop.conninfo, shop.scope_file.read_text())
    archive, _ = pipeline.backup()
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr

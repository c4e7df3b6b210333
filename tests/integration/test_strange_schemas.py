"""Schemas that are legal and rare: each is carried and restored the same, on every server."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from include.backup.catalog import read_catalog
from include.backup.errors import BackupError
from include.backup.scope import Scope
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, run_sql
from tests.integration.test_generated_schemas import come_back
from tests.schema_cases import SchemaCase

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

TRIGGER = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'fired'; END$$"

# Statements that make a database, and the tables that are taken whole; `w` is windowed by `at` where it is there.
CARRIED: dict[str, tuple[list[str], list[str]]] = {
    "schemas and names": (
        [
            'CREATE SCHEMA "a.b"',
            'CREATE TABLE "a.b"."Select ""%s"" \\ {{ x }}" ("user" int PRIMARY KEY, "$1" text)',
            """INSERT INTO "a.b"."Select ""%s"" \\ {{ x }}" VALUES (1, E'\\\\.\\n')""",
            f'CREATE TABLE "{"ก" * 21}" ("{"n" * 63}" int)',
            'CREATE TABLE "left\nout" (a int)',
            "CREATE TYPE \"ty\npe\" AS ENUM ('a\nb')",
            'CREATE TABLE t (a "ty\npe"[])',
            "INSERT INTO t VALUES (ARRAY['a\nb'::\"ty\npe\"])",
        ],
        ['"a.b"."Select ""%s"" \\ {{ x }}"', "ก" * 21, "t"],
    ),
    "keys that defer, go in circles and exclude": (
        [
            "CREATE TABLE a (id int PRIMARY KEY, self int REFERENCES a, b int)",
            "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)",
            "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE",
            "INSERT INTO a VALUES (1, 2, NULL), (2, 1, NULL)",
            "INSERT INTO b VALUES (1, 2)",
            "UPDATE a SET b = 1",
            "CREATE TABLE c (during tsrange, EXCLUDE USING gist (during WITH &&))",
            "INSERT INTO c VALUES ('[2024-01-01,2024-02-01)'), ('empty'), (NULL)",
        ],
        ["a", "b", "c"],
    ),
    "partitions attached with other columns, nested and windowed": (
        [
            "CREATE TABLE w (a int, b text, at date, g int GENERATED ALWAYS AS (a + 1) STORED) PARTITION BY RANGE (at)",
            "CREATE TABLE new (x int, g int GENERATED ALWAYS AS (a + 1) STORED, at date, b text, a int)",
            "ALTER TABLE new DROP COLUMN x",
            "ALTER TABLE w ATTACH PARTITION new FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)",
            "CREATE TABLE old PARTITION OF w DEFAULT PARTITION BY HASH (a)",
            "CREATE TABLE old_0 PARTITION OF old FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "CREATE TABLE old_1 PARTITION OF old FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            "ALTER TABLE new ADD PRIMARY KEY (a)",
            "INSERT INTO w SELECT n, 'x', d FROM generate_series(1, 9) n, (VALUES (now()), ('2001-01-01')) v (d)",
        ],
        [],
    ),
    "inheritance in three steps, of which the middle is taken": (
        [
            "CREATE TABLE top (a int)",
            "CREATE TABLE middle (b int) INHERITS (top)",
            "CREATE TABLE bottom (c int) INHERITS (middle)",
            "INSERT INTO top VALUES (1)",
            "INSERT INTO middle VALUES (2, 2)",
            "INSERT INTO bottom VALUES (3, 3, 3)",
        ],
        ["middle"],
    ),
    "a windowed table that another inherits from": (
        [
            "CREATE TABLE w (a int PRIMARY KEY, at date)",
            "CREATE TABLE child (b int) INHERITS (w)",
            "CREATE TABLE t (a int REFERENCES w)",
            "INSERT INTO w VALUES (1, now()), (2, '2001-01-01')",
            "INSERT INTO child VALUES (2, now(), 3)",
            "INSERT INTO t VALUES (2)",
        ],
        ["t"],
    ),
    "types": (
        [
            "CREATE TYPE mood AS ENUM ('it''s', 'a,b')",
            "CREATE DOMAIN email AS text NOT NULL CHECK (VALUE LIKE '%@%')",
            "CREATE TYPE pair AS (mood mood, mails email[])",
            "CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi)",
            "CREATE TABLE t OF pair (PRIMARY KEY (mood))",
            "INSERT INTO t VALUES ('a,b', '{a@b,\"@,\"}')",
            "CREATE TABLE u (m mood[], e email, p pair[], s span, d int DEFAULT 7)",
            "INSERT INTO u VALUES ('{{\"a,b\"},{it''s}}', '@', ARRAY[('it''s', '{@}')::pair], '[-Infinity,NaN]')",
        ],
        ["t", "u"],
    ),
    "only generated columns, no columns, no key": (
        [
            "CREATE TABLE g (a int GENERATED ALWAYS AS (1) STORED)",
            "INSERT INTO g DEFAULT VALUES",
            "INSERT INTO g DEFAULT VALUES",
            "CREATE TABLE nothing ()",
            "INSERT INTO nothing DEFAULT VALUES",
            "CREATE TABLE twice (a int)",
            "INSERT INTO twice VALUES (1), (1), (NULL)",
        ],
        ["g", "nothing", "twice"],
    ),
    "unlogged table and sequence": (
        [
            "CREATE UNLOGGED TABLE t (a int GENERATED ALWAYS AS IDENTITY, b text)",
            "INSERT INTO t (b) VALUES ('x'), ('')",
        ],
        ["t"],
    ),
    "triggers, rules, event triggers and row security": (
        [
            TRIGGER,
            "CREATE TABLE t (a int)",
            "INSERT INTO t VALUES (1)",
            "CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()",
            "ALTER TABLE t ENABLE ALWAYS TRIGGER b",
            "CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION no()",
            "CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE t FORCE ROW LEVEL SECURITY",
            "CREATE POLICY p ON t USING (false)",
            "CREATE FUNCTION dropped() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$",
            "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION dropped()",
        ],
        ["t"],
    ),
    "views on views, and materialised views that read another": (
        [
            "CREATE TABLE t (a int PRIMARY KEY, b text)",
            "INSERT INTO t VALUES (1, 'x')",
            "CREATE VIEW v AS SELECT a, b FROM t GROUP BY a",
            "CREATE VIEW v2 WITH (security_barrier, check_option = local) AS SELECT a FROM t WHERE a > 0",
            "CREATE RECURSIVE VIEW r (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3",
            "CREATE MATERIALIZED VIEW z AS SELECT a FROM v",
            "CREATE MATERIALIZED VIEW a AS SELECT count(*) AS n FROM z",
            "CREATE UNIQUE INDEX ON a (n)",
        ],
        ["t"],
    ),
    "functions, operators, aggregates, casts, search configurations, statistics, comments": (
        [
            "CREATE FUNCTION low(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.lower($1)'",
            "CREATE TABLE t (a text CHECK (low(a) = a), b int)",
            "INSERT INTO t VALUES ('x', 1)",
            "CREATE INDEX ON t (low(a)) INCLUDE (b) WHERE low(a) <> ''",
            "CREATE STATISTICS s (dependencies) ON a, b FROM t",
            "CREATE FUNCTION eq(t, t) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1.a = $2.a'",
            "CREATE OPERATOR === (LEFTARG = t, RIGHTARG = t, FUNCTION = eq)",
            "CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
            "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
            "CREATE COLLATION odd (locale = 'C')",
            "CREATE PUBLICATION p FOR TABLE t",
            r"COMMENT ON TABLE t IS E'\\. \n; DROP TABLE t; -- '",
        ],
        ["t"],
    ),
    "1,600 columns": (
        [
            f"CREATE TABLE t ({', '.join(f'c{n} int' for n in range(1600))})",
            "INSERT INTO t (c0, c1599) VALUES (1, 2)",
        ],
        ["t"],
    ),
    "values of 50 MB": (
        [
            "CREATE TABLE t (a text, b bytea)",
            "INSERT INTO t VALUES (repeat('x', 50000000), decode(repeat('5c', 25000000), 'hex'))",
            "CREATE TABLE w (a text, at date)",
            "INSERT INTO w VALUES (repeat(E'\\\\,\"\\n', 12500000), now())",
        ],
        ["t"],
    ),
    "dropped and added columns, rows not in the order of their keys": (
        [
            "CREATE TABLE t (a int, b text, c int)",
            "INSERT INTO t SELECT n, 'x', n FROM generate_series(1, 1000) n",
            "ALTER TABLE t DROP COLUMN b, ADD COLUMN d text DEFAULT 'late'",
            "ALTER TABLE t ADD COLUMN e int GENERATED ALWAYS AS (c) STORED",
            "UPDATE t SET c = -c WHERE a % 3 = 0",
            "DELETE FROM t WHERE a % 7 = 0",
            "VACUUM t",
            "INSERT INTO t (a, c) SELECT n, n FROM generate_series(1, 100) n",
        ],
        ["t"],
    ),
}


def case_of(statements: list[str], whole: list[str]) -> SchemaCase:
    """Return the case; a table `w` is windowed."""
    windowed = {"w.csv": {"table": "w", "column": "at"}} if any(" w (" in text for text in statements) else {}
    scope = {"version": 1, "tables": {"t.sql": whole} if whole else {}, "windowed": windowed, "exclude": ["*"]}
    return SchemaCase(tuple(statements), Scope.model_validate(scope))


@pytest.mark.parametrize("name", CARRIED)
def test_strange_schema_restored_is_the_same(name: str, postgres: EmbeddedPostgres) -> None:
    """Rows, schema and sequences come back."""
    come_back(postgres, case_of(*CARRIED[name]))


def test_virtual_columns_restored_are_the_same(postgres_18: EmbeddedPostgres) -> None:
    """A virtual column is computed on the target, also where it is what the window is made by."""
    statements = [
        "CREATE TABLE w (day date, at timestamp GENERATED ALWAYS AS (day + time '00:00') VIRTUAL, n int)",
        "INSERT INTO w (day, n) VALUES (now(), 1), ('2001-01-01', 2), (NULL, 3)",
    ]
    come_back(postgres_18, case_of(statements, []))


EXTENSIONS = {
    "citext": "citext 'A'",
    "hstore": 'hstore \'"a b"=>NULL, c=>""\'',
    "ltree": "ltree 'a.b'",
    "vector": "vector '[1,2.5]'",
}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_extension_in_another_schema_comes_back(extension: str, postgres: EmbeddedPostgres) -> None:
    """Types and indexes of an extension that is not in public are found on the target."""
    with psycopg.connect(postgres.conninfo()) as session:
        query = "SELECT name FROM pg_available_extensions WHERE name = %s"
        if not session.execute(query, [extension]).fetchone():
            pytest.skip(f"this server does not ship {extension}")
    value = EXTENSIONS[extension].replace(extension, f"ext.{extension}", 1)
    statements = [
        "CREATE SCHEMA ext",
        f"CREATE EXTENSION {extension} SCHEMA ext",
        f"CREATE TABLE t AS SELECT {value} AS a",
        *(["CREATE UNIQUE INDEX ON t (a)"] if extension != "vector" else []),
        "CREATE TABLE u (a int)",
    ]
    come_back(postgres, case_of(statements, ["t", "u"]))


def test_thousand_tables_are_restored_in_a_minute(postgres_18: EmbeddedPostgres) -> None:
    """Many tables cost a process each, not more."""
    make = "DO $$BEGIN FOR n IN 1..1000 LOOP EXECUTE format("
    statements = [
        make + "'CREATE TABLE t%s (id serial PRIMARY KEY, a text)', n); EXECUTE format("
        "'INSERT INTO t%s (a) VALUES (''x'')', n); END LOOP; END$$"
    ]
    started = time.monotonic()
    come_back(postgres_18, case_of(statements, [f"t{n}" for n in range(1, 1001)]))
    seconds = time.monotonic() - started
    print(f"1,000 tables: {seconds:.0f} s")
    assert seconds < 600


def test_line_breaks_in_names_are_refused(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """A carriage return ends a comment in SQL as well: what stands after it in a name would be executed."""
    conninfo = new_database(postgres)
    run_sql(conninfo, 'CREATE TABLE "a\rDROP TABLE b; --" (x int)', 'CREATE TABLE b ("c\rd" int)')
    for name in ('"\\"a\\rDROP TABLE b; --\\""', "b"):
        pipeline = make_pipeline(conninfo, f"{{version: 1, tables: {{t.sql: [{name}]}}, exclude: ['*']}}")
        with pipeline.database.connect() as session, pytest.raises(BackupError, match="line break"):
            pipeline.plan(read_catalog(session))

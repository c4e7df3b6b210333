"""An archive of each server version restores on the same and every newer one, with each psql at hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from include.backup.clients import Clients
from include.backup.errors import RestoreError
from include.backup.restore import Restore
from include.backup.scope import Scope
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample
from tests.fix_pipeline import Pipeline, database_of, run_sql
from tests.fix_postgres import EVERY_BINARIES, PSQL_BINARIES, SERVER_BINARIES, major_of

STRANGE = (Path(__file__).parent / "strange.sql").read_text()
# What only some versions know, from that version on.
STRANGE_SINCE = {
    14: "CREATE TABLE strange.since_14 (id int PRIMARY KEY, spans int4multirange, note text COMPRESSION pglz);"
    "INSERT INTO strange.since_14 VALUES (1, '{[1,3),[5,9)}', 'x'), (2, '{}', NULL);"
    "CREATE FUNCTION strange.twice(n int) RETURNS int IMMUTABLE RETURN n * 2;"
    "CREATE INDEX ON strange.since_14 (strange.twice(id))",
    15: "CREATE TABLE strange.since_15 (a int UNIQUE NULLS NOT DISTINCT, b numeric(3, 5));"
    "INSERT INTO strange.since_15 VALUES (NULL, 0.00999);"
    "CREATE VIEW strange.invoker WITH (security_invoker) AS SELECT a FROM strange.since_15",
    16: "CREATE TABLE strange.since_16 (id int, at timestamptz STORAGE PLAIN);"
    "INSERT INTO strange.since_16 VALUES (0x1f, 'infinity'), (1_000, '-infinity')",
    17: "CREATE TABLE strange.since_17 (id int GENERATED ALWAYS AS IDENTITY, span interval) PARTITION BY LIST (id);"
    "CREATE TABLE strange.since_17_all PARTITION OF strange.since_17 DEFAULT;"
    "INSERT INTO strange.since_17 (span) VALUES ('infinity'), ('-infinity')",
    18: "CREATE TABLE strange.since_18 (id int4range, valid daterange, double int4range GENERATED ALWAYS AS (id * id)"
    " VIRTUAL, CONSTRAINT full_id CHECK (NOT isempty(id)) NOT ENFORCED, PRIMARY KEY (id, valid WITHOUT OVERLAPS));"
    "INSERT INTO strange.since_18 VALUES ('[1,2)', '[2020-01-01,2021-01-01)'), ('[1,2)', '[2021-01-01,)')",
}
REFUSAL = "older than August 2025"
# Whatever a restore may lose besides rows. NOT NULL is a constraint from 18 on; from 14 on a range type makes more
# functions (for multiranges).
OBJECTS = """
    SELECT 'relation ' || relkind::text, count(*) FROM pg_class
     WHERE relnamespace::regnamespace::text = ANY(%(schemas)s) GROUP BY 1
    UNION ALL SELECT 'constraint ' || contype::text, count(*) FROM pg_constraint
     WHERE connamespace::regnamespace::text = ANY(%(schemas)s) AND contype <> 'n' AND convalidated GROUP BY 1
    UNION ALL SELECT 'function ' || prokind::text, count(*) FROM pg_proc
     WHERE pronamespace::regnamespace::text = ANY(%(schemas)s)
       AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal') GROUP BY 1
    UNION ALL SELECT 'trigger', count(*) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'policy', count(*) FROM pg_policy
    UNION ALL SELECT 'rule', count(*) FROM pg_rules WHERE schemaname = ANY(%(schemas)s)
    UNION ALL SELECT 'extended statistics', count(*) FROM pg_statistic_ext
    UNION ALL SELECT 'default ' || pg_get_expr(adbin, adrelid), count(*) FROM pg_attrdef GROUP BY 1
    UNION ALL SELECT 'comment ' || description, count(*) FROM pg_description
     WHERE objoid IN (SELECT oid FROM pg_class WHERE relnamespace::regnamespace::text = ANY(%(schemas)s)) GROUP BY 1
    UNION ALL SELECT 'sequence ' || schemaname || '.' || sequencename, last_value FROM pg_sequences
    UNION ALL SELECT 'row of a materialised view', count(*) FROM strange.by_mood"""


def psql_for(major: int) -> str:
    """Return the newest psql of a server's major version; if there is none, of all."""
    own = [version for version in PSQL_BINARIES if major_of(version) == major]
    return (own or list(PSQL_BINARIES))[-1]


def round_trips() -> Iterator[tuple[int, int, str]]:
    """Every server to itself and every newer one; and from oldest and newest with every psql to the newest."""
    majors = list(SERVER_BINARIES)
    trips = [(source, target, psql_for(target)) for source in majors for target in majors if target >= source]
    trips += [(source, majors[-1], psql) for source in (majors[0], majors[-1]) for psql in PSQL_BINARIES]
    yield from dict.fromkeys(trips)


def objects(conninfo: str) -> dict[str, int]:
    """Return how many there are of each kind of object, and where sequences stand."""
    with psycopg.connect(conninfo) as session:
        session.execute("SET search_path = ''")
        return dict(session.execute(OBJECTS.encode(), {"schemas": ["public", "strange"]}).fetchall())


@pytest.fixture(scope="module")
def source_of(
    started_postgres: Callable[[Path], EmbeddedPostgres], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], tuple[Path, dict[str, int]]]:
    """Give the archive of a version's server and what its database holds; each is made once."""
    made: dict[int, tuple[Path, dict[str, int]]] = {}

    def make(major: int) -> tuple[Path, dict[str, int]]:
        conninfo = started_postgres(SERVER_BINARIES[major]).create_database("source_of_versions")
        load_sample(conninfo, scale=0.02)
        # Not every server here ships it; the sample takes it where it is.
        run_sql(conninfo, "DROP EXTENSION IF EXISTS pg_trgm CASCADE")
        run_sql(conninfo, STRANGE, *(text for since, text in STRANGE_SINCE.items() if since <= major))
        folder = tmp_path_factory.mktemp(f"from_{major}")
        for name in ("backups", "config"):
            (folder / name).mkdir()
        pipeline = Pipeline(database_of(conninfo), folder / "backups", folder / "config", every_table(conninfo))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", ":".join(map(str, EVERY_BINARIES)), prepend=":")
            return pipeline.backup()[0], objects(conninfo)

    def source(major: int) -> tuple[Path, dict[str, int]]:
        if major not in made:
            made[major] = make(major)
        return made[major]

    return source


def every_table(conninfo: str) -> Scope:
    """Return a scope that takes all tables, one of them with a window."""
    with psycopg.connect(conninfo) as session:
        rows = session.execute(
            "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND nspname IN ('public', 'strange') AND relname <> 'credit_transactions'"
        )
        tables = [name for (name,) in rows]
    window = {"table": "credit_transactions", "column": "created_at"}
    return Scope.model_validate({"version": 1, "tables": {"all.sql": tables}, "windowed": {"credits.csv": window}})


def archive_script(archive: Path) -> str:
    unpacked = subprocess.run(["tar", "-xzOf", archive, "restore.sh"], capture_output=True, text=True, check=True)
    return unpacked.stdout


def knows_restrict(psql: Path) -> bool:
    answer = subprocess.run([psql, "--help=commands"], capture_output=True, text=True, check=True)
    return "unrestrict" in answer.stdout


@pytest.mark.parametrize("trip", list(round_trips()), ids=lambda trip: f"{trip[0]}-to-{trip[1]}-psql-{trip[2]}")
def test_archive_restored_on_the_same_or_a_newer_server_is_the_same(
    trip: tuple[int, int, str],
    source_of: Callable[[int], tuple[Path, dict[str, int]]],
    started_postgres: Callable[[Path], EmbeddedPostgres],
    tmp_path: Path,
) -> None:
    """Every byte, object and sequence comes back; a psql that cannot do it is refused before work starts."""
    source, target, psql = trip
    archive, expected = source_of(source)
    server = started_postgres(SERVER_BINARIES[target])
    folder = PSQL_BINARIES[psql]
    clients = Clients(folder / "psql", folder / "pg_dump", psql)
    name = f"from_{source}_by_{psql.replace('.', '_')}"
    restore = Restore(archive, database_of(server.conninfo(name)), clients, tmp_path)
    if not knows_restrict(clients.psql) and REFUSAL in archive_script(archive):
        with pytest.raises(RestoreError, match=REFUSAL):
            restore.run()
        return
    restore.run()
    assert objects(server.conninfo(name)) == expected
    run_sql(server.conninfo(), f"DROP DATABASE {name}")

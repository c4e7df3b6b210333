"""Load the sample into an empty database: tables, rows, then what follows the rows, in one transaction."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain, islice
from pathlib import Path

import psycopg
from psycopg import sql

from include.demo.sample.history import History
from include.demo.sample.logs import log_rows
from include.demo.sample.money import money_rows
from include.demo.sample.organizations import organization_rows
from include.demo.sample.people import people_rows
from include.demo.sample.rows import Rows
from include.demo.sample.settings import settings_rows

HERE = Path(__file__).parent
LINES_PER_BLOCK = 500
SESSION = "SET LOCAL client_encoding = 'UTF8'; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO';"
TABLES_AND_VIEWS = """
SELECT format('%I.%I', nspname, relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
AND NOT EXISTS (  -- extensions may bring some of their own with every new database
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
)
ORDER BY 1
"""


class SampleError(RuntimeError):
    """The sample cannot be loaded there; the message says why and what to do."""


@dataclass(frozen=True)
class SampleCounts:
    """How many rows each table of schema public got, by its name."""

    rows: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return the rows of all tables together."""
        return sum(self.rows.values())


def load_sample(conninfo: str, *, scale: float = 1.0, seed: int = 11, now: datetime | None = None) -> SampleCounts:
    """Create the sample's tables in an empty database and fill them with two years of history.

    Args:
        conninfo: A libpq connection string that names the database; its role must be able to create tables.
        scale: Multiplies users and transactions; anything below 0.01 is taken as 0.01.
        seed: The same seed, scale and `now` give exactly the same rows, whatever the server's version.
        now: Aware; where the history ends. The current time if None.

    Returns:
        The rows per table. All or nothing: when this raises, the database is as it was.

    Raises:
        SampleError: If the database already has tables or views.
        ValueError: If `now` is naive or `scale` is not above zero.
        psycopg.Error: If the server refuses.
    """
    end = datetime.now(timezone.utc) if now is None else now
    if end.tzinfo is None or not scale > 0:
        raise ValueError(f"cannot make a sample with now={end}, scale={scale}: now must be aware, scale above 0")
    history = History.of_scale(scale, seed=seed, now=end.astimezone(timezone.utc))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with connection.transaction():
            _refuse_tables(connection)
            counts = _load(connection, history)
        connection.execute("ANALYZE")
    return counts


def _refuse_tables(connection: psycopg.Connection) -> None:
    tables = [str(name) for (name,) in connection.execute(TABLES_AND_VIEWS)]
    if tables:
        raise SampleError(
            f'database "{connection.info.dbname}" is not empty: it has {len(tables)} tables or views, '
            f"{tables[0]} among them; create a new database for the sample"
        )


def _load(connection: psycopg.Connection, history: History) -> SampleCounts:
    connection.execute(SESSION)
    connection.execute((HERE / "schema.sql").read_bytes())
    counts = {rows.table: _copy(connection, rows) for rows in _all_rows(history)}
    connection.execute((HERE / "constraints.sql").read_bytes())
    return SampleCounts(counts)


def _all_rows(history: History) -> Iterator[Rows]:
    kinds = (settings_rows, people_rows, organization_rows, money_rows, log_rows)
    return chain.from_iterable(rows_of(history) for rows_of in kinds)


def _copy(connection: psycopg.Connection, rows: Rows) -> int:
    # FREEZE is allowed because this transaction created the table; the first backup then writes no hint bits.
    target = sql.SQL("COPY {} ({}) FROM STDIN WITH (FREEZE)").format(
        sql.Identifier("public", rows.table),
        sql.SQL(", ").join(map(sql.Identifier, rows.columns.split(", "))),
    )
    with connection.cursor() as cursor:
        with cursor.copy(target) as copy:
            for block in _blocks(rows.lines):
                copy.write(block)
        return cursor.rowcount


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    iterator = iter(lines)
    while block := "".join(islice(iterator, LINES_PER_BLOCK)):
        yield block

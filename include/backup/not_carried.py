"""What of a database no backup of this kind carries, or only with care: found before work starts, and named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from include.backup.catalog import Catalog, Session
from include.backup.names import QualifiedName
from include.backup.scope import Scope

# Measured with max_locks_per_transaction 64 and max_connections 100: one transaction can make 12,824 relations
# (tables, indexes, TOAST tables and their indexes, sequences, views) on PostgreSQL 15 and 14,905 on 18.
RELATIONS_AT_DEFAULT_LOCKS = 12_000
DEFAULT_CONNECTIONS = 100
SESSIONS_BESIDE_PARALLEL = 1  # the one that holds the snapshot; dumps count among the parallel ones

KINDS = {
    "f": "a foreign table: its rows are on another server; back them up there",
    "v": "a view: it has no rows of its own; take the tables that it reads",
    "m": "a materialised view: a restore fills it from the tables that it reads; take those",
}
_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)

_OTHER_RELATIONS = """
    SELECT n.nspname, c.relname, c.relkind, root_n.nspname, root.relname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_class root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
      LEFT JOIN pg_namespace root_n ON root_n.oid = root.relnamespace
     WHERE (c.relkind IN ('f', 'v', 'm') OR c.relispartition AND c.relkind IN ('r', 'p'))
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     ORDER BY 1, 2"""

# The view shows options only to those who may see them, and pg_dump writes what it shows.
_USER_MAPPINGS = """
    SELECT m.usename, m.srvname, array_agg(split_part(o, '=', 1))
      FROM pg_user_mappings m, unnest(m.umoptions) o GROUP BY 1, 2 ORDER BY 1, 2"""

_DATABASE_SETTINGS = """
    SELECT DISTINCT split_part(setting, '=', 1)
      FROM pg_db_role_setting s, unnest(s.setconfig) setting
     WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1"""

# What initdb made has lower numbers: src/include/access/transam.h, FirstNormalObjectId.
_RELATIONS = "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'"

_CONNECTION_LIMIT = "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user AND NOT rolsuper"


@dataclass(frozen=True)
class OtherRelation:
    """Something with a table's kind of name that is not a table to be taken; `root` is that of a partition."""

    name: QualifiedName
    kind: str
    root: QualifiedName | None

    @property
    def description(self) -> str:
        """What it is, and what to do."""
        if self.kind == "f" or not self.root:
            return KINDS[self.kind]
        return f"a partition of {self.root}: take that, with all its partitions"


def read_other_relations(session: Session) -> dict[QualifiedName, OtherRelation]:
    """Return the views, foreign tables and partitions of the session's database by name."""
    found = {}
    for schema, name, kind, root_schema, root_name in session.execute(_OTHER_RELATIONS):
        root = QualifiedName(root_schema, root_name) if root_name else None
        found[QualifiedName(schema, name)] = OtherRelation(QualifiedName(schema, name), kind, root)
    return found


def foreign_table_warnings(scope: Scope, others: Mapping[QualifiedName, OtherRelation]) -> Iterator[str]:
    """Give a warning that names the foreign tables that nobody has left out on purpose."""
    foreign = (name for name, one in others.items() if one.kind == "f")
    names = [str(name) for name in foreign if name not in scope.taken and not scope.excludes(name)]
    if names:
        yield f"foreign tables, whose rows are on another server, are not in this backup: {', '.join(names)}"


def not_carried_warnings(session: Session, catalog: Catalog) -> Iterator[str]:
    """Give what a person should know of the whole database, whatever the scope takes."""
    yield from _secret_warnings(session)
    settings = [name for (name,) in session.execute(_DATABASE_SETTINGS)]
    if settings:
        yield (
            f"settings made by ALTER DATABASE or ALTER ROLE … IN DATABASE are not in this backup: "
            f"{', '.join(settings)}; make them again after a restore (\\drds in psql shows them)"
        )
    if catalog.server.encoding == "SQL_ASCII":
        yield (
            f"database {catalog.server.database} is in SQL_ASCII, which checks nothing: one taken row that is not "
            "UTF-8 ends the export; convert the database to UTF8, or mend such rows"
        )
    yield from relations_warnings(int(session.execute(_RELATIONS).fetchone()[0]))  # type: ignore[index]


def relations_warnings(relations: int) -> Iterator[str]:
    """Give a warning if a server with default settings cannot make so many relations in one transaction."""
    if relations > RELATIONS_AT_DEFAULT_LOCKS:
        yield (
            f"{relations:,} tables, indexes, sequences and views: a restore makes them in one transaction, for which a "
            f"server with default settings has too few locks; set max_locks_per_transaction on the target to "
            f"{-(-relations // DEFAULT_CONNECTIONS)} or more (default 64), and restart it, before a restore"
        )


def connection_limit_errors(session: Session, *, role: str, parallel: int) -> Iterator[str]:
    """Give an error if the role may not have as many sessions as an export with so many parallel ones needs."""
    needed = parallel + SESSIONS_BESIDE_PARALLEL
    row = session.execute(_CONNECTION_LIMIT).fetchone()
    if row and 0 <= row[0] < needed:
        yield (
            f"role {role} may have {row[0]} connections; an export with BACKUP_PARALLEL={parallel} needs {needed}: "
            f"ALTER ROLE {role} CONNECTION LIMIT {needed}, or lower BACKUP_PARALLEL"
        )


def _secret_warnings(session: Session) -> Iterator[str]:
    for role, server, options in session.execute(_USER_MAPPINGS):
        secrets = [name for name in options if _SECRET.search(name)]
        if secrets:
            yield (
                f"the user mapping of {role} for server {server} is in schema.sql with its {', '.join(secrets)} in "
                "clear, because this role may see it: keep the archive as safe as that, or back up with a role that "
                "may not"
            )

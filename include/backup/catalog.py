"""What the database holds: tables, columns, keys, sequences, and what this role may read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from include.backup.manifest import ServerRecord
from include.backup.names import QualifiedName, quote

Session = psycopg.Connection[Any]

# Objects of extensions come back with CREATE EXTENSION; they are not the user's tables.
_OF_EXTENSION = """
    EXISTS (SELECT FROM pg_depend d
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"""

_USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_TABLES = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
               AND coalesce((SELECT bool_and(has_table_privilege(p.relid, 'SELECT'))
                               FROM pg_partition_tree(c.oid) p), true),
           row_security_active(c.oid),
           ARRAY(SELECT f.oid::regclass::text FROM pg_partition_tree(c.oid) p JOIN pg_class f ON f.oid = p.relid
                  WHERE f.relkind = 'f' ORDER BY 1),
           -- Not pg_relation_size: it would wait for whoever has locked the table.
           current_setting('block_size')::bigint * coalesce((
               SELECT sum(greatest(0, leaf.relpages) + greatest(0, coalesce(toast.relpages, 0)))
                 FROM (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) part (oid)
                 JOIN pg_class leaf USING (oid) LEFT JOIN pg_class toast ON toast.oid = leaf.reltoastrelid), 0)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
       AND {_USER_SCHEMA} AND NOT {_OF_EXTENSION}"""

# Since PostgreSQL 18 a column is called NOT NULL while its constraint may not have been validated yet.
_COLUMNS = """
    SELECT attrelid, attname, format_type(atttypid, NULL), attgenerated <> '', format_type(atttypid, atttypmod),
           attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'n' AND k.conrelid = attrelid
                                         AND k.conkey = ARRAY[attnum] AND NOT k.convalidated)
      FROM pg_attribute WHERE attrelid = ANY(%s) AND attnum > 0 AND NOT attisdropped
     ORDER BY attrelid, attnum"""

# Only the leading column of an index narrows a range on that column.
_INDEXED = """
    SELECT i.indrelid, a.attname
      FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = ANY(%s) AND i.indisvalid AND i.indpred IS NULL"""

# A key of a partition counts as one of its root's, which is the table that is taken: the columns have the same names.
# The operator is the key's own: under the pinned search_path `=` may be another one (citext), and the last column
# of a temporal key is compared by overlap.
_FOREIGN_KEYS = """
    SELECT k.conname, own.root, other.root, k.convalidated, n.nspname, c.relname, c.relkind = 'p',
           (SELECT array_agg(a.attname ORDER BY u.position)
              FROM unnest(k.conkey) WITH ORDINALITY u (number, position)
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number),
           (SELECT array_agg(a.attname ORDER BY u.position)
              FROM unnest(k.confkey) WITH ORDINALITY u (number, position)
              JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number),
           (SELECT array_agg(CASE WHEN (to_jsonb(k) ->> 'conperiod')::bool AND u.position = cardinality(k.conpfeqop)
                                  THEN 'pg_catalog.&&' ELSE quote_ident(o_n.nspname) || '.' || o.oprname END
                             ORDER BY u.position)
              FROM unnest(k.conpfeqop) WITH ORDINALITY u (number, position)
              JOIN pg_operator o ON o.oid = u.number JOIN pg_namespace o_n ON o_n.oid = o.oprnamespace)
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
           LATERAL (SELECT coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid) AS root) own,
           LATERAL (SELECT coalesce(pg_partition_root(k.confrelid)::oid, k.confrelid) AS root) other
     WHERE k.contype = 'f' AND k.conparentid = 0 AND own.root = ANY(%s) AND other.root = ANY(%s)
     ORDER BY n.nspname, c.relname, k.conname"""

# CREATE POLICY and CREATE USER MAPPING name roles, which a restore has to find; 0 is PUBLIC.
_POLICY_ROLES = """
    SELECT r.rolname FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles)
     UNION SELECT r.rolname FROM pg_user_mappings m JOIN pg_roles r ON r.oid = m.umuser ORDER BY 1"""

_SEQUENCES = f"""
    SELECT n.nspname, c.relname,
           has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT')
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_USER_SCHEMA} AND NOT {_OF_EXTENSION}
     ORDER BY 1, 2"""

_SERVER = """
    SELECT current_setting('server_version_num')::int, current_setting('server_version'),
           current_database(), pg_encoding_to_char(encoding), datcollate, datctype,
           -- Since PostgreSQL 15; the locale's column had another name before 17.
           coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules'
      FROM pg_database d WHERE datname = current_database()"""


@dataclass(frozen=True)
class Column:
    """
    A column; a generated one is computed on load and never exported. `sql_type` is for CREATE TABLE.

    `not_null` if no row can lack a value.
    """

    name: str
    type: str
    generated: bool
    sql_type: str
    not_null: bool = False


@dataclass(frozen=True)
class Table:
    """
    A table or the root of a partitioned one. `bytes` is the last ANALYZE's, of all partitions together.

    Rows of `foreign_partitions` are on another server.
    """

    name: QualifiedName
    partitioned: bool
    readable: bool
    row_security: bool
    bytes: int
    columns: tuple[Column, ...]
    indexed: frozenset[str]
    foreign_partitions: tuple[str, ...] = ()

    @property
    def exported_columns(self) -> tuple[str, ...]:
        """The columns that are exported, in the table's order."""
        return tuple(column.name for column in self.columns if not column.generated)

    @property
    def exported_types(self) -> tuple[str, ...]:
        """The types of the exported columns, as CREATE TABLE wants them."""
        return tuple(column.sql_type for column in self.columns if not column.generated)

    @property
    def has_line_break(self) -> bool:
        """Whether its name or an exported column's has one: psql cannot load it, and it ends a comment in a script."""
        return any(re.search(r"[\r\n]", name) for name in (self.name.schema, self.name.name, *self.exported_columns))

    def column(self, name: str) -> Column | None:
        """Return the column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class ForeignKey:
    """
    Rows of `table` refer to rows of `referenced` by these columns, pair by pair, compared by these operators.

    `declared_on` is the table itself or one of its partitions, `partitioned` whether that has partitions.
    """

    name: str
    table: QualifiedName
    columns: tuple[str, ...]
    referenced: QualifiedName
    referenced_columns: tuple[str, ...]
    validated: bool
    operators: tuple[str, ...]
    declared_on: QualifiedName
    partitioned: bool

    def join_sql(self, alias: str, referenced_alias: str) -> str:
        """Return the SQL condition that joins a row to the one that it refers to."""
        pairs = zip(self.columns, self.referenced_columns, self.operators, strict=True)
        return " AND ".join(
            f"{referenced_alias}.{quote(other)} OPERATOR({operator}) {alias}.{quote(own)}"
            for own, other, operator in pairs
        )


@dataclass(frozen=True)
class SequenceName:
    """A sequence and whether this role may read its value."""

    name: QualifiedName
    readable: bool


@dataclass(frozen=True)
class Catalog:
    """All of it, as one session sees it."""

    server: ServerRecord
    tables: Mapping[QualifiedName, Table]
    foreign_keys: tuple[ForeignKey, ...]
    sequences: tuple[SequenceName, ...]
    policy_roles: tuple[str, ...]
    large_objects: bool


def _read_server(session: Session) -> ServerRecord:
    """Return where the session is connected to, and what a new database would have to be created with."""
    row = session.execute(_SERVER).fetchone()
    assert row is not None  # noqa: S101 - one's own database always exists
    names = [
        "version_number",
        "version",
        "database",
        "encoding",
        "collate",
        "ctype",
        "locale_provider",
        "locale",
        "icu_rules",
    ]
    return ServerRecord(host=session.info.host, port=session.info.port, **dict(zip(names, row, strict=True)))


def read_catalog(session: Session) -> Catalog:
    """Return what the session's database holds, without the server's own and the extensions' objects."""
    rows = session.execute(_TABLES).fetchall()
    oids = [row[0] for row in rows]
    columns = _by_table(session.execute(_COLUMNS, [oids]).fetchall())
    indexed = _by_table(session.execute(_INDEXED, [oids]).fetchall())
    names = {oid: QualifiedName(schema, name) for oid, schema, name, *_ in rows}
    tables = {
        names[oid]: Table(
            name=names[oid],
            partitioned=kind == "p",
            readable=readable,
            row_security=row_security,
            bytes=int(size),
            columns=tuple(Column(*column) for column in columns.get(oid, ())),
            indexed=frozenset(name for (name,) in indexed.get(oid, ())),
            foreign_partitions=tuple(foreign),
        )
        for oid, _, _, kind, readable, row_security, foreign, size in rows
    }
    foreign_keys = tuple(
        ForeignKey(
            name,
            names[table],
            tuple(own),
            names[referenced],
            tuple(keys),
            validated=validated,
            operators=tuple(operators),
            declared_on=QualifiedName(schema, declared_on),
            partitioned=partitioned,
        )
        for name, table, referenced, validated, schema, declared_on, partitioned, own, keys, operators in (
            session.execute(_FOREIGN_KEYS, [oids, oids])
        )
    )
    sequences = tuple(
        SequenceName(QualifiedName(schema, name), readable) for schema, name, readable in session.execute(_SEQUENCES)
    )
    policy_roles = tuple(name for (name,) in session.execute(_POLICY_ROLES))
    large_objects = session.execute("SELECT EXISTS (SELECT FROM pg_largeobject_metadata)").fetchone()
    return Catalog(
        _read_server(session), tables, foreign_keys, sequences, policy_roles, bool(large_objects and large_objects[0])
    )


def _by_table(rows: Sequence[Sequence[Any]]) -> dict[int, list[Sequence[Any]]]:
    grouped: dict[int, list[Sequence[Any]]] = {}
    for oid, *rest in rows:
        grouped.setdefault(oid, []).append(rest)
    return grouped

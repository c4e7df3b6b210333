"""What stands around the tables of a generated database: keys between them, views, triggers, policies, comments."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from include.backup.names import quote, quote_literal
from tests.schema_cases import CaseBuilder, CaseTable, SchemaCase
from tests.schema_values import texts


@st.composite
def schema_cases(draw: Any, *, major: int, xml: bool) -> SchemaCase:
    """Draw a database that at least one table is taken of."""
    builder = CaseBuilder(draw, major=major, xml=xml)
    for _ in range(builder.pick((4, 1, 2, 3, 6, 8))):
        builder.add_table()
    if all(table.taken == "left out" for table in builder.tables):
        builder._table(builder.object_name(line_breaks=False), "plain", "whole")
    for table in list(builder.tables):
        _add_key(builder, table)
        _add_surroundings(builder, table)
    _set_sequence(builder)
    return SchemaCase(tuple(builder.statements), builder.scope())


def _add_key(builder: CaseBuilder, table: CaseTable) -> None:
    """A foreign key, perhaps to the table itself or in a circle; a taken row never refers to what is left out."""
    unlogged = table.kind == "unlogged"  # a permanent table refers to permanent ones only
    targets = [other for other in builder.tables if other.key and (unlogged or other.kind != "unlogged")]
    if not targets or table.kind in ("empty", "child") or not builder.chance():
        return
    target, column = builder.pick(targets), builder.new_name(line_breaks=table.taken == "left out")
    builder.statements.append(f"ALTER TABLE {table.name.sql} ADD COLUMN {quote(column)} bigint")
    if target.ids and (target.taken != "left out" or table.taken == "left out"):
        builder.statements += [
            f"UPDATE {table.name.sql} SET {quote(column)} = {builder.pick(target.ids)} WHERE id = {number}"
            for number in table.ids
            if builder.chance()
        ]
    how = builder.pick(("", "DEFERRABLE INITIALLY DEFERRED", "ON DELETE CASCADE"))
    key = f"ADD CONSTRAINT {quote(builder.new_name())} FOREIGN KEY ({quote(column)}) REFERENCES {target.name.sql} {how}"
    builder.statements.append(f"ALTER TABLE {table.name.sql} {key}")


def _add_surroundings(builder: CaseBuilder, table: CaseTable) -> None:
    """Some of: views on views, materialised views, a trigger, a rule, row security, indexes, comments."""
    made = (_views, _materialised, _trigger, _rule, _row_security, _index, _comment)
    for add in builder.draw(st.lists(st.sampled_from(made), max_size=2, unique=True)):
        builder.statements += add(builder, table)


def _views(builder: CaseBuilder, table: CaseTable) -> list[str]:
    first, second = builder.object_name(), builder.object_name()
    return [
        f"CREATE VIEW {first.sql} WITH (security_barrier) AS SELECT * FROM {table.name.sql}",
        f"CREATE VIEW {second.sql} AS SELECT count(*) FROM {first.sql}",
    ]


def _materialised(builder: CaseBuilder, table: CaseTable) -> list[str]:
    first, second = builder.object_name(), builder.object_name()
    return [
        f"CREATE MATERIALIZED VIEW {first.sql} AS SELECT count(*) AS n FROM {table.name.sql}",
        f"CREATE MATERIALIZED VIEW {second.sql} AS SELECT n + 1 AS n FROM {first.sql}",
        f"CREATE UNIQUE INDEX {quote(builder.new_name())} ON {second.sql} (n)",
    ]


def _trigger(builder: CaseBuilder, table: CaseTable) -> list[str]:
    """If it fired for a loaded row, the restore would fail."""
    function, trigger = builder.object_name(), quote(builder.new_name())
    body = f"$x$BEGIN RAISE 'fired'; END -- {builder.new_name(line_breaks=False).replace('$', '')}\n$x$"
    state = builder.pick(("ENABLE", "ENABLE ALWAYS", "DISABLE"))
    return [
        f"CREATE FUNCTION {function.sql}() RETURNS trigger LANGUAGE plpgsql AS {body}",
        f"CREATE TRIGGER {trigger} AFTER INSERT ON {table.name.sql} FOR EACH ROW EXECUTE FUNCTION {function.sql}()",
        f"ALTER TABLE {table.name.sql} {state} TRIGGER {trigger}",
    ]


def _rule(builder: CaseBuilder, table: CaseTable) -> list[str]:
    return [f"CREATE RULE {quote(builder.new_name())} AS ON INSERT TO {table.name.sql} DO INSTEAD NOTHING"]


def _row_security(builder: CaseBuilder, table: CaseTable) -> list[str]:
    return [
        f"ALTER TABLE {table.name.sql} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table.name.sql} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY {quote(builder.new_name())} ON {table.name.sql} AS RESTRICTIVE USING (false)",
    ]


def _index(builder: CaseBuilder, table: CaseTable) -> list[str]:
    """On an expression with a function of the database's own."""
    if table.kind == "empty":
        return []
    function, index = builder.object_name(), quote(builder.new_name())
    return [
        f"CREATE FUNCTION {function.sql}(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1'",
        f"CREATE INDEX {index} ON {table.name.sql} ({function.sql}(id)) WHERE {function.sql}(id) > 0",
        f"CREATE STATISTICS {builder.object_name().sql} ON id, (id + 1) FROM {table.name.sql}",
    ]


def _comment(builder: CaseBuilder, table: CaseTable) -> list[str]:
    text = quote_literal(builder.draw(texts))
    on_column = [] if table.kind == "empty" else [f"COMMENT ON COLUMN {table.name.sql}.id IS {text}"]
    return [f"COMMENT ON TABLE {table.name.sql} IS {text}", *on_column]


def _set_sequence(builder: CaseBuilder) -> None:
    value, called = builder.pick((1, -7, 2147483647)), str(builder.chance()).lower()
    builder.statements.append(f"SELECT setval({quote_literal(builder.sequence.sql)}, {value}, {called})")

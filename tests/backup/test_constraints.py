"""NOT VALID lands in the statements of the keys meant, and nowhere else."""

from __future__ import annotations

import pytest

from include.backup.catalog import ForeignKey
from include.backup.constraints import ConstraintsDump
from include.backup.errors import BackupError
from include.backup.names import QualifiedName

STATEMENT = (
    b"ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_fk FOREIGN KEY (c) REFERENCES public.customers(id)"
)
ODD = (
    b'ALTER TABLE "Odd.Schema"."a ""b"";\nc"\n    ADD CONSTRAINT "it\'s; ""it""" FOREIGN KEY ("x;"" y") '
    b'REFERENCES public."T"(";") ON DELETE SET NULL ("x;"" y") DEFERRABLE INITIALLY DEFERRED'
)


def foreign_key(name: str, table: QualifiedName) -> ForeignKey:
    referenced = QualifiedName("public", "customers")
    return ForeignKey(
        name,
        table,
        ("c",),
        referenced,
        ("id",),
        validated=True,
        operators=("pg_catalog.=",),
        declared_on=table,
        partitioned=False,
    )


ORDERS_FK = foreign_key("orders_fk", QualifiedName("public", "orders"))
ODD_FK = foreign_key('it\'s; "it"', QualifiedName("Odd.Schema", 'a "b";\nc'))


def dumped(text: bytes, *keys: ForeignKey, block_bytes: int = 7) -> bytes:
    """Send the text through in small blocks."""
    out = bytearray()
    dump = ConstraintsDump(out.extend, keys)
    for start in range(0, len(text), block_bytes):
        dump.take(text[start : start + block_bytes])
    dump.flush()
    return bytes(out)


def test_statement_of_the_key_gets_not_valid_and_others_stay() -> None:
    """Only the key's own table and name count; a key of the same name on another table stays as it is."""
    same_name = STATEMENT.replace(b"public.orders", b"sales.orders")
    other_key = STATEMENT.replace(b"orders_fk", b"orders_fk2")
    text = b"\n\n".join((same_name + b";", STATEMENT + b";", other_key + b";", b""))
    assert dumped(text, ORDERS_FK) == text.replace(STATEMENT, STATEMENT + b" NOT VALID")


def test_names_with_quotes_semicolons_and_line_feeds_are_found() -> None:
    """The end of the statement is the semicolon outside the names."""
    assert dumped(ODD + b";\n" + STATEMENT + b";\n", ODD_FK) == ODD + b" NOT VALID;\n" + STATEMENT + b";\n"


@pytest.mark.parametrize(
    "opaque",
    [
        b"COMMENT ON INDEX public.i IS 'it''s\n" + STATEMENT + b";';\n",
        b"COMMENT ON INDEX public.i IS E'\\'\n" + STATEMENT + b";';\n",
        b"CREATE FUNCTION f() AS $_$\n" + STATEMENT + b";$_$;\n",
        b"CREATE FUNCTION f() AS $$\n" + STATEMENT + b";$$;\n",
        b"-- it's " + STATEMENT.replace(b"\n", b" ") + b";\n",
        b'CREATE INDEX "\n' + STATEMENT + b';" ON public.t;\n',
        b"COMMENT ON INDEX public.i IS 'a backslash \\';\n",
    ],
)
def test_statement_inside_a_string_name_or_comment_is_left_alone(opaque: bytes) -> None:
    """Only the real statement is changed, wherever its text may stand again."""
    text = opaque + STATEMENT + b";\n" + opaque
    assert dumped(text, ORDERS_FK) == opaque + STATEMENT + b" NOT VALID;\n" + opaque


def test_key_without_a_statement_is_an_error() -> None:
    """An archive whose restore would fail is not made."""
    with pytest.raises(BackupError, match="no statement for the foreign key orders_fk of orders"):
        dumped(b"COMMENT ON INDEX public.i IS '" + STATEMENT + b";';\n", ORDERS_FK)


def test_dump_without_such_keys_passes_through_block_by_block() -> None:
    """Nothing is held back."""
    blocks: list[bytes] = []
    dump = ConstraintsDump(blocks.append, ())
    dump.take(b"one")
    assert blocks == [b"one"]
    dump.take(b"two")
    dump.flush()
    assert b"".join(blocks) == b"onetwo"

"""Reading exported rows again, from bytes made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.backup.manifest import TableRecord
from include.backup.rows import RowsError, read_copy_file, read_csv_file

if TYPE_CHECKING:
    from tests.fix_archives import MakeTable

COPY_FILE = (
    b"-- Rows of users, roles and empty.\n-- COPY is not at the start of this line: COPY x\n"
    b'\nCOPY "public"."users" ("id", "name", "bio") FROM stdin;\n'
    b"1\tAda\tone\\ntwo\n"
    b"2\t\\N\t\n"
    b'3\t"quoted"\tC:\\\\Users\\\\. and\\ta tab\n'
    b"4\tCOPY x FROM stdin;\t\\\\.\n"
    b"\\.\n"
    b'\nCOPY "audit"."Odd ""table""" ("only") FROM stdin;\n'
    b"\n\\N\n\\\\.\nCOPY \n"
    b"\\.\n"
    b'\nCOPY "public"."nothing" FROM stdin;\n'
    b"\n\n\n"
    b"\\.\n"
    b'\nCOPY "public"."empty" ("id", "name") FROM stdin;\n'
    b"\\.\n"
)

CSV_FILE = (
    b"id,note,at\n"
    b"1,,2026-11-20\n"
    b'2,"",\n'
    b'3,"two\nlines, a comma and ""quotes""",x\n'
    b'4,"a\n\\.\nb\r\n",x\n'
    b'5,"""",\n'
    b'6,",\n,",a\tb\\\n'
)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def copy_tables(table: MakeTable) -> list[TableRecord]:
    return [
        table("users", "a.sql", ("id", "name", "bio"), rows=4),
        table('Odd "table"', "a.sql", ("only",), schema="audit", rows=4),
        table("nothing", "a.sql", (), rows=3),
        table("empty", "a.sql", ("id", "name")),
    ]


def read_copy(content: bytes, *tables: TableRecord) -> int:
    return read_copy_file([content], tables)


def refused_copy(content: bytes, *tables: TableRecord) -> str:
    with pytest.raises(RowsError) as caught:
        read_copy(content, *tables)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


def refused_csv(content: bytes, *tables: TableRecord) -> str:
    with pytest.raises(RowsError) as caught:
        read_csv_file([content], tables)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


def test_copy_any_block_boundary_same_result(table: MakeTable) -> None:
    """Wherever the blocks end, the rows are counted right: values with newlines, tabs, backslashes and quotes."""
    tables = copy_tables(table)
    for size in range(1, len(COPY_FILE) + 1):
        assert read_copy_file(pieces(COPY_FILE, size), tables) == 11, f"in blocks of {size}"


def test_copy_two_blocks_same_result(table: MakeTable) -> None:
    """Cut in two at any position, with empty blocks between, the result is the same."""
    tables = copy_tables(table)
    for cut in range(len(COPY_FILE) + 1):
        blocks = [COPY_FILE[:cut], b"", COPY_FILE[cut:]]
        assert read_copy_file(blocks, tables) == 11, f"cut at {cut}"


def test_copy_truncated_anywhere_refused(table: MakeTable) -> None:
    """However much is missing, it is noticed."""
    tables = copy_tables(table)
    for length in range(len(COPY_FILE)):
        refused_copy(COPY_FILE[:length], *tables)


@pytest.mark.parametrize(
    ("row", "seen"),
    [(b"1\tAda\tx\ty\n", 4), (b"1\tAda\n", 2), (b"\n", 1), (b"1 Ada x\n", 1)],
)
def test_copy_column_too_many_or_few_named(table: MakeTable, row: bytes, seen: int) -> None:
    """A row with other columns is refused with what was seen and expected."""
    content = b'COPY "public"."users" ("id", "name", "bio") FROM stdin;\n' + row + b"\\.\n"
    message = refused_copy(content, table("users", "a.sql", ("id", "name", "bio"), rows=1))
    assert message == f"a row of users has {seen} columns, expected 3"


def test_copy_column_too_many_of_one_refused(table: MakeTable) -> None:
    """A table of one column has no separators; a row with one is wrong."""
    content = b'COPY "public"."a" ("x") FROM stdin;\n1\t2\n\\.\n'
    assert "2 columns, expected 1" in refused_copy(content, table("a", "a.sql", ("x",), rows=1))


@pytest.mark.parametrize("columns", [("y", "x"), ("x", "z"), ("x",), ("x", "y", "z"), ()])
def test_copy_columns_other_than_the_manifest_refused(table: MakeTable, columns: tuple[str, ...]) -> None:
    """The statement names the manifest's columns in its order, also where there are no rows to count them in."""
    content = b'COPY "public"."a" ("x", "y") FROM stdin;\n\\.\n'
    assert "a" in refused_copy(content, table("a", "a.sql", columns))


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_copy_rows_too_many_or_few_named(table: MakeTable, rows: int) -> None:
    """Another number of rows than the manifest's is refused with both numbers."""
    content = b'COPY "public"."a" ("x", "y") FROM stdin;\n1\t2\n3\t4\n\\.\n'
    message = refused_copy(content, table("a", "a.sql", ("x", "y"), rows=rows))
    assert message == f"a has 2 rows, the manifest says {rows}"


def test_copy_terminator_missing_named(table: MakeTable) -> None:
    """Rows without an end are refused, with the table's name."""
    content = b'COPY "public"."a" ("x", "y") FROM stdin;\n1\t2\n'
    assert refused_copy(content, table("a", "a.sql", ("x", "y"), rows=1)) == "the rows of a have no end"


def test_copy_terminator_missing_between_tables_refused(table: MakeTable) -> None:
    """The next table's statement is not taken for a row."""
    content = b'COPY "public"."a" ("x", "y") FROM stdin;\n1\t2\nCOPY "public"."b" ("x", "y") FROM stdin;\n\\.\n'
    tables = [table(name, "a.sql", ("x", "y"), rows=1) for name in ("a", "b")]
    assert "a" in refused_copy(content, *tables)


def test_copy_unknown_block_refused(table: MakeTable) -> None:
    """A block that the manifest does not know is refused, wherever it stands."""
    own, other = (f'\nCOPY "public"."{name}" ("x", "y") FROM stdin;\n\\.\n'.encode() for name in "ab")
    record = table("a", "a.sql", ("x", "y"))
    assert read_copy(own, record) == 0
    assert "does not know" in refused_copy(own + other, record)
    assert "expected the rows of a" in refused_copy(other + own, record)
    assert "does not know" in refused_copy(own + own, record)
    assert "does not know" in refused_copy(own)


def test_copy_table_missing_named(table: MakeTable) -> None:
    """A table of the manifest without its block is refused."""
    tables = [table("a", "a.sql", ("x", "y")), table("b", "a.sql", ("x", "y"))]
    content = b'COPY "public"."a" ("x", "y") FROM stdin;\n\\.\n'
    assert refused_copy(content, *tables) == "the rows of b are missing"
    assert refused_copy(b"", *tables) == "the rows of a are missing"


def test_copy_order_other_refused(table: MakeTable) -> None:
    """Blocks are in the manifest's order, which is the load order."""
    content = b"".join(f'COPY "public"."{name}" ("x", "y") FROM stdin;\n\\.\n'.encode() for name in "ba")
    refused_copy(content, *(table(name, "a.sql", ("x", "y")) for name in "ab"))


@pytest.mark.parametrize(("schema", "name"), [("public", "users_old"), ("other", "users"), ("public", 'users"s')])
def test_copy_similar_name_is_another_table(table: MakeTable, schema: str, name: str) -> None:
    """A name that only begins alike, or is the same in another schema, is another table."""
    quoted = name.replace('"', '""')
    content = f'COPY "{schema}"."{quoted}" ("x", "y") FROM stdin;\n\\.\n'.encode()
    assert "expected the rows of users" in refused_copy(content, table("users", "a.sql", ("x", "y")))


def test_copy_no_tables_no_rows() -> None:
    """A file of remarks holds no rows."""
    assert read_copy(b"-- nothing\n\n") == 0


def test_csv_any_block_boundary_same_result(table: MakeTable) -> None:
    """Wherever the blocks end, quoted newlines, commas, quotes and end-of-data look-alikes are read right."""
    record = table("a", "a.csv", ("id", "note", "at"), rows=6)
    for size in range(1, len(CSV_FILE) + 1):
        assert read_csv_file(pieces(CSV_FILE, size), [record]) == 6, f"in blocks of {size}"


def test_csv_truncated_anywhere_refused(table: MakeTable) -> None:
    """However much is missing, it is noticed."""
    record = table("a", "a.csv", ("id", "note", "at"), rows=6)
    for length in range(len(CSV_FILE)):
        refused_csv(CSV_FILE[:length], record)


def test_csv_header_alone_is_an_empty_table(table: MakeTable) -> None:
    """No rows are no error."""
    assert read_csv_file([b"id,note,at\n"], [table("a", "a.csv", ("id", "note", "at"))]) == 0


def test_csv_header_missing_refused(table: MakeTable) -> None:
    """A file without any byte has lost its header; the message does not speak of -1 rows."""
    message = refused_csv(b"", table("a", "a.csv", ("id", "note")))
    assert "header" in message
    assert "-1" not in message


@pytest.mark.parametrize("header", [b"note,id\n", b"id,other\n", b"1,x\n", b'"id","note,"\n'])
def test_csv_header_other_than_the_manifest_refused(table: MakeTable, header: bytes) -> None:
    """The header names the manifest's columns in its order."""
    refused_csv(header + b"1,x\n", table("a", "a.csv", ("id", "note"), rows=1))


def test_csv_header_with_odd_names_read(table: MakeTable) -> None:
    """Names with commas, quotes and newlines are quoted as values are."""
    columns = ("a,b", 'say "x"', "two\nlines")
    content = b'"a,b","say ""x""","two\nlines"\n1,2,3\n'
    assert read_csv_file([content], [table("a", "a.csv", columns, rows=1)]) == 1


def test_csv_one_column_empty_lines_are_rows(table: MakeTable) -> None:
    """In a table of one column a NULL is an empty line."""
    assert read_csv_file([b'x\n\n""\n1\n'], [table("a", "a.csv", ("x",), rows=3)]) == 3


def test_csv_no_column_empty_lines_are_rows(table: MakeTable) -> None:
    """In a table without columns every line is empty, the header too."""
    assert read_csv_file([b"\n\n\n"], [table("a", "a.csv", (), rows=2)]) == 2


@pytest.mark.parametrize(("row", "seen"), [(b"1,2,3,4\n", 4), (b"1,2\n", 2), (b'"1,2,3"\n', 1), (b"\n", 1)])
def test_csv_column_too_many_or_few_named(table: MakeTable, row: bytes, seen: int) -> None:
    """A record with other columns is refused with what was seen and expected."""
    message = refused_csv(b"id,note,at\n" + row, table("a", "a.csv", ("id", "note", "at"), rows=1))
    assert message == f"a row of a has {seen} columns, expected 3"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_csv_rows_too_many_or_few_named(table: MakeTable, rows: int) -> None:
    """Another number of rows than the manifest's is refused with both numbers."""
    message = refused_csv(b'id,note\n1,"a\nb"\n2,\n', table("a", "a.csv", ("id", "note"), rows=rows))
    assert message == f"a has 2 rows, the manifest says {rows}"


def test_csv_ends_inside_quotes_refused(table: MakeTable) -> None:
    """An open quote swallows everything after it; that is said, not miscounted."""
    message = refused_csv(b'id,note\n1,"open\n2,\n', table("a", "a.csv", ("id", "note"), rows=2))
    assert "inside quotes" in message


def test_csv_last_line_without_end_refused(table: MakeTable) -> None:
    """COPY ends every line; a last line without its end was cut."""
    assert "no end" in refused_csv(b"id,note\n1,a", table("a", "a.csv", ("id", "note"), rows=1))


@pytest.mark.parametrize("count", [0, 2])
def test_csv_not_exactly_one_table_refused(table: MakeTable, count: int) -> None:
    """A CSV file holds one table; another number in the manifest is said plainly."""
    message = refused_csv(b"x\n", *[table("a", "a.csv", ("x",))] * count)
    assert "unpack" not in message


CELLS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8))


def as_csv(value: str | None) -> str:
    """Write a value as COPY does: NULL is empty, the empty string is quoted."""
    if value is None:
        return ""
    quoted = value == "" or any(character in value for character in ',"\n\r') or value == "\\."
    return '"' + value.replace('"', '""') + '"' if quoted else value


def as_copy(value: str | None) -> str:
    """Write a value as COPY text does."""
    if value is None:
        return "\\N"
    escapes = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    return "".join(escapes.get(character, character) for character in value)


@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n))), st.integers(1, 64))
def test_rows_any_values_counted(rows: list[list[str | None]], size: int) -> None:
    """Whatever the values are, both forms give the number of rows, in any blocks."""
    columns = [f"c{number}" for number in range(len(rows[0]) if rows else 2)]
    facts = {"rows": len(rows), "rows_by_reference": 0, "offset": 0, "bytes": 0, "sha256": "0" * 64, "window": None}
    facts |= {"partitioned": False, "types": ["text"] * 9}
    record = TableRecord.model_validate(
        {"schema": "public", "name": "a", "file": "a", "columns": columns, **facts},
    )
    csv = ",".join(columns) + "\n" + "".join(",".join(map(as_csv, row)) + "\n" for row in rows)
    assert read_csv_file(pieces(csv.encode(), size), [record]) == len(rows)
    names = ", ".join(f'"{column}"' for column in columns)
    lines = "".join("\t".join(map(as_copy, row)) + "\n" for row in rows)
    copy = f'COPY "public"."a" ({names}) FROM stdin;\n{lines}\\.\n'
    assert read_copy_file(pieces(copy.encode(), size), [record]) == len(rows)

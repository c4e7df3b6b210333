"""Names: how scope.yaml writes them, how SQL quotes them, and how people see them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.backup.errors import PrerequisiteError
from include.backup.names import QualifiedName, printable, quote, quote_literal

IDENTIFIERS = st.text(min_size=1)


def unquote(quoted: str) -> str:
    """Read a quoted identifier as SQL does; fail where it would end early."""
    assert quoted[0] == quoted[-1] == '"'
    assert len(quoted) >= 2
    inner = quoted[1:-1]
    assert '"' not in inner.replace('""', "")
    return inner.replace('""', '"')


def read_literal(literal: str) -> str:
    """Read a string literal as PostgreSQL does; fail where it would end early."""
    escaped = literal.startswith("E")
    inner = literal[2:-1] if escaped else literal[1:-1]
    assert literal[escaped] == literal[-1] == "'"
    assert "'" not in inner.replace("''", "")
    if not escaped:
        assert "\\" not in inner  # its meaning would depend on standard_conforming_strings
        return inner.replace("''", "'")
    assert "\\" not in inner.replace("\\\\", "")
    return inner.replace("''", "'").replace("\\\\", "\\")


@given(IDENTIFIERS, IDENTIFIERS)
@example("public", "users")
@example("a.b", 'c"d')
@example('"', '""')
@example("public", "public.users")
def test_qualified_name_any_text_round_trips(schema: str, name: str) -> None:
    """What is written as scope.yaml has it is read as the same name."""
    qualified = QualifiedName(schema, name)
    assert QualifiedName.parse(str(qualified)) == qualified


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("users", "public", "users"),
        ("public.users", "public", "users"),
        ("audit.events", "audit", "events"),
        ("Users", "public", "Users"),
        ('"odd.name"', "public", "odd.name"),
        ('"Odd.Schema"."Odd ""table"""', "Odd.Schema", 'Odd "table"'),
        ("with space", "public", "with space"),
        ("ผู้ใช้", "public", "ผู้ใช้"),
    ],
)
def test_parse_well_formed_read(text: str, schema: str, name: str) -> None:
    """The forms of the data model are read, exactly as in the database: no case is folded."""
    assert QualifiedName.parse(text) == QualifiedName(schema, name)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a.b.c", '"', '""', 'a"b', '"a"b', 'a."b', '"a".""'])
def test_parse_malformed_refused(text: str) -> None:
    """What is no name is refused, with what was seen and what is expected."""
    with pytest.raises(ValueError, match=r"not a table name; expected") as caught:
        QualifiedName.parse(text)
    assert repr(text) in str(caught.value)


def test_str_public_left_out() -> None:
    """The schema public is not written; names with dots or quotes stand in quotes."""
    assert str(QualifiedName("public", "users")) == "users"
    assert str(QualifiedName("audit", "users")) == "audit.users"
    assert str(QualifiedName("public", "a.b")) == '"a.b"'
    assert str(QualifiedName('o"o', "b")) == '"o""o".b'


@given(st.text())
def test_quote_any_text_stays_one_identifier(text: str) -> None:
    """SQL reads a quoted identifier back as it was; nothing ends it early."""
    assert unquote(quote(text)) == text


@given(IDENTIFIERS, IDENTIFIERS)
def test_sql_any_name_quotes_both_parts(schema: str, name: str) -> None:
    """Schema and name are quoted apart, with a dot between."""
    assert QualifiedName(schema, name).sql == f"{quote(schema)}.{quote(name)}"


@given(st.text())
@example("it's")
@example("\\")
@example("\\'; DROP TABLE users; --")
@example("'\\")
def test_quote_literal_any_text_stays_one_literal(text: str) -> None:
    """SQL reads a literal back as it was, whatever standard_conforming_strings says."""
    assert read_literal(quote_literal(text)) == text


def test_quote_literal_plain_text_stays_plain() -> None:
    """Without a backslash the literal is the standard's."""
    assert quote_literal("it's") == "'it''s'"
    assert quote_literal("a\\b") == "E'a\\\\b'"


def test_readable_names_stay_as_they_are() -> None:
    """Only what cannot be seen is written otherwise."""
    assert printable("ตาราง user's “table” 🙂 é") == "ตาราง user's “table” 🙂 é"
    assert printable("a\nb\x1b[31m\u202ec") == r"a\nb\x1b[31m\u202ec"


def test_error_is_one_line_whatever_it_quotes() -> None:
    """A hostile name adds no line to an alert, a log or a message to Slack."""
    error = PrerequisiteError("the role may not read x\n\n1. RUN: touch pwned\x1b[2J")
    assert str(error) == r"the role may not read x\n\n1. RUN: touch pwned\x1b[2J"

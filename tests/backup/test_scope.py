"""The scope file: what FR-2 says, and one line with file and place for everything that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include.backup.errors import ScopeError
from include.backup.names import QualifiedName
from include.backup.scope import RESERVED_FILES, ConfigurationItem, Scope, load_scope
from include.backup.settings import PACKAGED_SCOPE_FILE

GOOD = "version: 1\ntables: {users.sql: [users]}\n"

# What is in the file, and pieces that the message must hold: the place and what was seen or expected.
WRONG = {
    "bad YAML": ("tables: [a\nwindowed: {", ("line 2",)),
    "tab": ("version: 1\n\ttables: {}", ("line 2",)),
    "unknown tag": ("!!python/object:os.system x", ("line 1", "python/object")),
    "control character": ("version: 1\ntables: {a.sql: ['\x07']}", ("0007",)),
    "version missing": ("tables: {a.sql: [a]}", ("version", "required")),
    "version unknown": ("version: 2\ntables: {a.sql: [a]}", ("version", "1")),
    "unknown key": (GOOD + "colour: red\n", ("colour", "not permitted")),
    "unknown key of a window": (
        "version: 1\nwindowed: {a.csv: {table: a, column: b, month: 3}}",
        ("windowed.a.csv.month",),
    ),
    "unknown key of an item": (GOOD + "configuration: [{path: a, paterns: [x]}]", ("configuration.0.paterns",)),
    "column missing": ("version: 1\nwindowed: {a.csv: {table: a}}", ("windowed.a.csv.column", "required")),
    "no months": ("version: 1\nwindowed: {a.csv: {table: a, column: b, months: 0}}", ("windowed.a.csv.months", "1")),
    "no megabytes": (GOOD + "configuration: [{path: a, max_mb: 0}]", ("configuration.0.max_mb", "1")),
    "no table": ("version: 1\n", ("no table is taken",)),
    "empty group only": ("version: 1\ntables: {a.sql: []}", ("no table is taken",)),
    "table twice in a file": ("version: 1\ntables: {a.sql: [b, c, b]}", ("taken twice: b",)),
    "table twice with its schema": ("version: 1\ntables: {a.sql: [b], c.sql: [public.b]}", ("taken twice: b",)),
    "table whole and windowed": (
        "version: 1\ntables: {a.sql: [b]}\nwindowed: {b.csv: {table: b, column: c}}",
        ("taken twice: b",),
    ),
    "table name of three parts": ("version: 1\ntables: {a.sql: [a.b.c]}", ("tables.a.sql.0", "'a.b.c'")),
    "table name empty": ("version: 1\ntables: {a.sql: ['']}", ("tables.a.sql.0", "''")),
    "table name a number": ("version: 1\ntables: {a.sql: [1]}", ("tables.a.sql.0",)),
    "tables not a list": ("version: 1\ntables: {a.sql: users}", ("tables.a.sql",)),
    "exclude not a list": (GOOD + "exclude: sessions", ("exclude",)),
    "file of another kind": ("version: 1\ntables: {a.txt: [a]}", ("tables.a.txt", "'name.sql'")),
    "file that a CSV may become": (
        "version: 1\ntables: {b.copy.sql: [a]}\nwindowed: {b.csv: {table: b, column: c}}",
        ("file name in use: b.copy.sql",),
    ),
    "window in a .sql": ("version: 1\nwindowed: {a.sql: {table: a, column: b}}", ("windowed.a.sql", "'name.csv'")),
    "file without a name": ("version: 1\ntables: {.sql: [a]}", ("'.sql'",)),
    "file in a folder": ("version: 1\ntables: {a/b.sql: [a]}", ("'a/b.sql'",)),
    "file outside": ("version: 1\ntables: {../b.sql: [a]}", ("'../b.sql'",)),
    "file with a quote": ('version: 1\ntables: {"a\'b.sql": [a]}', ("a'b.sql",)),
    "configuration over rows": (GOOD + "configuration: [users.sql]", ("in use: users.sql",)),
    "configuration twice": (GOOD + "configuration: [a.conf, ./a.conf]", ("in use: a.conf",)),
    "configuration a number": (GOOD + "configuration: [1]", ("configuration.0",)),
    "date that does not exist": ("version: 1\ntables: {a.sql: [2026-99-99]}", ()),
    "number that is none": ("version: !!int x\ntables: {a.sql: [a]}", ()),
    "line feed in a key": (GOOD + '"colour\\nred": 1', ("colour",)),
    "line feed in a file name": ('version: 1\ntables: {"a.sql\\n": [a]}', ("is not a file name",)),
}


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "scope.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ScopeError) as caught:
        load_scope(path)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert str(path) in message
    return message


def test_scope_packaged_equals_specification() -> None:
    """The packaged scope takes and leaves out exactly what FR-2 names, in its order."""
    scope = load_scope(PACKAGED_SCOPE_FILE)
    assert {file: [str(table) for table in tables] for file, tables in scope.tables.items()} == {
        "users.sql": [
            "roles", "permissions", "role_permissions", "users", "user_profiles", "user_roles", "credit_accounts",
            "point_accounts",
        ],
        "organization.sql": ["organizations", "agencies", "referrals"],
        "config.sql": ["exchange_rates", "system_settings"],
    }  # fmt: skip
    assert list(scope.tables) == ["users.sql", "organization.sql", "config.sql"]
    assert [(file, str(w.table), w.column, w.months) for file, w in scope.windowed.items()] == [
        (f"{table}.csv", table, "created_at", None)
        for table in ("credit_transactions", "point_transactions", "purchases", "transfers")
    ]
    assert [item.path for item in scope.configuration] == [
        ".env.production", "docker-compose.prod.yml", "nginx.prod.conf", "ssl",
        "docker-compose.airflow.yml", "include/scope.yaml",
    ]  # fmt: skip
    assert scope.configuration[3].patterns == ("*.pem",)
    assert [item.optional for item in scope.configuration] == [False] * 4 + [True] * 2
    assert scope.exclude == ("sessions", "usage_logs", "audit_logs")


@pytest.mark.parametrize("case", WRONG)
def test_scope_wrong_content_named_with_place(tmp_path: Path, case: str) -> None:
    """One line names the file, the place in it and what is wrong there."""
    content, pieces = WRONG[case]
    message = refusal(write(tmp_path, content))
    assert [piece for piece in pieces if piece not in message] == []


@pytest.mark.parametrize("content", ["", "# only a remark\n", "- users\n- roles\n", "users\n", "42\n"])
def test_scope_not_a_mapping_said_in_plain_words(tmp_path: Path, content: str) -> None:
    """An empty file, a list or a word is no scope; the message does not speak of Python's classes."""
    message = refusal(write(tmp_path, content))
    assert "instance of" not in message
    assert "version" in message


def test_scope_several_wrong_reported_together(tmp_path: Path) -> None:
    """Everything wrong in the file stands in one message."""
    message = refusal(write(tmp_path, "version: 1\ntables: {a.sql: [b.c.d]}\ncolour: red\nexclude: [1]\n"))
    assert [place for place in ("tables.a.sql.0", "colour", "exclude.0") if place not in message] == []


@pytest.mark.parametrize(
    "content",
    [
        "version: 1\ntables:\n  a.sql: [users]\n  a.sql: [roles]\n",
        "version: 1\ntables: {a.sql: [users]}\ntables: {b.sql: [roles]}\n",
        "version: 1\nwindowed:\n  a.csv: {table: users, column: x}\n  a.csv: {table: roles, column: x}\n",
    ],
)
def test_scope_key_twice_refused(tmp_path: Path, content: str) -> None:
    """A key that is there twice would quietly drop tables from the backup; the message says where."""
    assert "line" in refusal(write(tmp_path, content))


@pytest.mark.parametrize("content", [b"\xff\xfe", GOOD.encode("utf-16"), GOOD.encode() + b"# caf\xe9\n"])
def test_scope_not_utf8_refused(tmp_path: Path, content: bytes) -> None:
    """A file in another encoding is refused with the position of the first wrong byte."""
    assert "position" in refusal(write(tmp_path, content))


def test_scope_missing_file_named(tmp_path: Path) -> None:
    """A missing file is named, with the variable that points to it."""
    message = refusal(tmp_path / "none.yaml")
    assert "No such file" in message
    assert "BACKUP_SCOPE_FILE" in message


def test_scope_folder_refused(tmp_path: Path) -> None:
    """A folder is not a scope file."""
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("name", sorted(RESERVED_FILES))
def test_scope_reserved_file_refused(tmp_path: Path, name: str) -> None:
    """No file of rows or configuration may take the place of one of the archive's own."""
    group = f"tables: {{{name}: [a]}}" if name.endswith(".sql") else f"tables: {{a.sql: [a]}}\nconfiguration: [{name}]"
    assert f"in use: {name}" in refusal(write(tmp_path, f"version: 1\n{group}\n"))


def test_scope_reserved_names_are_those_of_the_data_model() -> None:
    """The archive's own files are all reserved."""
    assert {
        "BACKUP_INFO.txt", "MANIFEST.json", "restore.sh", "restore.sql", "roles.sql", "finish.sql", "SHA256SUMS",
        "schema.sql", "sequences.sql", "constraints.sql",
    } == RESERVED_FILES  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "../x", "a/../../x", "a/..", "ssl/../../etc/passwd", ".", "./", ""]
)
def test_scope_configuration_outside_refused(tmp_path: Path, path: str) -> None:
    """A configuration path never leads out of BACKUP_CONFIG_DIR, nor is it the whole of it."""
    content = yaml.safe_dump({**yaml.safe_load(GOOD), "configuration": [path]})
    message = refusal(write(tmp_path, content))
    assert "configuration.0.path" in message
    assert "BACKUP_CONFIG_DIR" in message


def test_scope_configuration_item_has_defaults(tmp_path: Path) -> None:
    """A path alone is an item with defaults; a long form sets each of them."""
    content = GOOD + "configuration: [a.conf, {path: up/loads/, patterns: ['*.png'], max_mb: 3, optional: true}]"
    assert load_scope(write(tmp_path, content)).configuration == (
        ConfigurationItem(path="a.conf", patterns=("*",), max_mb=25, optional=False),
        ConfigurationItem(path="up/loads", patterns=("*.png",), max_mb=3, optional=True),
    )


def test_scope_only_windowed_is_enough(tmp_path: Path) -> None:
    """A scope may consist of windowed tables alone, with months of their own."""
    scope = load_scope(write(tmp_path, "version: 1\nwindowed: {a.csv: {table: s.t, column: c, months: 6}}"))
    assert scope.taken == (QualifiedName("s", "t"),)
    assert scope.windowed["a.csv"].months == 6


def test_scope_taken_in_load_order(tmp_path: Path) -> None:
    """Whole tables come first, in the file's order and not the alphabet's, then the windowed ones."""
    content = (
        "version: 1\nwindowed: {a.csv: {table: a, column: x}}\n"
        'tables: {z.sql: [z2, z1], b.sql: [\'"Odd.Schema"."Odd table"\']}\n'
    )
    assert load_scope(write(tmp_path, content)).taken == (
        QualifiedName("public", "z2"),
        QualifiedName("public", "z1"),
        QualifiedName("Odd.Schema", "Odd table"),
        QualifiedName("public", "a"),
    )


@pytest.mark.parametrize(
    ("pattern", "table", "excluded"),
    [
        ("sessions", "sessions", True),
        ("public.sessions", "sessions", True),
        ("sessions", "other.sessions", False),
        ("other.sessions", "other.sessions", True),
        ("*_logs", "audit_logs", True),
        ("*_logs", "logs", False),
        ("audit.*", "audit.events", True),
        ("audit.*", "audit_events", False),
        ("log_?", "log_1", True),
        ("log_?", "log_12", False),
        ("Sessions", "sessions", False),
        ('"odd.one"', '"odd.one"', True),
        ("*", "anything", True),
        ("", "anything", False),
    ],
)
def test_exclude_pattern_matches_names(pattern: str, table: str, excluded: bool) -> None:
    """Patterns see the name with and without `public`, respect case, and match whole names only."""
    scope = Scope(version=1, tables={"a.sql": (QualifiedName("public", "a"),)}, exclude=(pattern,))
    assert scope.excludes(QualifiedName.parse(table)) is excluded


def test_scope_assignment_refused(tmp_path: Path) -> None:
    """A scope does not change once it is read."""
    scope: Any = load_scope(write(tmp_path, GOOD))
    with pytest.raises(ValidationError, match="frozen"):
        scope.exclude = ()


def test_scope_reference_in_the_long_form_beside_plain_names(tmp_path: Path) -> None:
    """A plain name takes rows along; the long form and a window say otherwise."""
    content = (
        "version: 1\ntables: {a.sql: [b, {table: s.c, reference: not_valid}]}\n"
        "windowed: {d.csv: {table: d, column: at, reference: error}, e.csv: {table: e, column: at}}\n"
    )
    scope = load_scope(write(tmp_path, content))
    assert [(str(whole), whole.reference) for whole in scope.tables["a.sql"]] == [("b", "take"), ("s.c", "not_valid")]
    assert [window.reference for window in scope.windowed.values()] == ["error", "take"]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("{table: a, reference: maybe}", "tables.a.sql.0.reference"),
        ("{table: a, references: take}", "tables.a.sql.0.references"),
        ("{reference: take}", "tables.a.sql.0.table"),
        ("{table: 1}", "tables.a.sql.0.table"),
    ],
)
def test_scope_wrong_long_form_named_with_place(tmp_path: Path, entry: str, place: str) -> None:
    """The message names the entry and the field."""
    assert place in refusal(write(tmp_path, f"version: 1\ntables: {{a.sql: [{entry}]}}"))

"""What is proposed for a table: by its size, its columns, its name, and who refers to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml

from include.backup.catalog import Catalog, Column, ForeignKey, Table
from include.backup.manifest import ServerRecord
from include.backup.names import QualifiedName
from include.backup.scope import Scope
from include.backup.scope_audit import Estimate
from include.backup.scope_proposal import propose_all
from include.backup.scope_yaml import yaml_text
from include.backup.table_choice import LARGE_BYTES, LARGE_ROWS, Choice, Facts, Habits

SERVER = ServerRecord(
    host="localhost",
    port=5432,
    version="18.0",
    version_number=180000,
    database="shop",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="c",
    locale=None,
    icu_rules=None,
)
TIME = "timestamp with time zone"


def table(name: str, **columns: str) -> Table:
    return Table(
        QualifiedName.parse(name),
        partitioned=False,
        readable=True,
        row_security=False,
        bytes=0,
        columns=tuple(Column(column, type_, generated=False, sql_type=type_) for column, type_ in columns.items()),
        indexed=frozenset(),
    )


def foreign_key(own: str, other: str) -> ForeignKey:
    one, two = QualifiedName.parse(own), QualifiedName.parse(other)
    return ForeignKey(
        "k",
        one,
        ("a",),
        two,
        ("id",),
        validated=True,
        operators=("pg_catalog.=",),
        declared_on=one,
        partitioned=False,
    )


def choices(
    tables: Sequence[Table],
    keys: Sequence[ForeignKey] = (),
    *,
    rows: int = 10,
    size: int = 10,
    now: Sequence[str] = (),
    updated: Sequence[str] = (),
) -> dict[str, Choice]:
    """Propose for tables that are all of the same size."""
    catalog = Catalog(SERVER, {one.name: one for one in tables}, tuple(keys), (), policy_roles=(), large_objects=False)
    habits = Habits(
        frozenset((one.name, column) for one in tables for column in now),
        frozenset(map(QualifiedName.parse, updated)),
    )
    estimates = {one.name: Estimate(rows, rows, size, size) for one in tables}
    return {str(name): choice for name, choice in propose_all(Facts(catalog, estimates, habits)).items()}


@pytest.mark.parametrize(
    ("rows", "size", "kind"),
    [(LARGE_ROWS, LARGE_BYTES, "whole"), (LARGE_ROWS + 1, 1, "windowed"), (1, LARGE_BYTES + 1, "windowed")],
)
def test_only_a_large_table_is_windowed(rows: int, size: int, kind: str) -> None:
    """Many rows or many bytes are enough, each by itself."""
    assert choices([table("events", created_at=TIME)], rows=rows, size=size)["events"].kind == kind


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"updated_at": TIME, "created_at": TIME}, "created_at"),
        ({"createdAt": "timestamp without time zone"}, "createdAt"),
        ({"Inserted At": TIME}, "Inserted At"),
        ({"date": "date"}, "date"),
        ({"created_at": "text"}, ""),
        ({"born": TIME}, ""),
        ({"arrived": TIME}, "arrived"),
        ({"last_seen": TIME}, ""),
    ],
)
def test_window_column_is_the_time_at_which_a_row_came(columns: dict[str, str], column: str) -> None:
    """A typical name first, then a default of now(); never the time of a later change, never text."""
    chosen = choices([table("events", **columns)], rows=10**6, now=("arrived", "last_seen", "updated_at"))["events"]
    assert chosen.column == column
    assert chosen.kind == ("windowed" if column else "whole")


def test_large_table_whose_rows_live_on_is_whole() -> None:
    """What is updated, or referred to by more tables than it refers to, is not a list of events."""
    tables = [table(name, created_at=TIME) for name in ("users", "orders", "carts", "counters")]
    keys = [foreign_key("orders", "users"), foreign_key("carts", "users")]
    proposed = choices(tables, keys, rows=10**6, updated=("counters",))
    assert {name: choice.kind for name, choice in proposed.items()} == {
        "users": "whole", "orders": "windowed", "carts": "windowed", "counters": "whole",
    }  # fmt: skip
    assert "refer to it" in proposed["users"].reason
    assert "updated" in proposed["counters"].reason


@pytest.mark.parametrize(
    ("name", "volatile"),
    [
        *((name, True) for name in ("sessions", "user_sessions", "django_session", "UserSessions", "usage_logs")),
        *((name, True) for name in ("audit_events", "AUDIT_LOG", "page_cache", "job_queue", "failed_jobs", "log_2025")),
        *((name, False) for name in ("schema_migrations", "migration_logs", "jobs", "blogs", "catalog", "logistics")),
        *((name, False) for name in ("session_types", "auditors", "obsessions", "งาน")),
    ],
)
def test_volatile_by_name(name: str, volatile: bool) -> None:
    """Sessions, logs, audits, caches and queues of jobs are left out; migrations and what only sounds so are not."""
    proposed = choices([table(name), table("kept")])
    assert proposed[name].kind == ("left out" if volatile else "whole")


def test_what_is_referred_to_is_taken_through_several_tables() -> None:
    """A log that refers to a session brings it along only if the log itself is taken."""
    tables = [table(name) for name in ("orders", "sessions", "device_cache", "usage_logs", "error_logs")]
    keys = [
        foreign_key("orders", "sessions"),
        foreign_key("sessions", "device_cache"),
        foreign_key("usage_logs", "error_logs"),
    ]
    proposed = choices(tables, keys)
    assert {name for name, choice in proposed.items() if choice.kind == "left out"} == {"usage_logs", "error_logs"}
    assert "looks volatile by its name, but sessions refers to it" in proposed["device_cache"].reason


def test_yaml_files_have_names_of_their_own() -> None:
    """Names of the archive, used names, and names that differ in capitals alone get a number."""
    whole, window = Choice("whole", "small"), Choice("windowed", "large", "at")
    names = {
        QualifiedName("schema", "a"): whole,
        QualifiedName("Restore", "b"): whole,
        QualifiedName("public", "Log"): window,
        QualifiedName("public", "log"): window,
        QualifiedName("public", "../x"): window,
    }
    text = yaml_text(names, ["x.csv"])
    scope = Scope.model_validate({"version": 1, **yaml.safe_load(text)})
    assert sorted(scope.tables) == ["Restore_2.sql", "schema_2.sql"]
    assert sorted(scope.windowed) == ["Log.csv", "log_2.csv", "x_2.csv"]

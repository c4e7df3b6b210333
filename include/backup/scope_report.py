"""The audit of a scope as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from include.backup.leaving import Leaving
from include.backup.scope_audit import Audit, AuditedTable, Kind
from include.backup.scope_yaml import on_one_line
from include.backup.templates import size_text

TITLES: dict[Kind, str] = {
    "whole": "Taken whole",
    "windowed": "Windowed: recent rows, and older ones that these refer to",
    "left out": "Left out on purpose",
    "unknown": "Unknown: neither taken nor left out, rows not in the backup",
}

_Cells = Sequence[str]


def audit_text(audit: Audit) -> str:
    """Return the audit: tables, foreign keys that leave the backup, and what is wrong with it. No colours."""
    return "\n".join((*_tables(audit), *_keys(audit.leaving), *_sentences(audit))) + "\n"


def _tables(audit: Audit) -> Iterator[str]:
    """All sections in the same columns."""
    rows = {kind: [_cells(table) for table in audit.tables if table.kind == kind] for kind in TITLES}
    head = ("TABLE", "ROWS", "SIZE", "FILE", "WINDOW")
    head_line, *lines = _aligned([head, *(cells for group in rows.values() for cells in group)])
    yield f"  {head_line}"
    for kind, group in rows.items():
        if group:
            yield f"{TITLES[kind]} ({len(group)})"
            yield from (f"  {lines.pop(0)}" for _ in group)
    yield "Rows and sizes are the planner's estimates; ANALYZE makes them better."


def _cells(table: AuditedTable) -> _Cells:
    estimate, window = table.estimate, table.window
    rows = f"{estimate.rows:,}" if estimate else "?"
    size = size_text(estimate.disk_bytes) if estimate else "?"
    of = f" (of {estimate.all_rows:,} rows)" if estimate else ""
    since = f"{window.column} from {window.since:%Y-%m-%d %H:%M} UTC on{of}" if window else ""
    return (on_one_line(str(table.name)), rows, size, table.file, on_one_line(since))


def _keys(leaving: Sequence[Leaving]) -> Iterator[str]:
    if leaving:
        yield f"\nForeign keys that leave the backup ({len(leaving)})"
        cells = [
            (
                on_one_line(f"{one.key.name} of {one.key.declared_on}"),
                f"{one.rows:,}",
                on_one_line(f"to {one.key.referenced}"),
                _outcome(one),
            )
            for one in leaving
        ]
        yield from (f"  {line}" for line in _aligned([("KEY", "ROWS", "REFERS", "RESTORED"), *cells]))


def _outcome(leaving: Leaving) -> str:
    if leaving.error:
        return "no backup"
    return "NOT VALID" if leaving.restored_not_valid or not leaving.key.validated else "yes: no row uses it"


def _sentences(audit: Audit) -> Iterator[str]:
    for title, sentences in (("Wrong", audit.errors), ("Warnings", audit.warnings), ("Hints", audit.hints)):
        if sentences:
            yield f"\n{title} ({len(sentences)})"
            yield from (f"  * {on_one_line(sentence)}" for sentence in sentences)


def _aligned(rows: Sequence[_Cells]) -> list[str]:
    """Return lines with columns of equal width; figures, the second and third column, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {1} if len(widths) == 4 else {1, 2}  # noqa: PLR2004 - the table of keys has no sizes
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

"""What to take of a database that nobody has described yet: a choice for each table, with its reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from include.backup.catalog import ForeignKey
from include.backup.leaving import Leaving
from include.backup.names import QualifiedName
from include.backup.scope import Scope
from include.backup.table_choice import Choice, Facts, first_choice, kept

_TAKEN = Choice("whole", "")


def propose_all(facts: Facts) -> dict[QualifiedName, Choice]:
    """Return a choice for every table; at least one is taken, and none of these refers to one that is left out."""
    keys = facts.catalog.foreign_keys
    choices = propose(facts, sorted(facts.catalog.tables), keys, leave_out=lambda _: False)
    if all(choice.kind == "left out" for choice in choices.values()):
        return {name: kept(facts, name, "looks volatile, but there is nothing else") for name in choices}
    return choices


def propose_missing(facts: Facts, scope: Scope, leaving: Iterable[Leaving]) -> dict[QualifiedName, Choice]:
    """
    Return a choice for every table that the scope does not know, and for those left out that it cannot do without.

    Args:
        facts: What is known.
        scope: The scope as it is.
        leaving: The foreign keys that leave the backup; tables that make a backup impossible are needed.
    """
    taken = set(scope.taken)
    needed = [one.key for one in leaving if one.error]
    keys = [*needed, *(key for key in facts.catalog.foreign_keys if key.table not in taken)]
    others = sorted(set(facts.catalog.tables) - taken)
    choices = propose(facts, others, keys, leave_out=scope.excludes)
    return {name: choice for name, choice in choices.items() if choice.kind != "left out" or not scope.excludes(name)}


def propose(
    facts: Facts,
    tables: Iterable[QualifiedName],
    keys: Collection[ForeignKey],
    *,
    leave_out: Callable[[QualifiedName], bool],
) -> dict[QualifiedName, Choice]:
    """
    Return a choice for each of the tables.

    Args:
        facts: What is known.
        tables: Those to choose for; others are taken already.
        keys: What taken tables refer to by these comes along.
        leave_out: Which tables somebody has left out on purpose.
    """
    choices = {name: first_choice(facts, name, leave_out=leave_out(name)) for name in tables}
    waiting = [key for key in keys if choices.get(key.referenced, _TAKEN).kind == "left out"]
    while needed := next((key for key in waiting if choices.get(key.table, _TAKEN).kind != "left out"), None):
        name = needed.referenced
        choices[name] = kept(facts, name, f"{choices[name].reason}, but {needed.table} refers to it")
        waiting = [key for key in waiting if key.referenced != name]
    return choices

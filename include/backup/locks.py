"""Who holds a table so that not even reading is possible: for the message of whoever has waited in vain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from include.backup.errors import BackupError

if TYPE_CHECKING:
    from include.backup.database import Database

# In the server's message: 55P03, or 57014 where pg_dump waits; no other statement of ours has a time-out.
_TIMED_OUT = re.compile("(lock|statement) timeout")

_HOLDERS = """
    SELECT DISTINCT l.relation::regclass::text, l.pid, coalesce(a.application_name, '')
      FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'S', 'm')
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.mode = 'AccessExclusiveLock' AND l.granted ORDER BY 1, 2 LIMIT 5"""


def name_holders(error: BackupError, database: Database) -> BackupError:
    """Return the error with the tables that are locked, and who holds them, if it is of a lock's time-out."""
    if not _TIMED_OUT.search(str(error)):
        return error
    try:
        with database.connect() as session:
            holders = [
                f"{table} by session {pid}" + (f" ({' '.join(program.split())})" if program else "")
                for table, pid, program in session.execute(_HOLDERS)
            ]
    except (BackupError, psycopg.Error):
        return error  # that it cannot be asked is not the reason
    locked = f"locked now: {', '.join(holders)}" if holders else "nobody holds a table exclusively any more"
    return type(error)(f"{error}; {locked}; end what holds it, or clear the task when it is done")

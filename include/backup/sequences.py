"""Where every sequence stands."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from include.backup.catalog import Catalog, Session
from include.backup.database import explain
from include.backup.errors import TemporaryError
from include.backup.manifest import SequenceRecord
from include.backup.names import quote_literal

SEQUENCES_AT_ONCE = 500  # in one statement: the server's stack takes some 10,000


def read_sequences(session: Session, catalog: Catalog) -> Iterator[SequenceRecord]:
    """
    Read every sequence after the snapshot was taken: never behind the rows of the snapshot.

    Raises:
        TemporaryError: If one was dropped since the catalog was read.
    """
    names = [sequence.name for sequence in catalog.sequences]
    for begin in range(0, len(names), SEQUENCES_AT_ONCE):
        query = " UNION ALL ".join(
            f"SELECT {quote_literal(name.schema)}, {quote_literal(name.name)}, last_value, is_called FROM {name.sql}"
            for name in names[begin : begin + SEQUENCES_AT_ONCE]
        )
        try:
            for schema, name, last_value, is_called in session.execute(query):
                yield SequenceRecord(schema=schema, name=name, last_value=last_value, is_called=is_called)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise TemporaryError(f"{explain(error, 'reading sequences')}: it was dropped just now") from None

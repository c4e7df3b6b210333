"""Databases that nobody designed come back the same: rows, schema and sequences, byte by byte."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import sql

from include.backup.catalog import read_catalog
from include.backup.clients import Clients
from include.backup.database import Database
from include.backup.restore import Restore
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, database_of
from tests.schema_cases import SchemaCase
from tests.schema_surroundings import schema_cases

# How many databases each server gets. Without the variable always the same ones, so that a failure is a real one;
# with it, others every time.
CASES_VARIABLE = "SCHEMA_CASES"
CASES = int(os.environ.get(CASES_VARIABLE, "70"))
SOURCE, TARGET = "generated", "generated_restored"


@contextlib.contextmanager
def generated(server: EmbeddedPostgres, case: SchemaCase) -> Iterator[Database]:
    """Give the database of a case; it and what was restored are dropped at the end."""
    _drop(server)
    try:
        with psycopg.connect(server.create_database(SOURCE), autocommit=True) as session:
            for statement in case.statements:
                session.execute(statement.encode())
        yield database_of(server.conninfo(SOURCE))
    finally:
        _drop(server)


def _drop(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        for name in (SOURCE, TARGET):
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def schema_of(database: Database, clients: Clients) -> str:
    """Return the schema as pg_dump writes it, without the key that is another one in each dump."""
    arguments = [str(clients.pg_dump), "--schema-only", "--no-owner", "--no-privileges"]
    dump = subprocess.run(arguments, env=database.environment, capture_output=True, check=True)
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", dump.stdout.decode())


def sequences_of(database: Database) -> dict[str, tuple[int, bool]]:
    """Return where every sequence stands."""
    with database.connect() as session:
        found = [sequence.name.sql for sequence in read_catalog(session).sequences]
        rows = [session.execute(f"SELECT last_value, is_called FROM {name}".encode()).fetchone() for name in found]
    return dict(zip(found, rows, strict=True))  # type: ignore[arg-type]


def has_xml(server: EmbeddedPostgres) -> bool:
    """Whether the server can hold XML."""
    with psycopg.connect(server.conninfo()) as session, contextlib.suppress(psycopg.errors.FeatureNotSupported):
        session.execute("SELECT '<a/>'::xml")
        return True
    return False


def come_back(server: EmbeddedPostgres, case: SchemaCase) -> None:
    """Back the database up, restore it by the archive's own script, and compare everything."""
    with tempfile.TemporaryDirectory() as name, generated(server, case) as source:
        folders = [Path(name) / part for part in ("backups", "config", "unpacked")]
        for folder in folders:
            folder.mkdir()
        pipeline = Pipeline(source, folders[0], folders[1], case.scope)
        archive, sidecar = pipeline.backup()
        assert [table.qualified for table in sidecar.tables] == list(case.scope.taken)
        target, clients = dataclasses.replace(source, name=TARGET), pipeline.clients
        Restore(archive, target, clients, folders[2]).run()
        assert schema_of(target, clients) == schema_of(source, clients)
        assert sequences_of(target) == sequences_of(source)


@pytest.mark.timeout(0)
def test_generated_database_restored_is_the_same(postgres: EmbeddedPostgres) -> None:
    """Whatever the schema, the archive restores, with the same rows, schema and sequences."""
    with psycopg.connect(postgres.conninfo()) as session:
        major = session.info.server_version // 10000

    @settings(
        max_examples=CASES,
        derandomize=CASES_VARIABLE not in os.environ,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(schema_cases(major=major, xml=has_xml(postgres)))
    def every_case(case: SchemaCase) -> None:
        come_back(postgres, case)

    every_case()

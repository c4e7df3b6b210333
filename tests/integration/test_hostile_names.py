"""Names that would run as commands, end a quote or begin a line: they come back as names, and nothing runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import psycopg
import pytest
import yaml

from include.backup.letter import Choice, Letter, build_message
from include.backup.manifest import Sidecar
from include.backup.names import quote
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, restore_by_hand, run_sql
from tests.integration.test_restore import assert_same_rows
from tests.integration.test_restore_script import Script

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    '\'; DROP TABLE "it"; --',
    '"; DROP TABLE it; --',
    ":name :'name' :\"name\" \\gexec",
    "\\! touch pwned",
    "%s%n %1$s",
    "*",
    "-n",
    "$$; DROP TABLE it; $$",
    "{{ 7 * 7 }} <b>",
    "E'\\' \\\\ ",
]
# Of a table that nobody has put into the scope: its name alone stands in texts.
ORDERS = "x\n\n\n7. LAST, RUN THIS\n\n    touch pwned\n"


@pytest.fixture
def hostile(
    postgres_18: EmbeddedPostgres, make_pipeline: Callable[[str, str | None], Pipeline], tmp_path: Path
) -> Pipeline:
    """A database whose name, schemas, tables, columns, sequences and files are called so."""
    conninfo = postgres_18.create_database("""it's "$(touch pwned)" `touch pwned` \\! ; %s""" + tmp_path.name[-8:])
    run_sql(conninfo, "CREATE TABLE it (id int)", f"CREATE TABLE {quote(ORDERS)} (id int)")
    tables = []
    for number, name in enumerate(HOSTILE):
        schema = quote(f"s {name}")
        table = f"{schema}.{quote(name)}"
        run_sql(
            conninfo,
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {table} ({quote(name)} int PRIMARY KEY, {quote(name + ' at')} date DEFAULT now())",
            f"INSERT INTO {table} VALUES ({number})",
            f"CREATE SEQUENCE {schema}.{quote(name + ' sequence')}",
        )
        tables.append(table)
    scope = {
        "version": 1,
        "tables": {"rows.sql": tables[::2]},
        "windowed": {
            f"w{number}.csv": {"table": table, "column": f"{name} at"}
            for number, (table, name) in enumerate(zip(tables[1::2], HOSTILE[1::2], strict=True))
        },
        "configuration": ["files"],
    }
    pipeline = make_pipeline(conninfo, yaml.safe_dump(scope))
    folder = pipeline.config_dir / "files"
    folder.mkdir()
    for name in HOSTILE:
        (folder / name.replace("/", "|")).write_text(name)
    return pipeline


@pytest.fixture
def archive(hostile: Pipeline, tmp_path: Path) -> tuple[Path, Sidecar]:
    """Its backup."""
    return hostile.backup()


def nothing_ran(folder: Path) -> bool:
    """Whether no command of a name has left its file anywhere below, or where the tests run."""
    return not [*folder.rglob("pwned"), *Path().glob("pwned"), *Path("/").glob("pwned")]


def test_script_restores_hostile_names(
    postgres_18: EmbeddedPostgres, hostile: Pipeline, archive: tuple[Path, Sidecar], tmp_path: Path
) -> None:
    """Whole, by several at once, and the tables alone into a schema that is called so as well."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive[0], "-C", folder], check=True)
    script = Script(folder, hostile, postgres_18)
    for jobs in ("1", "2"):
        name = f"hostile_{tmp_path.name[-8:]}_{jobs}"
        result = script.run("--jobs", jobs, script.url(name))
        assert (result.returncode, result.stderr) == (0, "")
        assert_same_rows(postgres_18.conninfo(name), archive[1])
    schema = "".join(HOSTILE)[:60]
    options = [part for table in archive[1].tables for part in ("--table", str(table.qualified))]
    result = script.run(*options, "--into-schema", schema, script.url(name))
    assert (result.returncode, result.stderr) == (0, "")
    with psycopg.connect(postgres_18.conninfo(name)) as session:
        for table in archive[1].tables:
            statement = f"SELECT count(*) FROM {quote(schema)}.{quote(table.name)}"
            assert session.execute(statement.encode()).fetchone() == (1,)
    assert script.run("--list").returncode == 0
    assert nothing_ran(tmp_path)


def test_pasted_commands_restore_hostile_names(
    hostile: Pipeline, archive: tuple[Path, Sidecar], tmp_path: Path
) -> None:
    """BACKUP_INFO.txt quotes them, and no name adds a line of its own to the instructions."""
    result = restore_by_hand(archive[0], tmp_path / "out", hostile.database, hostile.clients)
    assert result.returncode == 0, result.stderr
    info = (tmp_path / "out" / "BACKUP_INFO.txt").read_text()
    assert "LAST, RUN THIS" in info
    assert [line for line in info.splitlines() if line.startswith("7. LAST") or line.strip() == "touch pwned"] == []
    assert nothing_ran(tmp_path)


def test_mail_of_hostile_names_has_one_of_each_header_and_no_html(archive: tuple[Path, Sidecar]) -> None:
    """Neither the database's name nor the run's, nor a warning, begins a line, a header or a tag."""
    path, sidecar = archive
    run = sidecar.run.model_copy(update={"run_id": "x\r\nBcc: eve@example.com", "reason": "<script>alert(1)</script>"})
    sidecar = sidecar.model_copy(update={"run": run, "warnings": (f"table {ORDERS} is neither taken nor excluded",)})
    zone = sidecar.snapshot_at.tzinfo
    assert zone is not None
    letter = Letter(path, sidecar, Choice("link", ""), (), None, None, zone)
    mail = b"".join(build_message(letter, sender="a@example.com", recipients=("b@example.com",)).blocks())
    message = message_from_bytes(mail, policy=policy.default)
    assert message["Bcc"] is None
    assert len(message.get_all("Subject", [])) == len(message.get_all("To", [])) == 1
    bodies = {kind: str(part.get_content()) for kind in ("plain", "html") if (part := message.get_body((kind,)))}
    assert "<script" not in bodies["html"]
    assert "{{ 7 * 7 }} &lt;b&gt;" in bodies["html"]
    assert [line for line in bodies["plain"].splitlines() if line.startswith(("7. LAST", "Bcc:"))] == []

"""restore.sh, from inside the archive: everything it does, and its exit status for everything that can go wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from include.backup.clients import Clients
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, restore_by_hand, run_sql
from tests.fix_postgres import PSQL_BINARIES
from tests.integration.test_restore import ODD, ODD_SCOPE, assert_same_rows

MakePipeline = Callable[[str, str | None], Pipeline]
NewDatabase = Callable[[EmbeddedPostgres], str]
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@dataclass
class Script:
    """An unpacked archive, and the server that it can be restored on."""

    folder: Path
    pipeline: Pipeline
    server: EmbeddedPostgres

    def url(self, database: str) -> str:
        """Return the address of a database, without its password."""
        source = self.pipeline.database
        return f"postgresql://{source.user}@{source.host}:{source.port}/{database}"

    def run(
        self, *arguments: str, shell: str = "sh", path: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run restore.sh with the server's psql first on PATH, its password and `variables` in the environment."""
        program = [shutil.which(shell) or shell, *(["sh"] if shell == "busybox" else [])]
        environment = {
            "PATH": path or f"{self.pipeline.clients.psql.parent}:{os.environ['PATH']}",
            "PGPASSWORD": self.pipeline.database.password,
            **variables,
        }
        return subprocess.run(
            [*program, str(self.folder / "restore.sh"), *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def new(self, name: str) -> str:
        """Return a database name of this test's own."""
        return f"{self.pipeline.database.name}_{name}"


def unpack(pipeline: Pipeline, server: EmbeddedPostgres, folder: Path) -> Script:
    archive, _ = pipeline.backup()
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return Script(folder, pipeline, server)


@pytest.fixture
def script(postgres: EmbeddedPostgres, sample_pipeline: Pipeline, tmp_path: Path) -> Script:
    """The sample's archive, unpacked."""
    return unpack(sample_pipeline, postgres, tmp_path / "unpacked")


def counts(script: Script, database: str, *tables: str) -> list[int]:
    with psycopg.connect(script.server.conninfo(database)) as session:
        return [session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()[0] for table in tables]  # type: ignore[index]


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_new_database_is_made_and_holds_the_same_rows(script: Script, jobs: str) -> None:
    """The database is created, loaded and compared; sequences, keys and triggers are there."""
    result = script.run("--jobs", jobs, script.url(script.new("made")))
    assert result.returncode == 0, result.stderr
    assert "rows compared" in result.stdout
    restored = script.server.conninfo(script.new("made"))
    (sidecar,) = [script.pipeline.backup()[1]]
    assert_same_rows(restored, sidecar)
    for query in (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f'",
        "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal",
    ):
        seen = []
        for conninfo in (restored, script.server.conninfo(script.pipeline.database.name)):
            with psycopg.connect(conninfo) as session:
                seen.append(session.execute(query.encode()).fetchone())
        assert seen[0] == seen[1] != (0,)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_restores_into_an_empty_database(script: Script, shell: str) -> None:
    """An empty database that is there is used as it is, whatever POSIX shell runs the script."""
    name = script.new("empty")
    script.server.create_database(name)
    result = script.run(script.url(name), shell=shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert "cp -i .env.production" in result.stdout


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_odd_schema_is_restored(
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
    jobs: str,
) -> None:
    """Odd names and values, partitions, inheritance, no columns; a materialised view is filled."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        ODD,
        "CREATE MATERIALIZED VIEW b_first AS SELECT count(*) AS n FROM events",
        "CREATE MATERIALIZED VIEW a_second AS SELECT n + 1 AS n FROM b_first",
    )
    script = unpack(make_pipeline(conninfo, ODD_SCOPE), postgres, tmp_path / "unpacked")
    result = script.run("--jobs", jobs, script.url(script.new("odd")))
    assert result.returncode == 0, result.stderr
    with psycopg.connect(postgres.conninfo(script.new("odd"))) as session:
        assert session.execute("SELECT n FROM a_second").fetchone() == (4,)


END_MARKER_VALUES = ["\\.", "a\n\\.\nb", "a\r\n\\.\r\nb", "\n\\.\n", "x\n\\.", "\\.\n", "plain"]


@pytest.fixture
def end_marker_script(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> Script:
    """An archive with a windowed table whose values have lines that are only an end marker."""
    conninfo = new_database(postgres)
    run_sql(conninfo, "CREATE TABLE e (at date, note text)", "CREATE TABLE f (at date, note text)")
    with psycopg.connect(conninfo) as session:
        for value in END_MARKER_VALUES:
            session.execute("INSERT INTO e VALUES (now(), %s)", [value])
    scope = "{version: 1, windowed: {e.csv: {table: e, column: at}, f.csv: {table: f, column: at}}}"
    return unpack(make_pipeline(conninfo, scope), postgres, tmp_path / "unpacked")


def notes(script: Script, database: str, table: str = "e") -> list[str]:
    with psycopg.connect(script.server.conninfo(database)) as session:
        return [note for (note,) in session.execute(f"SELECT note FROM {table}".encode())]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_line_of_only_an_end_marker_comes_back(end_marker_script: Script, jobs: str) -> None:
    """The server's own psql, whatever its version, brings every byte back, in one transaction and with two jobs."""
    name = end_marker_script.new("marker")
    result = end_marker_script.run("--jobs", jobs, end_marker_script.url(name))
    assert result.returncode == 0, result.stderr
    assert notes(end_marker_script, name) == END_MARKER_VALUES
    assert_same_rows(end_marker_script.server.conninfo(name), end_marker_script.pipeline.backup()[1])


def test_line_of_only_an_end_marker_comes_back_into_a_schema(end_marker_script: Script) -> None:
    """The table alone comes back beside the live one, with every byte."""
    name = end_marker_script.pipeline.database.name
    result = end_marker_script.run("--table", "e", end_marker_script.url(name))
    assert result.returncode == 0, result.stderr
    assert notes(end_marker_script, name, "restored.e") == END_MARKER_VALUES


def test_line_of_only_an_end_marker_comes_back_by_hand(end_marker_script: Script, tmp_path: Path) -> None:
    """What BACKUP_INFO.txt says brings every byte back, and names the file."""
    pipeline = end_marker_script.pipeline
    archive, sidecar = pipeline.backup()
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr
    assert_same_rows(end_marker_script.server.conninfo(f"{pipeline.database.name}_restored"), sidecar)
    assert "e.copy.sql (COPY text) is there instead of e.csv" in (tmp_path / "out/BACKUP_INFO.txt").read_text()


@pytest.fixture
def old_path() -> str:
    """A PATH with a psql from before August 2025 first."""
    for folder in PSQL_BINARIES.values():
        answer = subprocess.run([folder / "psql", "--help=commands"], capture_output=True, text=True, check=True)
        if "unrestrict" not in answer.stdout:
            return f"{folder}:{os.environ['PATH']}"
    return pytest.skip("no psql from before August 2025 at hand; .ci/postgres brings one (TEST_POSTGRES_BINARIES)")


def constraints_of(script: Script, database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(script.server.conninfo(database)) as session:
        query = "SELECT conname, contype FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1"
        return session.execute(query).fetchall()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_psql_without_restrict_restores_all(script: Script, old_path: str, tmp_path: Path, jobs: str) -> None:
    """A psql of before August 2025 restores everything, says what it does without, and leaves no copy behind."""
    assert "\n\\restrict " in (script.folder / "schema.sql").read_text()
    (tmp_path / "with spaces").mkdir()
    name = script.new("old")
    result = script.run("--jobs", jobs, script.url(name), path=old_path, TMPDIR=str(tmp_path / "with spaces"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "this psql does not know \\restrict" in result.stdout
    assert not list((tmp_path / "with spaces").iterdir())
    assert_same_rows(script.server.conninfo(name), script.pipeline.backup()[1])
    assert constraints_of(script, name) == constraints_of(script, script.pipeline.database.name) != []


def test_only_the_lines_of_the_file_s_own_key_are_left_out(script: Script, old_path: str, tmp_path: Path) -> None:
    r"""A \restrict line with another key is still there, and stops the old psql; no copy of the schema is left."""
    break_file(script, "schema.sql", b"\\restrict other\n")
    (tmp_path / "copies").mkdir()
    result = script.run(script.url(script.new("other")), path=old_path, TMPDIR=str(tmp_path / "copies"))
    assert result.returncode == 7
    assert not list((tmp_path / "copies").iterdir())
    assert "invalid command \\restrict" in result.stderr


def test_psql_without_restrict_stops_by_hand_with_nothing_loaded(script: Script, old_path: str, tmp_path: Path) -> None:
    """The instructions, done with such a psql, end at once and leave the new database empty."""
    archive, _ = script.pipeline.backup()
    old = Clients(Path(old_path.split(":", maxsplit=1)[0]) / "psql", Path("unused"), "old")
    result = restore_by_hand(archive, tmp_path / "out", script.pipeline.database, old)
    assert result.returncode != 0
    assert "invalid command \\restrict" in result.stderr
    name = f"{script.pipeline.database.name}_restored"
    with psycopg.connect(script.server.conninfo(name)) as session:
        query = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert session.execute(query).fetchone() == (0,)
    assert "with such a psql use restore.sh" in (tmp_path / "out/BACKUP_INFO.txt").read_text()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_named_tables_into_a_new_database(script: Script, jobs: str) -> None:
    """The database is made with every table, rows in the named ones alone, sequences set and no keys."""
    name = script.new("few")
    result = script.run("--table", "purchases", "--table", "users", "--jobs", jobs, script.url(name))
    assert (result.returncode, result.stderr) == (0, "")
    assert "without keys" in result.stdout
    sidecar = script.pipeline.backup()[1]
    wanted = tuple(table for table in sidecar.tables if table.name in {"purchases", "users"})
    assert_same_rows(script.server.conninfo(name), sidecar.model_copy(update={"tables": wanted}))
    assert counts(script, name, "roles", "user_roles", "credit_transactions") == [0, 0, 0]
    assert not [kind for _, kind in constraints_of(script, name) if kind in {"p", "f", "u"}]
    with psycopg.connect(script.server.conninfo(name)) as session:
        for sequence in sidecar.sequences:
            row = session.execute(f"SELECT last_value FROM {sequence.qualified.sql}".encode()).fetchone()
            assert row == (sequence.last_value,)


def test_schema_for_a_database_that_is_not_there_is_refused(script: Script) -> None:
    """A new database needs no schema beside live tables; nothing is made."""
    name = script.new("none")
    result = script.run("--table", "users", "--into-schema", "s", script.url(name))
    assert result.returncode == 2
    assert "--into-schema is for one that is" in result.stderr
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(script.server.conninfo(name))


def test_named_table_is_not_another_that_ends_alike(script: Script) -> None:
    """--table user_roles does not bring roles along."""
    live = script.pipeline.database.name
    result = script.run("--table", "user_roles", "--into-schema", "alike", script.url(live))
    assert result.returncode == 0, result.stderr
    with psycopg.connect(script.server.conninfo(live)) as session:
        tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'alike'").fetchall()
    assert tables == [("user_roles",)]


def test_odd_environment_does_not_mislead(script: Script, tmp_path: Path) -> None:
    """Startup files, services and session variables of the person who restores change neither target nor rows."""
    (tmp_path / ".psqlrc").write_text("\\set AUTOCOMMIT off\n\\set ON_ERROR_ROLLBACK on\nSELECT 'psqlrc';\n")
    (tmp_path / "services").write_text("[other]\nhostaddr=127.0.0.2\nport=1\ndbname=postgres\nuser=nobody\n")
    odd = {
        "HOME": str(tmp_path),
        "PSQLRC": str(tmp_path / ".psqlrc"),
        "PGSERVICEFILE": str(tmp_path / "services"),
        "PGSERVICE": "other",
        "PGHOST": "no-such-host.invalid",
        "PGHOSTADDR": "127.0.0.2",
        "PGDATABASE": "postgres",
        "PGOPTIONS": "-c default_transaction_read_only=on -c datestyle=German -c search_path=nowhere",
        "PGDATESTYLE": "SQL, DMY",
        "PGTZ": "Asia/Bangkok",
        "PGCLIENTENCODING": "LATIN1",
        "CDPATH": "/usr",
        "PG_COLOR": "always",
    }
    for jobs in ("1", "2"):
        name = script.new(f"calm{jobs}")
        result = script.run("--jobs", jobs, script.url(name), **odd)
        assert (result.returncode, result.stderr) == (0, "")
        assert_same_rows(script.server.conninfo(name), script.pipeline.backup()[1])


def test_options_in_the_address_do_not_change_rows(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    """Intervals are read as they were written, and nothing is cut off, whatever the address asks for."""
    conninfo = new_database(postgres)
    run_sql(conninfo, "CREATE TABLE i (span interval)", "INSERT INTO i VALUES ('-1 day -02:03:04')")
    run_sql(conninfo, "CREATE MATERIALIZED VIEW slow AS SELECT pg_sleep(1.2)::text AS nothing")
    script = unpack(make_pipeline(conninfo, "{version: 1, tables: {i.sql: [i]}}"), postgres, tmp_path / "unpacked")
    options = "?options=-c%20intervalstyle%3Dsql_standard%20-c%20statement_timeout%3D1000"
    for jobs in ("1", "2"):
        name = script.new(f"style{jobs}")
        result = script.run("--jobs", jobs, script.url(name) + options)
        assert result.returncode == 0, result.stderr
        assert_same_rows(script.server.conninfo(name), script.pipeline.backup()[1])


def test_address_by_words_names_its_database(script: Script) -> None:
    """host=… dbname=… makes that database; without dbname nothing is guessed from the environment."""
    source = script.pipeline.database
    words = f"host={source.host} port={source.port} user={source.user}"
    name = script.new("words")
    assert script.run(f"{words} dbname={name}", PGHOSTADDR="127.0.0.2").returncode == 0
    assert counts(script, name, "users") == counts(script, source.name, "users")
    for target in (words, f"{script.url(name)}?dbname={source.name}"):
        result = script.run("--table", "users", target, PGDATABASE=source.name)
        assert result.returncode == 2
        assert "names" in result.stderr


def test_database_in_use_is_refused_and_unchanged(script: Script) -> None:
    """Live rows are never loaded over."""
    live = script.pipeline.database.name
    before = counts(script, live, "users", "purchases")
    result = script.run(script.url(live))
    assert result.returncode == 6
    assert "never loaded over live rows" in result.stderr
    assert counts(script, live, "users", "purchases") == before


def test_named_tables_go_into_a_schema_beside_the_live_ones(script: Script) -> None:
    """Two tables come back into their own schema, in the live database, with all their rows."""
    live = script.pipeline.database.name
    result = script.run("--table", "users", "--table", "purchases", "--into-schema", "last night", script.url(live))
    assert result.returncode == 0, result.stderr
    manifest = script.pipeline.backup()[1]
    expected = {table.name: table.rows for table in manifest.tables}
    assert counts(script, live, '"last night".users', '"last night".purchases') == [
        expected["users"],
        expected["purchases"],
    ]
    again = script.run("--table", "users", "--into-schema", "last night", script.url(live))
    assert again.returncode == 6
    assert "is there already" in again.stderr


def test_list_needs_no_database(script: Script) -> None:
    """Every table with its rows and file."""
    result = script.run("--list")
    assert result.returncode == 0
    assert "credit_transactions.csv" in result.stdout
    assert len(result.stdout.splitlines()) == 2 + 17


def test_dry_run_changes_nothing(script: Script) -> None:
    """Files and target are checked; no database is made."""
    result = script.run("--dry-run", script.url(script.new("dry")))
    assert result.returncode == 0, result.stderr
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(script.server.conninfo(script.new("dry")))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_no_constraints_loads_rows_only(script: Script, jobs: str) -> None:
    """All rows, no index, key or trigger."""
    name = script.new("bare")
    result = script.run("--no-constraints", "--jobs", jobs, script.url(name))
    assert result.returncode == 0, result.stderr
    with psycopg.connect(script.server.conninfo(name)) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_constraint"
            " WHERE contype IN ('f', 'p', 'u') AND connamespace = 'public'::regnamespace"
        ).fetchone()
    assert row == (0,)


@pytest.mark.parametrize("file", ["users.sql", "constraints.sql", "ssl/key.pem"])
def test_damaged_file_is_refused_before_anything_changes(script: Script, file: str) -> None:
    """One changed byte, and nothing is made."""
    path = script.folder / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = script.run(script.url(script.new("damaged")))
    assert result.returncode == 4
    assert file in result.stderr


def test_missing_file_is_refused(script: Script) -> None:
    """The message names it."""
    (script.folder / "config.sql").unlink()
    result = script.run(script.url(script.new("missing")))
    assert result.returncode == 4
    assert "config.sql" in result.stderr


def test_wrong_use_is_told(script: Script) -> None:
    """Unknown option, unknown table, no database, two databases, no number."""
    url = script.url(script.new("x"))
    for arguments in (
        ["--wrong", url],
        ["--table", "no_such_table", url],
        [],
        [url, url],
        ["--jobs", "many", url],
        ["--jobs"],
        ["postgresql://user@host"],
    ):
        result = script.run(*arguments)
        assert (arguments, result.returncode) == (arguments, 2)
        assert result.stderr


def test_server_that_is_not_there_is_told(script: Script) -> None:
    """Exit status 5 and the server's address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = script.run(f"postgresql://postgres@127.0.0.1:{unused.getsockname()[1]}/x")
    assert result.returncode == 5
    assert "cannot connect" in result.stderr


def test_missing_psql_is_told(script: Script, tmp_path: Path) -> None:
    """Exit status 3, and which package to install."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sha256sum", "tail", "head", "dirname", "cat", "grep", "date", "sed"):
        (programs / name).symlink_to(shutil.which(name) or name)
    result = script.run(script.url("x"), path=str(programs))
    assert result.returncode == 3
    assert "psql is missing" in result.stderr


@pytest.mark.parametrize(("jobs", "status"), [("1", 8), ("2", 8)])
def test_failing_constraint_is_told_apart(script: Script, jobs: str, status: int) -> None:
    """Exit status 8; with one job nothing is left behind but the empty database."""
    break_file(script, "constraints.sql", b"ALTER TABLE public.users ADD CONSTRAINT broken CHECK (false);\n")
    name = script.new("broken")
    result = script.run("--jobs", jobs, script.url(name))
    assert result.returncode == status, result.stderr
    assert "broken" in result.stderr
    if jobs == "1":
        with psycopg.connect(script.server.conninfo(name)) as session:
            assert session.execute("SELECT to_regclass('public.users')").fetchone() == (None,)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_failing_load_is_told(script: Script, jobs: str) -> None:
    """Exit status 7 and the server's words."""
    break_file(script, "schema.sql", b"DROP TABLE public.referrals;\n")
    result = script.run("--jobs", jobs, script.url(script.new("noload")))
    assert result.returncode == 7
    assert "referrals" in result.stderr


def test_rows_that_differ_are_told(script: Script) -> None:
    """Exit status 9 names the tables whose rows are not as many as in the backup."""
    break_file(script, "sequences.sql", b"DELETE FROM public.referrals;\n")
    result = script.run(script.url(script.new("fewer")))
    assert result.returncode == 9
    assert "referrals" in result.stderr


def break_file(script: Script, file: str, addition: bytes) -> None:
    """Add a statement to a file, and its new checksum to SHA256SUMS, as only somebody on purpose would."""
    path = script.folder / file
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + addition)
    sums = script.folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(old, hashlib.sha256(path.read_bytes()).hexdigest()))


@pytest.mark.parametrize("arguments", [(), ("--jobs", "2"), ("--no-constraints",), ("--no-constraints", "--jobs", "2")])
def test_materialised_views_are_filled_as_they_were(
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
    *,
    arguments: tuple[str, ...],
) -> None:
    """One reads another; with keys or without them, by one psql or several; each table has statistics."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        "CREATE TABLE a (id int)",
        "INSERT INTO a SELECT generate_series(1, 7)",
        "CREATE MATERIALIZED VIEW z_first AS SELECT count(*) AS n FROM a",
        "CREATE MATERIALIZED VIEW a_second AS SELECT n + 1 AS n FROM z_first",
    )
    script = unpack(make_pipeline(conninfo, "{version: 1, tables: {a.sql: [a]}}"), postgres, tmp_path / "unpacked")
    name = script.new("views")
    result = script.run(*arguments, script.url(name))
    assert (result.returncode, result.stderr) == (0, "")
    with psycopg.connect(script.server.conninfo(name)) as session:
        assert session.execute("SELECT n FROM a_second").fetchone() == (8,)
        query = "SELECT count(DISTINCT tablename) FROM pg_stats WHERE tablename IN ('a', 'z_first', 'a_second')"
        assert session.execute(query).fetchone() == (3,)

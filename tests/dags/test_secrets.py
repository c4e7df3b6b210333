"""Recognisable passwords are planted wherever one can come from; after real failures they are found nowhere."""

from __future__ import annotations

import contextlib
import dataclasses
import email
import email.policy
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.sdk._shared.secrets_masker import redact
from psycopg.conninfo import conninfo_to_dict

from include.backup.link import KEY_BYTES, KEY_FILE
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.ports import free_port
from include.operators.connection_variables import DATABASE_VARIABLE, connection_variables
from tests.fix_age import make_key_pair
from tests.fix_airflow import COPY_TASK, HOME, LocalAirflow, Site
from tests.fix_object_store import PUT_AND_GET, Login, ObjectStore

PLANTED = {
    name: f"planted-{name}-Zq7"
    for name in (
        "postgres",
        "smtp",
        "sslpassword",
        "link",
        "heartbeat",
        "worker",
        "airflow",
        "slack",
        "metrics-token",
        "age",
        "copy",
    )
}
LINK_KEY = b"planted-link-key-Zq7".ljust(KEY_BYTES, b"-")
PROCESSES = Path("/proc")


@dataclass
class Search:
    """Everything that was written while it was open, by place."""

    site: Site
    airflow: LocalAirflow
    log_file: Path
    run_ids: list[str] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)
    command_lines: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)
    allowed_in_environments: set[str] = field(default_factory=set)

    @property
    def secrets(self) -> dict[str, str]:
        """What was planted, and the passwords that work."""
        settings = self.site.settings
        return PLANTED | {
            "link key": LINK_KEY.decode(),
            "the database's": settings["POSTGRES_PASSWORD"],
            "the mail server's": settings["SMTP_PASS"],
        }

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Which secret stands where, in all that was written while this was open."""
        found = [(place, name) for place, text in self.texts().items() for name, s in self.secrets.items() if s in text]
        for name, secret in self.secrets.items():
            if name not in self.allowed_in_environments:
                programs = (text for text in self.environments if secret.encode() in text)
                found += [(f"environment of {text.partition(b'|')[0]!r}", name) for text in programs]
        return found

    def texts(self) -> dict[str, str]:
        """Return what is to be searched."""
        found = dict(self.more)
        for run_id in self.run_ids:
            found |= self.airflow.stored_texts(run_id)
        for folder in (self.site.backup_dir, HOME / "logs", self.log_file.parent):
            files = (path for path in folder.rglob("*") if path.is_file() and path.name != KEY_FILE)
            found |= {str(path): path.read_bytes().decode(errors="replace") for path in files}
        for mail in self.site.mailbox.messages():
            found |= {f"mail {mail.name} {number}": text for number, text in enumerate(texts_of_mail(mail))}
        return found | {"command lines": b"\n".join(self.command_lines).decode(errors="replace")}


def texts_of_mail(path: Path) -> list[str]:
    """Return headers and decoded texts of a mail."""
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    parts = (part for part in message.walk() if part.get_content_maintype() == "text")
    return [str(message.items()), *(str(part.get_content()) for part in parts)]


@contextmanager
def watched_processes(found: Search) -> Iterator[None]:
    """Collect every command line of the machine and the environment of every child, again and again."""
    ended = threading.Event()
    own = (PROCESSES / "self" / "environ").read_bytes()

    def look() -> None:
        while not ended.wait(0.005):
            for process in PROCESSES.iterdir():
                arguments = content(process / "cmdline")
                if not arguments.startswith(b"postgres: "):  # a server's own words about its session
                    found.command_lines.add(arguments)
            for child in descendants(os.getpid()):
                environment = content(PROCESSES / child / "environ")
                if environment and environment != own:  # a child has it until its own program begins
                    program = content(PROCESSES / child / "comm").strip()
                    found.environments.add(program + b"|" + environment)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
        assert thread.is_alive()  # nothing was overlooked
    finally:
        ended.set()
        thread.join()


def content(path: Path) -> bytes:
    """Return what the kernel says of a process; nothing if it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> Iterator[str]:
    """Yield the ids of a process's children, and of theirs."""
    threads = PROCESSES / str(pid) / "task"
    with contextlib.suppress(OSError):  # it has ended
        for thread in threads.iterdir():
            for child in content(thread / "children").decode().split():
                yield child
                yield from descendants(int(child))


@pytest.fixture
def search(
    airflow: LocalAirflow,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Search]:
    """Plant the passwords, let the test provoke, then look for them everywhere."""
    log_file = tmp_path / "log" / "backup.log"
    log_file.parent.mkdir()
    planted = {
        "PGPASSWORD": PLANTED["worker"],
        "BACKUP_HEARTBEAT_URL": f"http://127.0.0.1:{free_port()}/{PLANTED['heartbeat']}",
        "BACKUP_SLACK_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/services/{PLANTED['slack']}",
        "BACKUP_METRICS_TOKEN": PLANTED["metrics-token"],
        "AIRFLOW_CONN_OTHER": f"postgres://user:{PLANTED['airflow']}@db/other",
        "BACKUP_LOG_FILE": str(log_file),
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    use_settings(site, monkeypatch)
    (site.backup_dir / KEY_FILE).write_bytes(LINK_KEY)
    # psql and pg_dump log in with this one, and have no safer way to be told.
    result = Search(site, airflow, log_file, allowed_in_environments={"the database's"})
    with watched_processes(result):
        yield result
    output, errors = capfd.readouterr()
    assert all(run_id in output for run_id in result.run_ids)  # the tasks' logs are really among what is searched
    # Airflow masks when it writes a log, which pytest's own copy of the records has not been through.
    log = redact("\n".join(record.getMessage() for record in caplog.get_records("call")))
    assert "the heartbeat start was not taken" in log or not result.run_ids or "import errors" in result.more
    result.more |= {"output": output, "errors": errors, "log": str(log)}
    assert result.leaks == []


def use_settings(site: Site, monkeypatch: pytest.MonkeyPatch, *, extra: Any = None, **changes: str) -> None:
    """Put the settings, changed, into the environment, and the connections made of them, with a TLS password."""
    settings = site.settings | changes
    made = connection_variables(settings)
    extras = {"sslpassword": PLANTED["sslpassword"], **(extra or {})}
    database = json.loads(made[DATABASE_VARIABLE]) | {"extra": extras}
    connections = made | {DATABASE_VARIABLE: json.dumps(database)}
    for name, value in (settings | connections).items():
        monkeypatch.setenv(name, value)


def run(search: Search, **params: object) -> Any:
    """Run the DAG once."""
    run_id = search.airflow.trigger(**params)
    search.run_ids.append(run_id)
    return search.airflow.run(run_id)


@pytest.mark.parametrize(
    ("changes", "extra", "words"),
    [
        ({"POSTGRES_PASSWORD": PLANTED["postgres"]}, {}, "password authentication failed"),
        ({}, {"sslmode": "require"}, "server does not support SSL"),
        ({}, {"sslmode": "verify-full", "sslrootcert": "/nowhere.pem"}, "server does not support SSL"),
        # Somebody has typed it into the wrong field: the message quotes the user's name.
        ({"POSTGRES_PASSWORD": PLANTED["postgres"], "POSTGRES_USER": PLANTED["postgres"]}, {}, "as ***"),
    ],
)
def test_failure_at_the_database_shows_no_secret_anywhere(
    search: Search, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], extra: dict[str, str], words: str
) -> None:
    """The alert and the log file say why, and neither they nor anything else holds a password."""
    use_settings(search.site, monkeypatch, extra=extra, **changes)
    assert run(search).states["check_prerequisites"] == "failed"
    (alert,) = search.site.mailbox.messages()
    assert words in " ".join(" ".join(texts_of_mail(alert)).split())
    assert words in search.log_file.read_text()
    assert "task=check_prerequisites" in search.log_file.read_text()


def test_unreachable_host_named_like_a_password_shows_no_secret_anywhere(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that quotes the secret, in a failure that is tried again, with its stack trace in two logs."""
    monkeypatch.setenv("BACKUP_LOG_FORMAT", "json")
    use_settings(
        search.site, monkeypatch, POSTGRES_HOST=PLANTED["postgres"] + ".invalid", POSTGRES_PASSWORD=PLANTED["postgres"]
    )
    result = run(search)
    assert result.states["check_prerequisites"] == "up_for_retry"
    entry = json.loads(search.log_file.read_text().splitlines()[-1])
    assert (entry["task"], entry["run"], entry["try"]) == ("check_prerequisites", result.run_id, 1)
    assert "on ***.invalid" in entry["message"]
    assert "Traceback" in entry["stack"]


def test_refused_mail_login_shows_no_secret_anywhere(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alert fails as well, for the same reason: then the log file is the place where it stands."""
    use_settings(search.site, monkeypatch, SMTP_PASS=PLANTED["smtp"])
    assert run(search).states["email_attachment"] == "failed"
    text = search.log_file.read_text()
    assert "task=email_attachment" in text
    assert "the alert could not be sent" in text
    assert search.site.mailbox.messages() == []


def test_good_run_shows_no_secret_anywhere(search: Search) -> None:
    """Manifest, mail, XComs and the programs that were started; the heartbeat that nobody took is a warning."""
    result = run(search)
    assert result.state == "success"
    assert any(b"pg_dump" in line for line in search.command_lines)
    assert not search.log_file.exists()
    assert any(place.startswith("template ") for place in search.texts())
    assert variables_of(search, "pg_dump") >= {"PATH", "LC_ALL", "PGPASSWORD"}
    assert only_what_they_need(variables_of(search, "psql", "pg_dump"))


def variables_of(search: Search, *programs: str) -> set[str]:
    """Return the names of all variables that these programs were given."""
    entries = (entry.partition(b"|") for entry in search.environments)
    environments = (environment for program, _, environment in entries if program.decode() in programs)
    return {name.partition(b"=")[0].decode() for text in environments for name in text.split(b"\0") if name}


def only_what_they_need(variables: set[str]) -> bool:
    """Whether these are variables of libpq, of the program's place and language, of the shell's own, and no others."""
    few = {"PATH", "LC_ALL", "PWD", "OLDPWD"}
    return bool(variables) and {name for name in variables if not name.startswith("PG")} <= few


def test_encrypted_run_with_link_copy_and_drill_shows_no_secret_anywhere(
    search: Search, object_store: ObjectStore, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The private key, the link's key and the object store's secret stay where they are; a drill uses the first."""
    pair = make_key_pair(search.log_file.parent.parent, "keys.txt")
    login = object_store.login(*PUT_AND_GET)
    monkeypatch.setitem(PLANTED, "age", pair.private)
    monkeypatch.setitem(PLANTED, "copy", login.secret)
    changes = {
        "BACKUP_AGE_RECIPIENTS": pair.public,
        "BACKUP_AGE_IDENTITY_FILE": str(pair.file),
        "BACKUP_ATTACHMENT_MAX_MB": "0",
        "BACKUP_LINK_BASE_URL": "https://airflow.example.com",
        "BACKUP_COPY_URL": f"s3://offsite@{object_store.bucket()}/critical",
    }
    drill_role = conninfo_to_dict(postgres_18.conninfo())
    address = f"localhost:{drill_role['port']}"
    use_settings(search.site, monkeypatch, **changes)
    monkeypatch.setenv("AIRFLOW_CONN_OFFSITE", object_store.connection(login))
    monkeypatch.setenv(
        "AIRFLOW_CONN_BACKUP_DRILL", f"postgres://{drill_role['user']}:{drill_role['password']}@{address}"
    )
    search.airflow.load_dag()
    assert run(search).state == "success"
    (mail,) = search.site.backup_mails
    assert "signature=" in mail.read_text()
    drill = dataclasses.replace(search.airflow, dag_id="restore_drill")
    run_id = drill.trigger()
    search.run_ids.append(run_id)
    assert drill.run(run_id).states["drill_archive"] == "success"
    assert variables_of(search, "sh") >= {"PGPASSWORD"}
    assert only_what_they_need(variables_of(search, "sh", "psql"))


def test_refused_copy_shows_no_secret_anywhere(
    search: Search, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own words of the refusal stand in mail, log and log file, without the login."""
    key = object_store.login(*PUT_AND_GET).key
    use_settings(search.site, monkeypatch, BACKUP_COPY_URL=f"s3://offsite@{object_store.bucket()}/critical")
    monkeypatch.setenv("AIRFLOW_CONN_OFFSITE", object_store.connection(Login(key, PLANTED["copy"])))
    search.airflow.load_dag()
    assert run(search).states[COPY_TASK] == "failed"
    assert "check the rights there" in search.log_file.read_text()


def test_server_that_echoes_a_password_shows_no_secret_anywhere(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words stand in the task's log and in the XCom, as they are but for the secret."""
    monkeypatch.setenv("OTHER_PASSWORD", PLANTED["airflow"])
    refusals = cast("dict[str, str]", search.site.mailbox.refusals)
    refusals["admin2@example.com"] = f"550 no user with {PLANTED['airflow']}"
    result = run(search)
    assert "550 no user with ***" in search.airflow.stored_texts(result.run_id)["XCom email_attachment return_value"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUP_LINK_BASE_URL", f"https://user:{PLANTED['link']}@example.com"),
        ("BACKUP_AGE_RECIPIENTS", PLANTED["age"]),
        ("BACKUP_HEARTBEAT_URL", f"ftp://example.com/{PLANTED['heartbeat']}"),
        ("BACKUP_METRICS_TOKEN", f"{PLANTED['metrics-token']} with spaces"),
    ],
    ids=["link", "age", "heartbeat", "metrics token"],  # a test's name may stand in a command line
)
def test_wrong_secret_in_the_settings_shows_no_secret_anywhere(
    search: Search, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Neither in the DAG's import error nor in the task that reads the settings again."""
    run_id = search.airflow.trigger()
    dag = search.airflow.parse().dags["critical_backup"]
    monkeypatch.setenv(name, value)
    errors = search.airflow.parse().import_errors
    assert any(name in text for text in errors.values())
    search.more["import errors"] = str(errors)
    search.run_ids.append(run_id)
    assert search.airflow.run(run_id, dag=dag).states["create_workspace"] == "failed"
    assert f"wrong settings: {name}=" in search.log_file.read_text()


def test_search_finds_what_is_there(search: Search) -> None:
    """The search itself can fail: what is planted in a file, a mail, an argument or an environment is seen by it."""
    assert PLANTED["worker"] == os.environ["PGPASSWORD"]
    for secret in (PLANTED["worker"], search.secrets["the mail server's"], LINK_KEY.decode()):
        subprocess.run(["sleep", "0.3"], env={"A": "x", "B": secret}, check=True)
    assert {name for _, name in search.leaks} == {"worker", "the mail server's", "link key"}
    search.environments.clear()
    subprocess.run(["sh", "-c", "sleep 0.3; :", "planted argument"], env={}, check=True)
    (search.site.backup_dir / "x.manifest.json").write_text("planted")
    mail = search.site.mailbox.folder / "x.eml"
    mail.write_text("Subject: planted\nContent-Transfer-Encoding: base64\nContent-Type: text/plain\n\ncGxhbnRlZA==\n")
    places = [place for place, text in search.texts().items() if "planted" in text]
    found = {Path(place).name for place in places}
    assert found >= {"x.manifest.json", "mail x.eml 0", "mail x.eml 1", "command lines"}

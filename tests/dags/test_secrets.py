"""Recognisable passwords are planted wherever one can come from; after real failures they are found nowhere."""

from __future__ import annotations

import email
import email.policy
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.sdk._shared.secrets_masker import redact

from include.demo.ports import free_port
from include.operators.connection_variables import DATABASE_VARIABLE, connection_variables
from tests.fix_airflow import HOME, LocalAirflow, Site

PLANTED = {
    name: f"planted-{name}-Zq7"
    for name in ("postgres", "smtp", "sslpassword", "link", "heartbeat", "worker", "airflow", "slack", "metrics-token")
}
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

    def texts(self) -> dict[str, str]:
        """Return what is to be searched."""
        found = dict(self.more)
        for run_id in self.run_ids:
            found |= self.airflow.stored_texts(run_id)
        for folder in (self.site.backup_dir, HOME / "logs", self.log_file.parent):
            files = (path for path in folder.rglob("*") if path.is_file())
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
def watched_processes(found: set[bytes]) -> Iterator[None]:
    """Collect every command line of the machine, again and again."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            for process in PROCESSES.glob("[0-9]*/cmdline"):
                try:
                    found.add(process.read_bytes())
                except OSError:
                    continue  # it has ended

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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
    result = Search(site, airflow, log_file)
    with watched_processes(result.command_lines):
        yield result
    output, errors = capfd.readouterr()
    assert all(run_id in output for run_id in result.run_ids)  # the tasks' logs are really among what is searched
    # Airflow masks when it writes a log, which pytest's own copy of the records has not been through.
    log = redact("\n".join(record.getMessage() for record in caplog.get_records("call")))
    assert "the heartbeat start was not taken" in log or not result.run_ids or "import errors" in result.more
    texts = result.texts() | {"output": output, "errors": errors, "log": str(log)}
    leaks = [(place, name) for place, text in texts.items() for name, secret in PLANTED.items() if secret in text]
    assert leaks == []


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
    assert run(search).state == "success"
    assert any(b"pg_dump" in line for line in search.command_lines)
    assert not search.log_file.exists()


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
        ("BACKUP_HEARTBEAT_URL", f"ftp://example.com/{PLANTED['heartbeat']}"),
        ("BACKUP_METRICS_TOKEN", f"{PLANTED['metrics-token']} with spaces"),
    ],
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
    """The search itself can fail: what is planted in a file, a mail or an environment is seen by it."""
    assert PLANTED["worker"] == os.environ["PGPASSWORD"]
    (search.site.backup_dir / "x.manifest.json").write_text("planted")
    mail = search.site.mailbox.folder / "x.eml"
    mail.write_text("Subject: planted\nContent-Transfer-Encoding: base64\nContent-Type: text/plain\n\ncGxhbnRlZA==\n")
    places = [place for place, text in search.texts().items() if "planted" in text]
    assert {Path(place).name for place in places} >= {"x.manifest.json", "mail x.eml 0", "mail x.eml 1"}

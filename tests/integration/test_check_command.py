"""`python -m include.backup check`: a first look at one's own database and mail server, without Airflow."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from include.backup.names import QualifiedName
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.mailbox import Mailbox
from include.demo.sample import load_sample, write_sample_configuration
from tests.fix_documents import shell_block
from tests.fix_mailbox import read_mail
from tests.fix_pipeline import Pipeline, database_of, run_sql, source_variables

REPOSITORY = Path(__file__).resolve().parents[2]
NewDatabase = Callable[[EmbeddedPostgres], str]
Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(tmp_path: Path, mailbox: Mailbox) -> Check:
    """Run the command for a database, with settings that would do; keywords change them, None takes one away."""
    for name in ("backups", "config"):
        (tmp_path / name).mkdir(mode=0o700)
    write_sample_configuration(tmp_path / "config")

    def run(conninfo: str, *options: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        database = database_of(conninfo)
        variables: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            **source_variables(database),
            "SMTP_HOST": mailbox.host,
            "SMTP_PORT": str(mailbox.port),
            "SMTP_USER": mailbox.user,
            "SMTP_PASS": mailbox.password,
            "SSL_CERT_FILE": os.fspath(mailbox.certificate),
            "ADMIN_EMAILS": "admin@example.com",
            "BACKUP_DIR": os.fspath(tmp_path / "backups"),
            "BACKUP_CONFIG_DIR": os.fspath(tmp_path / "config"),
        }
        answer = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "include.backup", "check", *options],
            cwd=REPOSITORY,
            env={name: value for name, value in (variables | changes).items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
        )
        imports: list[str] = []
        said: list[str] = []
        for line in answer.stderr.splitlines():
            (imports if line.startswith("import time:") else said).append(line)
        assert not [line for line in imports if re.search(r"\| +airflow\b", line)], "it must not need Airflow"
        assert said == [], "whatever it has to say is no stack trace"
        assert database.password not in answer.stdout
        assert mailbox.password not in answer.stdout
        return answer

    return run


@pytest.fixture
def sample(postgres_18: EmbeddedPostgres, new_database: NewDatabase) -> str:
    """A small sample database."""
    conninfo = new_database(postgres_18)
    load_sample(conninfo, scale=0.05)
    return conninfo


def test_everything_is_fine(
    sample: str, check: Check, mailbox: Mailbox, make_pipeline: Callable[[str, str | None], Pipeline], tmp_path: Path
) -> None:
    """What to expect is near to what a backup then is; one mail goes to the address that was given, and to no other."""
    *_, command, option, address = shlex.split(shell_block("README.md", "backup check"))
    assert command == "check"
    done = check(sample, option, address)
    assert done.returncode == 0, done.stdout
    assert "✕" not in done.stdout
    assert done.stdout.endswith("A backup can be made. Next: unpause the DAGs and trigger critical_backup.\n")
    for line in ("✓ settings: admin@example.com will be told", "✓ database: ", "✓ scope: 13 tables whole, 4 by their"):
        assert f"\n{line}" in f"\n{done.stdout}"
    (mail,) = (read_mail(path) for path in mailbox.messages())
    assert (mail.recipients, mail.subject) == ({address}, "Backups can reach you")
    expected = re.search(
        r"expected: ([\d,]+) rows, .* an archive of about ([\d.]+) (KB|MB), mailed attached", done.stdout
    )
    assert expected, done.stdout
    assert re.search(r"made and verified in about \d+ seconds\n", done.stdout)
    archive, sidecar = make_pipeline(sample, None).backup()
    size_bytes = float(expected[2]) * (1 << 20 if expected[3] == "MB" else 1 << 10)
    assert 0.8 < int(expected[1].replace(",", "")) / sidecar.rows < 1.25
    assert 0.6 < size_bytes / archive.stat().st_size < 1.4


def test_everything_in_the_way_is_said_at_once(sample: str, check: Check, mailbox: Mailbox, tmp_path: Path) -> None:
    """A wrong setting, folder and mail server; the database is looked at all the same, and nothing is sent."""
    done = check(
        sample,
        BACKUP_WINDOW_MONTHS="never",
        BACKUP_DIR=os.fspath(tmp_path / "none"),
        SMTP_PASS="wrong",
    )
    assert done.returncode == 1
    errors = [line for line in done.stdout.splitlines() if line.startswith("✕ ")]
    assert len(errors) == 3, done.stdout
    assert "BACKUP_WINDOW_MONTHS='never'" in errors[0]
    assert "is not a folder; mount the volume or create it" in errors[1]
    assert "the mail server answered 535" in errors[2]
    assert "✓ scope: " in done.stdout
    assert "✓ expected: " in done.stdout
    assert done.stdout.endswith("No backup yet: 3 things are in the way (✕).\n")
    assert mailbox.messages() == []


def test_the_only_copy_would_be_here(sample: str, check: Check, tmp_path: Path) -> None:
    """Once archives go as links, unless a second copy is made; what is attached is in every mailbox."""
    (tmp_path / "second").mkdir()
    second = {"BACKUP_COPY_URL": f"file://{tmp_path / 'second'}"}
    for changes, expected in (({}, False), ({"BACKUP_ATTACHMENT_MAX_MB": "0"}, True), (second, False)):
        done = check(sample, **changes)
        assert done.returncode == 0, done.stdout
        assert ("the only archive is on this host" in done.stdout) is expected


def test_database_of_somebody_else_gets_a_way_to_a_scope(
    postgres_18: EmbeddedPostgres, new_database: NewDatabase, check: Check
) -> None:
    """The packaged scope fits no other database: the command that proposes one is named."""
    conninfo = new_database(postgres_18)
    run_sql(conninfo, "CREATE TABLE orders (id int PRIMARY KEY)")
    done = check(conninfo)
    assert done.returncode == 1
    assert "✓ database: " in done.stdout
    assert "begin with a proposal: python -m include.backup.scope propose > scope.yaml" in done.stdout
    assert "✓ mail: " in done.stdout
    assert "nothing was sent; --mail ADDRESS" in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"POSTGRES_PASSWORD": "wrong"}, "password authentication failed"),
        ({"POSTGRES_USER": None}, "POSTGRES_USER is not set; expected the role that makes the backups"),
        ({"SMTP_HOST": None}, "SMTP_HOST is not set; expected the mail server"),
        ({"SSL_CERT_FILE": None}, "no secure connection to the mail server"),
        ({"ADMIN_EMAILS": None}, "ADMIN_EMAILS is not set; expected a value"),
        ({"BACKUP_SCOPE_FILE": "/nowhere/scope.yaml"}, "/nowhere/scope.yaml"),
    ],
)
def test_one_thing_in_the_way_is_one_line(changes: dict[str, str | None], said: str, sample: str, check: Check) -> None:
    """With what to do; the rest is looked at."""
    done = check(sample, **changes)
    assert done.returncode == 1
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("✕ ")}
    assert said in line
    assert "No backup yet: one thing is in the way" in done.stdout


def test_one_of_several_backups(sample: str, check: Check, tmp_path: Path) -> None:
    """Its scope is looked at; one that is not there is named."""
    scope = tmp_path / "scope.yaml"
    scope.write_text(
        f"version: 1\nbackups:\n  few:\n    connection: few\n    recipients: few@example.com\n"
        f"    tables: {{users.sql: [{QualifiedName('public', 'roles').name}]}}\n"
    )
    (tmp_path / "backups" / "few").mkdir(mode=0o700)
    done = check(sample, "--backup", "few", BACKUP_SCOPE_FILE=os.fspath(scope))
    assert "1 tables whole, 0 by their window" in done.stdout
    other = check(sample, "--backup", "other", BACKUP_SCOPE_FILE=os.fspath(scope))
    assert other.returncode == 1
    assert "other" in other.stdout

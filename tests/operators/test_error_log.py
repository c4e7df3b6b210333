"""Which errors go to BACKUP_LOG_FILE, and that no wrong setting keeps them out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from include.backup.errors import BackupError, TemporaryError
from include.operators.alerts import NO_REASON, alert_failure
from include.operators.error_log import record_error
from include.operators.secrets import without_secrets
from include.operators.task import errors_for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

SECRET = "planted-Zq7"


class TaskInstance:
    """The part of Airflow's task instance that says which it is."""

    dag_id, task_id, run_id, try_number, max_tries = "critical_backup", "export_database", "manual__x", 2, 3


CONTEXT = cast("Context", {"ti": TaskInstance()})


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log file, in JSON, and a secret in the environment."""
    monkeypatch.setenv("BACKUP_LOG_FILE", str(tmp_path / "backup.log"))
    monkeypatch.setenv("BACKUP_LOG_FORMAT", "json")
    monkeypatch.setenv("SMTP_PASS", SECRET)
    return tmp_path / "backup.log"


def entries(log_file: Path) -> list[dict[str, Any]]:
    """Return what was written."""
    return [json.loads(line) for line in log_file.read_text().splitlines()] if log_file.exists() else []


@pytest.mark.parametrize(
    "error",
    [BackupError, TemporaryError, OSError, ValueError, KeyError, AirflowFailException, AirflowTaskTimeout],
)
def test_error_of_any_kind_is_written_once_without_its_secret(error: type[BaseException], log_file: Path) -> None:
    """Also one that nobody thought of, and Airflow's time-out, which is no Exception."""
    with pytest.raises(BaseException, match="reason"), errors_for_airflow(CONTEXT):
        raise error(f"reason {SECRET}")
    (entry,) = entries(log_file)
    assert SECRET not in json.dumps(entry)
    assert "reason ***" in entry["message"]
    assert f"{error.__name__}: " in entry["stack"]
    where = {name: entry[name] for name in ("dag", "task", "run", "try")}
    assert where == {"dag": "critical_backup", "task": "export_database", "run": "manual__x", "try": 2}


def test_cores_error_reaches_airflow_without_its_secret(log_file: Path) -> None:
    """With all its causes: Airflow writes the whole chain to its log."""

    with pytest.raises(AirflowFailException, match=r"^reason \*\*\*$") as raised, errors_for_airflow(CONTEXT):
        raise BackupError(f"reason {SECRET}") from TemporaryError(f"cause {SECRET}")
    chain = (raised.value, raised.value.__cause__, raised.value.__cause__ and raised.value.__cause__.__cause__)
    assert [str(error) for error in chain] == ["reason ***", "reason ***", "cause ***"]


def test_skipped_task_is_no_error(log_file: Path) -> None:
    """A drill that is not due ends like this every night."""
    with pytest.raises(AirflowSkipException), errors_for_airflow(CONTEXT):
        raise AirflowSkipException("not due")
    assert entries(log_file) == []


def test_error_without_a_context_is_written_as_well(log_file: Path) -> None:
    """Whoever has none still has an error."""
    with pytest.raises(AirflowFailException), errors_for_airflow():
        raise BackupError("reason")
    (entry,) = entries(log_file)
    assert "task" not in entry


def test_wrong_settings_do_not_keep_the_error_out_of_the_file(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be the error; a format that does not exist is text."""
    monkeypatch.setenv("BACKUP_LOG_FORMAT", "xml")
    monkeypatch.setenv("POSTGRES_PORT", "many")
    record_error("reason")
    assert log_file.read_text().rstrip().endswith("ERROR reason")


def test_killed_task_and_failed_alert_are_written(
    log_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No task could write the first; nobody gets a mail of the second: ADMIN_EMAILS is not set."""
    monkeypatch.delenv("ADMIN_EMAILS", raising=False)
    alert_failure(CONTEXT)
    messages = [entry["message"] for entry in entries(log_file)]
    assert messages[0] == NO_REASON
    assert any(message.startswith("the alert could not be sent: wrong settings: ADMIN_EMAILS") for message in messages)
    assert all(entry["task"] == "export_database" for entry in entries(log_file))


def test_alert_for_an_error_does_not_write_it_again(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task has done so."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    alert_failure(cast("Context", {"ti": TaskInstance(), "exception": BackupError("reason")}))
    assert [entry["message"] for entry in entries(log_file) if entry["message"] == "reason"] == []
    assert len(entries(log_file)) == 1  # there is no mail server


def test_file_that_cannot_be_written_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error stays the error that it was; one warning says that the file does not have it."""
    monkeypatch.setenv("BACKUP_LOG_FILE", str(tmp_path / "gone" / "backup.log"))
    error = TemporaryError("reason")
    with pytest.raises(TemporaryError) as raised, errors_for_airflow(CONTEXT):
        raise error
    assert raised.value is error
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1


def test_results_keep_names_and_lose_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is also a part of an archive's name must not change what the next task looks for."""
    monkeypatch.setenv("SMTP_PASS", "backup")
    name = "critical_backup_20261120_020004.tar.gz"
    assert without_secrets(name) == name
    assert without_secrets({"a@b": "550 no backup here", "n": 1, "l": [name, None]}) == {
        "a@b": "550 no *** here",
        "n": 1,
        "l": [name, None],
    }

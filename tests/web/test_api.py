"""The JSON endpoints: a real api-server, and the app in this process where the environment is to change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import RunRecord, read_sidecar
from include.backup.settings import BYTES_PER_MB, SECRET_VARIABLES
from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer
from tests.fix_archives import NOW, SNAPSHOT_AT, publish_archive

PRIVATE = ["/backup/status", "/backup/history", "/backup/config", "/backup/archives/x"]


def test_health_of_good_backups(api_server: ApiServer) -> None:
    """200 and the age; HEAD has the same status and nothing else."""
    publish_archive(api_server.backup_dir, hours_old=3)
    answer = api_server.get("/backup/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert 3 <= answer.json()["age_hours"] < 4
    with api_server.client() as client:
        assert (client.head("/backup/health").status_code, client.head("/backup/health").content) == (200, b"")


def test_health_that_is_bad_says_nothing_but_that(api_server: ApiServer) -> None:
    """503 and two fields: no reason, no path, no name, also where a browser asks."""
    assert api_server.get("/backup/health").json() == {"status": "unhealthy", "age_hours": None}
    publish_archive(api_server.backup_dir, hours_old=26)
    for accept in ("*/*", "text/html"):
        answer = api_server.get("/backup/health", Accept=accept)
        assert answer.status_code == 503
        assert answer.json()["status"] == "unhealthy"
        assert 26 <= answer.json()["age_hours"] < 27
        assert answer.json().keys() == {"status", "age_hours"}


def test_health_with_a_wrong_setting_is_bad(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is no number, a zone that is none: 503 and the same two fields."""
    monkeypatch.setenv("BACKUP_MAX_AGE_HOURS", "soon")
    answer = airflow.api.get("/backup/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy", "age_hours": None})


def test_status_says_whether_we_are_safe(api_server: ApiServer) -> None:
    """The verdict of the core, its figures, and the nights."""
    status = api_server.get("/backup/status", "viewer").json()
    assert (status["state"] in ("new", "unsafe"), status["archives"], status["age_hours"]) == (True, 0, None)
    archive = publish_archive(api_server.backup_dir, hours_old=3, size=BYTES_PER_MB)
    write_drill(
        archive,
        DrillRecord(drilled_at=NOW, passed=True, seconds=6.6, tables=1, rows=1, server_version="18", error=""),
    )
    status = api_server.get("/backup/status", "viewer").json()
    assert status["sentence"].startswith("Last backup 3 h ago, verified and restored in 7 s; ")
    assert status["archives"] == 1
    assert 3 <= status["age_hours"] < 4
    assert status["free_bytes"] > 0
    archive.write_bytes(b"short")
    status = api_server.get("/backup/status", "viewer").json()
    assert status["state"] == "unsafe"
    assert status["remedy"]


def test_history_lists_what_is_recorded_of_each_archive(api_server: ApiServer) -> None:
    """Newest first, page by page, with run, rows, drill, expiry, and what is wrong with one that is damaged."""
    folder = api_server.backup_dir
    run = RunRecord(run_id="manual__7", kind="manual", stands_for=SNAPSHOT_AT, reason="before migration 42")
    archives = [publish_archive(folder, hours_old=3 + 24 * day, size=1000 + day, run=run) for day in range(9)]
    drill = DrillRecord(
        drilled_at=NOW, passed=False, seconds=2.5, tables=1, rows=1, server_version="18", error="users differs"
    )
    write_drill(archives[1], drill)
    archives[2].write_bytes(b"short")
    sidecar_path(archives[3]).write_text("{")
    first, second = (api_server.get(f"/backup/history?limit=5&offset={offset}", "viewer").json() for offset in (0, 5))
    assert [first["total"], first["limit"], first["offset"], second["offset"]] == [9, 5, 0, 5]
    entries = first["archives"] + second["archives"]
    assert [entry["name"] for entry in entries] == [archive.name for archive in archives]
    newest, drilled, short, damaged, *_, oldest = entries
    assert newest["run_id"] == "manual__7"
    assert newest["reason"] == "before migration 42"
    assert (newest["size_bytes"], newest["sha256"], newest["problem"]) == (1000, "5f" * 32, "")
    assert (newest["drill"], newest["expires_at"]) == (None, None)
    assert drilled["drill"] == {
        "drilled_at": NOW.isoformat().replace("+00:00", "Z"), "passed": False, "seconds": 2.5, "error": "users differs"
    }  # fmt: skip
    assert short["problem"] == "it has 5 bytes, 1,002 when it was verified"
    assert damaged["problem"].startswith("its manifest is damaged")
    assert (damaged["rows"], damaged["sha256"]) == (None, None)
    assert oldest["expires_at"] is None  # the newest 7 that are sound stay


def test_history_says_when_an_archive_expires(api_server: ApiServer) -> None:
    """The age of BACKUP_RETENTION_DAYS; null for the newest 7."""
    for day in range(8):
        publish_archive(api_server.backup_dir, hours_old=3 + 24 * day)
    archives = api_server.get("/backup/history", "viewer").json()["archives"]
    assert [archive["expires_at"] is None for archive in archives] == [True] * 7 + [False]
    assert archives[7]["expires_at"] > archives[7]["snapshot_at"]


def test_archive_is_its_manifest(api_server: ApiServer) -> None:
    """What lies beside the archive, field for field, under the names that the data model gives them."""
    archive = publish_archive(api_server.backup_dir)
    answer = api_server.get(f"/backup/archives/{archive.name}", "viewer")
    assert answer.json() == json.loads(sidecar_path(archive).read_text())
    assert answer.json() == json.loads(read_sidecar(archive).model_dump_json(by_alias=True))


def test_archive_whose_manifest_is_damaged_is_refused(api_server: ApiServer) -> None:
    """409: as a list it can be read, as a manifest it cannot."""
    archive = publish_archive(api_server.backup_dir)
    content = json.loads(sidecar_path(archive).read_text()) | {"sequences": "none"}
    sidecar_path(archive).write_text(json.dumps(content))
    answer = api_server.get(f"/backup/archives/{archive.name}", "viewer")
    assert answer.status_code == 409
    assert "is not a manifest" in answer.json()["detail"]


def test_config_shows_every_setting_and_no_secret(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Values and defaults; of secrets only whether they are set; a password that stands elsewhere is masked."""
    secrets = {name: f"https://hidden-{name.lower()}.example.com/abcdefgh1234" for name in SECRET_VARIABLES}
    secrets |= {"SMTP_PASS": "hidden-smtp-pass", "BACKUP_METRICS_TOKEN": "hidden-0123456789-0123456789"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ADMIN_EMAILS", "ada@example.com, bob@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    monkeypatch.setenv("SMTP_USER", "login with hidden-smtp-pass in it")
    answer = airflow.api.get("/backup/config")
    settings = answer.json()["settings"]
    assert settings["ADMIN_EMAILS"] == {"value": "ada@example.com, bob@example.com", "default": None}
    assert settings["BACKUP_LINK_DAYS"] == {"value": "7", "default": "7"}
    assert settings["BACKUP_DIR"] == {"value": str(tmp_path), "default": "/backups"}
    assert {settings[name]["value"] for name in secrets} == {"***"}
    assert "hidden" not in answer.text


@pytest.mark.parametrize("path", [*PRIVATE, "/backup/archives/x/download"])
def test_wrong_setting_is_said_to_who_is_logged_in(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """503 with the variable, the value and what is expected; no stack trace."""
    monkeypatch.setenv("ADMIN_EMAILS", "nobody")
    answer = airflow.api.get(path)
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("wrong settings: ADMIN_EMAILS='nobody': 'nobody': not an e-mail address")


@pytest.mark.parametrize("path", [path for path in PRIVATE if path != "/backup/config"])
def test_missing_folder_is_said_to_who_is_logged_in(api_server: ApiServer, path: str) -> None:
    """503 with the folder and what to do; the viewer is told, a stranger is not."""
    api_server.backup_dir.rmdir()
    answer = api_server.get(path, "viewer")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith(
        f"BACKUP_DIR={api_server.backup_dir} cannot be read by the api-server: No"
    )
    stranger = api_server.get(path)
    assert (stranger.status_code, str(api_server.backup_dir) in stranger.text) == (401, False)
    assert api_server.get("/backup/health").status_code == 503

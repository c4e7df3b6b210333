"""The examples of docs/BACKUP_API.md and of the OpenAPI description, run as they stand against a real api-server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml
from fastapi.routing import APIRoute

from include.web.app import PREFIX, create_app
from tests.fix_airflow import REPOSITORY, LocalAirflow, Site
from tests.fix_api_server import ApiServer, PutArchive
from tests.fix_documents import blocks_of, shell_blocks

DOCUMENT = REPOSITORY / "docs" / "BACKUP_API.md"
LOGIN, TRIGGER, FETCH = shell_blocks("docs/BACKUP_API.md")


def run(server: ApiServer, script: str, folder: Path) -> str:
    """Run a script as a user would who has set his address and login; return what it printed."""
    login = {"AIRFLOW": server.address, "AIRFLOW_USER": "user", "AIRFLOW_PASSWORD": server.passwords["user"]}
    result = subprocess.run(
        ["sh", "-eu"], input=script, cwd=folder, env=os.environ | login, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_examples_of_the_description_are_those_of_the_document() -> None:
    """The login and the trigger stand in both, letter for letter."""
    described = yaml.safe_load((REPOSITORY / "specs/011-automated-backup/api.yaml").read_text())["info"]["description"]
    assert blocks_of(described) == [LOGIN, TRIGGER]


def test_example_makes_a_backup(api_server: ApiServer, site: Site, airflow: LocalAirflow, tmp_path: Path) -> None:
    """The trigger starts a run with the reason and without a mail, which then makes an archive."""
    answer = run(api_server, LOGIN + TRIGGER, tmp_path)
    run_id = re.search(r'"dag_run_id":"([^"]+)"', answer)
    assert run_id, answer
    assert airflow.run(run_id[1]).state == "success"
    assert b'"reason": "before migration 42"' in next(site.backup_dir.glob("*.manifest.json")).read_bytes()
    assert site.backup_mails == []


def test_example_fetches_the_newest_archive_and_resumes(
    api_server: ApiServer, put_archive: PutArchive, tmp_path: Path
) -> None:
    """The third example, run when a part is there already, gives the whole archive under its name."""
    put_archive(hours_old=27)
    newest = put_archive(hours_old=3)
    (tmp_path / newest.name).write_bytes(newest.read_bytes()[:1000])
    run(api_server, LOGIN + FETCH, tmp_path)
    assert [path.name for path in tmp_path.glob("*.gz")] == [newest.name]
    assert (tmp_path / newest.name).read_bytes() == newest.read_bytes()


def test_document_names_every_endpoint() -> None:
    """What the app serves stands in the table."""
    served = {PREFIX + route.path for route in create_app().routes if isinstance(route, APIRoute)}
    named = {path.partition("?")[0] for path in re.findall(r"^\| `(/[^`]+)`", DOCUMENT.read_text(), re.MULTILINE)}
    assert named == served

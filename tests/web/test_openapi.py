"""The OpenAPI description: equal to the app, complete, and true of a real api-server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute

from include.web.app import PREFIX, create_app
from include.web.openapi import FILE, description
from tests.fix_api_server import ApiServer
from tests.fix_archives import NOW, SNAPSHOT_AT, publish_archive

API: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
# Described in specs/011-automated-backup/data-model.md, whose figures a test holds to the code.
MANIFEST = {name for name in API["components"]["schemas"] if name.endswith("Record") or name == "Sidecar"}
FASTAPI = {"HTTPValidationError", "ValidationError"}


def test_file_is_what_the_app_serves() -> None:
    """The file is the app's own description; `make api` writes it anew."""
    assert FILE.read_text(encoding="utf-8") == description()


def test_every_route_is_described() -> None:
    """Every GET of JSON or a file stands in the description; pages and HEAD do not."""
    served = {route.path for route in create_app().routes if isinstance(route, APIRoute) and "GET" in route.methods}
    pages = {"/", "/running", "/contents/{name}"}
    assert set(API["paths"]) == served - pages
    assert API["servers"] == [{"url": PREFIX}]
    assert all(set(operations) == {"get"} for operations in API["paths"].values())


@pytest.mark.parametrize("path", API["paths"])
def test_operation_says_who_may_and_what_can_go_wrong(path: str) -> None:
    """All but the health check ask for a login, and declare 401 and 403 as a problem in words."""
    operation = API["paths"][path]["get"]
    assert operation["description"]
    assert operation["operationId"]
    if path == "/health":
        assert "security" not in operation
        assert set(operation["responses"]) == {"200", "503"}
        return
    assert operation["security"]
    for status in ("401", "403"):
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize("name", sorted(set(API["components"]["schemas"]) - MANIFEST - FASTAPI))
def test_every_field_is_described(name: str) -> None:
    """Each model and each of its fields says what it is."""
    schema = API["components"]["schemas"][name]
    assert schema["description"]
    assert [field for field, facts in schema["properties"].items() if not facts.get("description")] == []


def test_parameters_are_described() -> None:
    """So is everything that can be asked with."""
    parameters = [p for path in API["paths"].values() for p in path["get"].get("parameters", ())]
    assert [p["name"] for p in parameters if not p.get("description") and p["name"] != "accept"] == []


def test_server_keeps_what_the_description_promises(api_server: ApiServer, tmp_path: Path) -> None:
    """
    Schemathesis: hostile and fitting requests get declared statuses, types and shapes, and never a server error.

    Not checked: that whatever fits is taken. Any name of the pattern fits, but only two archives are there.
    """
    example = API["paths"]["/archives/{name}"]["get"]["parameters"][0]["schema"]["examples"][0]
    hours_old = (NOW - SNAPSHOT_AT).total_seconds() / 3600
    assert publish_archive(api_server.backup_dir, hours_old=hours_old).name == example
    publish_archive(api_server.backup_dir)
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(FILE)]
    options = ["--exclude-checks", "positive_data_acceptance", "-n", "30", "--no-color", "--generation-deterministic"]
    options += ["-H", f"Authorization: Bearer {api_server.token('admin')}", "-u", api_server.address + PREFIX]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\b[1-9]\d{2,} generated", result.stdout), result.stdout

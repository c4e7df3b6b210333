"""The recipe of the image: well made, of the Airflow that is tested, with the health check of the specification."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile.backup"
RECIPES = (DOCKERFILE, *sorted((ROOT / "tests").rglob("Dockerfile*")))
SCRIPTS = sorted(
    path
    for folder in (".ci", "scripts", "tests/containers")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
)


def lint(linter: str, file: Path) -> str:
    """Return what a linter says; nothing if it is content."""
    command = (Path(sys.executable).parent / linter, file)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_is_well_made(recipe: Path, tmp_path: Path) -> None:
    """By hadolint; it would see a package that is left in its cache."""
    assert lint("hadolint", recipe) == ""
    (tmp_path / "Dockerfile").write_text(recipe.read_text() + "\nRUN pip install six\n")
    assert "DL3042" in lint("hadolint", tmp_path / "Dockerfile")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_well_made(script: Path) -> None:
    """By shellcheck."""
    assert lint("shellcheck", script) == ""


def test_scripts_are_found() -> None:
    """The health check and what starts a build are among them."""
    assert {"backup-monitor.sh", "run", "docker"} <= {path.name for path in SCRIPTS}


def test_base_is_the_airflow_that_is_tested() -> None:
    """The official image of the version that requirements.txt pins."""
    version = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert version
    assert re.search(
        rf"^ARG BASE_IMAGE=apache/airflow:{re.escape(version[1])}-python3\.\d+$", DOCKERFILE.read_text(), re.MULTILINE
    )


def test_health_check_is_the_specified_one() -> None:
    """Command, interval, time-out and retries of section 8; the compose file's are the same."""
    specification = (ROOT / "specs/011-automated-backup/spec.md").read_text()
    section = specification.split("**Docker health check:**")[1].split("\n##")[0]
    assert [re.search(pattern, section) for pattern in ("backup-monitor.sh", "1 hour", "10 seconds", "3")].count(
        None
    ) == 0
    assert (
        'HEALTHCHECK --interval=1h --timeout=10s --retries=3 CMD ["/scripts/backup-monitor.sh"]'
        in DOCKERFILE.read_text()
    )
    production = (ROOT / "docker-compose.prod.yml").read_text()
    wanted = ["test: [CMD, /scripts/backup-monitor.sh]", "interval: 1h", "timeout: 10s", "retries: 3"]
    assert [line for line in wanted if line not in production] == []


def test_image_is_not_roots_at_the_end() -> None:
    """Its last user is Airflow's."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)[-1] == "50000"


def test_only_what_the_image_needs_is_sent_to_the_engine() -> None:
    """Everything else is left out, so that no secret of a checkout gets into an image."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_in = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    used = set(re.findall(r"source=([\w.]+)", DOCKERFILE.read_text()))
    used |= set(re.findall(r"^COPY ([\w]+)", DOCKERFILE.read_text(), re.MULTILINE))
    assert let_in == used
    assert {"include/demo", "**/__pycache__"} <= set(ignored)

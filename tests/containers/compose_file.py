"""Docker's Compose reads the project's files: in a folder with what stands beside them on a host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AIRFLOW, PRODUCTION = "docker-compose.airflow.yml", "docker-compose.prod.yml"
SETTINGS, EXAMPLE = ".env.production", ".env.production.example"
MISSING = "no Compose of version 2.20 or newer is there: .ci/run brings it"
NEEDED = (2, 20)  # `include`

# What the example leaves to be filled in, and nothing starts without.
FILLED_IN = {
    "AIRFLOW__CORE__FERNET_KEY": "Zm9yLXRlc3RzLWFsb25lLWFuZC1ub3RoaW5nLWVsc2U=",
    "AIRFLOW__API_AUTH__JWT_SECRET": "jwt-secret-of-tests",
    "AIRFLOW__API__SECRET_KEY": "api-secret-of-tests",
    "AIRFLOW_POSTGRES_PASSWORD": "metadata0password",
    "ADMIN_EMAILS": "admin1@example.com,admin2@example.com",
}


@cache
def compose_program() -> str | None:
    """Return Compose's own program; None if there is none, or too old a one."""
    program = shutil.which("docker-compose")
    if program:
        answer = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
        version = re.match(r"v?(\d+)\.(\d+)", answer.stdout)
        if version and (int(version[1]), int(version[2])) >= NEEDED:
            return program
    return None


class Project:
    """A folder as on a host: the compose files, .env.production and what is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        (folder / "ssl").mkdir()
        for name in (AIRFLOW, PRODUCTION, EXAMPLE):
            shutil.copy(ROOT / name, folder)
        self.settings(FILLED_IN)

    def settings(self, values: Mapping[str, str]) -> None:
        """Write .env.production: the example, with these values filled in or set."""
        text = (self.folder / EXAMPLE).read_text()
        for name, value in values.items():
            text, found = re.subn(rf"^#?{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert found == 1, name
        (self.folder / SETTINGS).write_text(text)

    def compose(self, *arguments: str, timeout_seconds: int = 60) -> subprocess.CompletedProcess[str]:
        """Run Compose with .env.production; without Compose the test is skipped."""
        program = compose_program()
        if not program:
            pytest.skip(MISSING)
        return subprocess.run(
            [program, "--env-file", SETTINGS, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )

    def read(self, *files: str, profiles: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return what Compose makes of these files together."""
        options = [word for name in files for word in ("-f", name)]
        options += [word for name in profiles for word in ("--profile", name)]
        answer = self.compose(*options, "config", "--format", "json")
        assert answer.returncode == 0, answer.stderr
        made = json.loads(answer.stdout)
        assert isinstance(made, dict)
        return made

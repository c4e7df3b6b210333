"""The DAG files from a Git repository: as docs/PRODUCTION.md puts this package into an Airflow that is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from include.demo.airflow_processes import AIRFLOW, migrate_metadata

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "PRODUCTION.md"
REPOSITORY_ADDRESS = "https://git.example.com/critical-backup.git"


def bundle_of_the_guide(repository: Path) -> str:
    """Return the guide's own setting, for this repository."""
    (setting,) = re.findall(
        r"^    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST='(.+)'$", GUIDE.read_text(), re.MULTILINE
    )
    assert REPOSITORY_ADDRESS in setting
    return str(setting).replace(REPOSITORY_ADDRESS, str(repository))


class Repository:
    """A Git repository that holds what a release of this package holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("dags", "include", "plugins"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self) -> str:
        """Commit what lies there, and return the commit's hash."""
        self._git("add", "--all")
        self._git("-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=Test")
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        command = ("git", "-C", str(self.folder), *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Processor:
    """Airflow's dag-processor with metadata of its own, which reads its DAGs from a bundle."""

    def __init__(self, folder: Path, bundles: str) -> None:
        self._metadata = folder / "metadata.sqlite"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": bundles,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._metadata}",
            "PYTHONPATH": str(ROOT),
            "ADMIN_EMAILS": "admin@example.com",
        }
        migrate_metadata(self._environment, folder / "migrate.log")

    def run_once(self) -> None:
        """Read all DAG files once."""
        command = [*AIRFLOW, "dag-processor", "--num-runs", "1"]
        answer = subprocess.run(
            command, env=self._environment, cwd="/", capture_output=True, text=True, check=False, timeout=120
        )
        assert answer.returncode == 0, answer.stderr[-3000:]

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """Return rows of Airflow's metadata."""
        with closing(sqlite3.connect(self._metadata)) as connection:
            return connection.execute(query).fetchall()


def test_dags_come_from_a_git_repository_in_the_version_of_its_commit(tmp_path: Path) -> None:
    """All four are there without an import error, each with the commit; a new commit is a new version."""
    repository = Repository(tmp_path / "repository")
    first = repository.commit()
    (tmp_path / "airflow").mkdir()
    processor = Processor(tmp_path / "airflow", bundle_of_the_guide(repository.folder))
    processor.run_once()
    assert processor.rows("SELECT stacktrace FROM import_error") == []
    dags = ("backup_watch", "critical_backup", "restore_backup", "restore_drill")
    query = "SELECT dag_id, bundle_name, bundle_version FROM dag ORDER BY dag_id"
    assert processor.rows(query) == [(dag, "critical_backup", first) for dag in dags]

    dag_file = repository.folder / "dags" / "critical_backup.py"
    dag_file.write_text(dag_file.read_text() + "\n# changed\n")
    second = repository.commit()
    processor.run_once()
    assert second != first
    assert processor.rows(query) == [(dag, "critical_backup", second) for dag in dags]


def test_bundle_of_the_guide_names_the_provider() -> None:
    """Its class can be imported by that name."""
    (bundle,) = json.loads(bundle_of_the_guide(Path("/repository")))
    module, _, name = bundle["classpath"].rpartition(".")
    assert hasattr(pytest.importorskip(module), name)

"""The benchmark of workers asks for backups that the package makes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.workers import scope_of
from include.backup.fleet import read_fleet
from include.backup.scope import load_scope
from include.backup.settings import PACKAGED_SCOPE_FILE


def test_scope_file_has_the_backups_and_the_packages_own(tmp_path: Path) -> None:
    """Each with the package's scope, under its own DAG; nothing is wrong with any."""
    file = tmp_path / "scope.yaml"
    file.write_text(scope_of(["db0", "db1"]))
    fleet = read_fleet(file)
    assert fleet.errors == ()
    dag_ids = [backup.dag_id for backup in fleet.backups]
    assert dag_ids == ["critical_backup", "critical_backup_db0", "critical_backup_db1"]
    assert load_scope(file) == load_scope(PACKAGED_SCOPE_FILE)

"""Configuration files on their way into the archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.backup import configuration
from include.backup.configuration import FoundConfiguration, copy_configuration, find_configuration
from include.backup.scope import Scope, load_scope


def test_file_that_goes_while_others_are_copied_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of uploads is in use: one that somebody deletes does not cost the night's backup."""
    (tmp_path / "scope.yaml").write_text("version: 1\ntables: {t.sql: [t]}\nconfiguration: [uploads]\n")
    for folder in ("uploads", "parts"):
        (tmp_path / folder).mkdir()
    for name in ("goes", "stays"):
        (tmp_path / "uploads" / name).write_text(name)

    def found_then_deleted(scope: Scope, config_dir: Path) -> FoundConfiguration:
        found = find_configuration(scope, config_dir)
        (config_dir / "uploads" / "goes").unlink()
        return found

    monkeypatch.setattr(configuration, "find_configuration", found_then_deleted)
    result = copy_configuration(load_scope(tmp_path / "scope.yaml"), tmp_path, tmp_path / "parts")
    assert [part.name for part in result.parts] == ["uploads/stays"]
    assert result.warnings == ("configuration uploads/goes was removed while it was copied: not in this backup",)

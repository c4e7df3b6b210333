"""A project's folder as on a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.compose_file import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)

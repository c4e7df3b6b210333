"""Debian's `age`, which is not the program that the product encrypts with: two must agree."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyrage import x25519

AGE = shutil.which("age")
needs_age = pytest.mark.skipif(AGE is None, reason="the program age is not installed (package age)")


def pytest_report_header() -> list[str]:
    """Say so where the tests with it cannot run."""
    return [] if AGE else ["age not tested: the program is not installed (package age)"]


@dataclass(frozen=True)
class KeyPair:
    """A pair of keys, the private one in a file as age-keygen makes it."""

    public: str
    private: str
    file: Path


def make_key_pair(folder: Path, name: str) -> KeyPair:
    """Return a new pair; its file may be read by nobody else."""
    identity = x25519.Identity.generate()
    pair = KeyPair(str(identity.to_public()), str(identity), folder / name)
    pair.file.write_text(f"# created: 2026-11-20T02:00:00Z\n# public key: {pair.public}\n{pair.private}\n")
    pair.file.chmod(0o600)
    return pair

"""What lies in the workspace is changed between two steps: no archive comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.test_server import assert_failed
from tests.fix_faults import FaultSite

FINAL = "AirflowFailException"


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Take away the last half."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def append(path: Path) -> None:
    """Put something behind the end."""
    with path.open("ab") as file:
        file.write(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("step", "file", "change", "fails_in", "words"),
    [
        ("compress_archive", "export/users.sql.gz", flip, "verify_archive", "do not restore from it"),
        ("compress_archive", "export/users.sql.gz", truncate, "compress_archive", "clear export_database"),
        ("compress_archive", "export/users.sql.gz", Path.unlink, "compress_archive", "clear export_database"),
        ("compress_archive", "write_summary.json", truncate, "compress_archive", "clear write_summary as well"),
        ("verify_archive", "archive.tar.gz.partial", flip, "verify_archive", "do not restore from it"),
        ("verify_archive", "archive.tar.gz.partial", truncate, "verify_archive", "do not restore from it"),
        ("verify_archive", "archive.tar.gz.partial", append, "verify_archive", "do not restore from it"),
        ("verify_archive", "archive.tar.gz.partial", Path.unlink, "verify_archive", "clear compress_archive"),
    ],
)
def test_changed_part_never_becomes_an_archive(
    fault_site: FaultSite, step: str, file: str, change: Callable[[Path], None], fails_in: str, words: str
) -> None:
    """The error says what to clear, or not to restore from it; clearing from the export on makes a sound one."""
    before, run_id = fault_site.before(), fault_site.prepare(step)
    (workspace,) = fault_site.backup_dir.glob(f".work/{run_id}-*")
    change(workspace / file)
    ended = fault_site.start_from(step, run_id).end()
    assert_failed(ended, fails_in, FINAL, words)
    fault_site.assert_unharmed(before)
    fault_site.clear("export_database", run_id)

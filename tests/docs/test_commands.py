"""The commands in the documents: programs, targets, options and files that are there."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
RESTORE_SCRIPT = (REPOSITORY / "include" / "templates" / "restore.sh.j2").read_text(encoding="utf-8")
OF_THE_AUTH_MANAGER = {"users"}  # of Airflow's commands: there with FAB alone

_CODE = re.compile(r"^```\w*\n(.*?)^```$|^((?: {4}.*\n)+)|`([^`\n]+)`", re.MULTILINE | re.DOTALL)


def commands(document: Path) -> Iterator[str]:
    """Yield each line of a document that is set as code, continued lines as one, without comments."""
    for fenced, indented, inline in _CODE.findall(document.read_text(encoding="utf-8") + "\n"):
        text = re.sub(r"\\\n\s*", " ", fenced or indented.replace("`", "\n") or inline)
        for line in text.splitlines():
            for command in re.split(r"&&|;|\|", re.sub(r"(^|\s)#.*$", "", line)):
                yield command.strip()


def of(program: str) -> list[tuple[str, str]]:
    """Return every command of a program, with the document's name."""
    pattern = re.compile(rf"^(?:[A-Z_]+=\S+ )*(?:\S*/)?{program} (.+)$")
    found = {
        (str(document.relative_to(REPOSITORY)), match[1])
        for document in DOCUMENTS
        for command in commands(document)
        if (match := pattern.match(command))
    }
    return sorted(found)


def words(arguments: str) -> list[str]:
    """Return the arguments as a shell splits them, without what it sends where."""
    return shlex.split(re.sub(r"\s[<>].*$", "", arguments).replace("…", "..."))


@cache
def usage(module: str, command: str) -> str:
    """Return what a program of this repository says of itself; it ends well."""
    program = [sys.executable, "-m", module, *([command] if command else []), "--help"]
    answer = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


MODULES = of(r"python3? -m")


@pytest.mark.parametrize(("document", "arguments"), MODULES)
def test_module_and_its_options_are_there(document: str, arguments: str) -> None:
    """Whoever renames a command or an option changes the documents."""
    module, *rest = words(arguments)
    if not module.startswith(("include.", "benchmarks")):
        return
    command = rest[0] if rest and not rest[0].startswith("-") else ""
    options = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert [option for option in options if option not in usage(module, command)] == []


TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(("document", "arguments"), of("make"))
def test_target_is_in_the_makefile(document: str, arguments: str) -> None:
    """And the tests that it is given are files of this repository."""
    target, *variables = words(arguments)
    assert target in TARGETS
    files = [word for variable in variables for word in variable.partition("=")[2].split() if word.startswith("tests/")]
    assert [file for file in files if not (REPOSITORY / file).exists()] == []


def leaf(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the innermost command, and what is left for it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and arguments:
            assert arguments[0] in action.choices, f"{arguments[0]!r} is none of {sorted(action.choices)}"
            return leaf(action.choices[arguments[0]], arguments[1:])
    return parser, arguments


@pytest.mark.parametrize(("document", "arguments"), of("airflow"))
def test_airflow_has_the_command(document: str, arguments: str) -> None:
    """With its options, in the version that is pinned."""
    from airflow.cli.cli_parser import get_parser  # noqa: PLC0415 - only where Airflow is wanted

    asked = words(arguments)
    if asked[0] in OF_THE_AUTH_MANAGER:
        return
    parser, rest = leaf(get_parser(), asked)
    known = parser._option_string_actions
    assert [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known] == []


@pytest.mark.parametrize(("document", "arguments"), of(r"restore\.sh"))
def test_restore_script_knows_the_option(document: str, arguments: str) -> None:
    """Of the script that lies in every archive."""
    options = {word.partition("=")[0] for word in words(arguments) if word.startswith("--")}
    assert [option for option in options if not re.search(rf"{option}[)|]", RESTORE_SCRIPT)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_of_this_repository_are_there(document: Path) -> None:
    """Compose files, SQL and Dockerfile that a command is given."""
    given = re.compile(r"(?:^|\s)(?:-f|--env-file|cp)\s+((?:include/|docs/|docker-compose|Dockerfile|\.env\.)\S*)")
    files = {file for command in commands(document) for file in given.findall(command)} - {".env.production"}
    assert sorted(file for file in files if not (REPOSITORY / file).exists()) == []


def test_commands_are_found() -> None:
    """The tests above would pass without any."""
    assert len(MODULES) > 15
    assert len(of("make")) > 10
    assert len(of("airflow")) > 6
    assert len(of(r"restore\.sh")) > 5

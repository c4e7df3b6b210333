"""Every block of commands in the documents is typed by a test, or says that it is an example."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_commands import DOCUMENTS
from tests.fix_documents import BLOCK, EXAMPLE, REPOSITORY, shell_blocks

# What begins a line that a reader types.
PROGRAM = re.compile(
    r"^(?:\./restore\.sh|age|age-keygen|airflow|aws|cp|curl|docker|helm|kubectl|make|mkdir|pg_dump|pip|psql|python3?|rm|"
    r"sha256sum|tar)\s"
)
_TESTS = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "tests").rglob("*.py"))
ASKED = re.findall(r'shell_block\(\s*"([^"]+)",\s*"((?:[^"\\]|\\.)+)"\s*\)', _TESTS)
ALL_ASKED = set(re.findall(r'shell_blocks\("([^"]+)"\)', _TESTS))
NAMES = [str(document.relative_to(REPOSITORY)) for document in DOCUMENTS]


def lines(block: str) -> set[str]:
    """Return the commands of a block, without comments."""
    return {line for text in block.splitlines() if (line := re.sub(r"(^|\s+)#\s.*$", "", text))}


def typed() -> set[str]:
    """Return every line that a test types, in whatever document it stands."""
    asked = {block for document, words in ASKED for block in shell_blocks(document) if words in block}
    return set().union(*map(lines, asked), *(lines(block) for name in ALL_ASKED for block in shell_blocks(name)))


@pytest.mark.parametrize("document", NAMES)
def test_line_is_typed_by_a_test_or_an_example(document: str) -> None:
    """Whoever adds a block adds who types it."""
    blocks = [block for block in shell_blocks(document) if not block.startswith(EXAMPLE)]
    assert set().union(*map(lines, blocks)) - typed() == set()


@pytest.mark.parametrize("document", NAMES)
def test_command_stands_in_a_block_of_a_shell(document: str) -> None:
    """None hides in a block of settings or of output."""
    text = BLOCK.sub("", (REPOSITORY / document).read_text(encoding="utf-8"))
    begun = [match[1] for match in re.finditer(r"\n\n {4,}(\S.*)", text)]
    assert [line for line in begun if PROGRAM.match(line)] == []


def test_blocks_are_found() -> None:
    """The tests above would pass without any."""
    assert sum(len(shell_blocks(document)) for document in NAMES) > 40
    assert len(ASKED) > 15

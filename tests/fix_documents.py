"""The commands of the documents: blocks of a shell, for the tests that type them."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = "# example\n"  # the first line of a block that no test types

BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks_of(text: str) -> list[str]:
    """Return the blocks of a text in Markdown that are set as commands of a shell, in their order."""
    return [textwrap.dedent(block) for _, block in BLOCK.findall(text + "\n")]


def shell_blocks(document: str) -> list[str]:
    """Return those of a document of this repository."""
    return blocks_of((REPOSITORY / document).read_text(encoding="utf-8"))


def shell_block(document: str, words: str) -> str:
    """Return the one block of a document that has these words, however often it stands there."""
    (block,) = {block for block in shell_blocks(document) if words in block}
    return block


def type_in(
    block: str, folder: Path, environment: Mapping[str, str], replaced: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """
    Type a block into a shell, and stop at the first command that fails.

    Args:
        block: Of a document.
        folder: Where the shell is.
        environment: All that it has, beside this process's own.
        replaced: What stands in the document for something of the reader's own, and what that is here.
    """
    for name, own in (replaced or {}).items():
        assert name in block
        block = block.replace(name, own)
    return subprocess.run(
        ["sh", "-e"], input=block, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )

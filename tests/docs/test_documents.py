"""The documents: links lead somewhere, the reference is complete, the user pages agree, the runbook can be followed."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.backup.backup_id import UNNAMED
from include.backup.settings import Settings
from tests.fix_documents import shell_blocks

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / "specs").rglob("*.md")])
OPERATIONS = (DOCS / "BACKUP_OPERATIONS.md").read_text(encoding="utf-8")
ENGLISH, THAI = ((DOCS / f"BACKUP_SYSTEM{suffix}.md").read_text(encoding="utf-8") for suffix in ("", ".th"))
RUNBOOK = (DOCS / "DISASTER_RECOVERY.md").read_text(encoding="utf-8")
FENCED = shell_blocks("docs/DISASTER_RECOVERY.md")
VARIABLES = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", FENCED[0]))

_CODE = re.compile(r"^```.*?^```$|^ {4}[^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_USED = re.compile(r"\$\{?([A-Z][A-Z0-9_]+)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(text: str) -> Iterator[str]:
    """Yield what a document's headings are called in addresses, as GitHub makes it of them."""
    seen: Counter[str] = Counter()
    for heading in _HEADING.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        plain = re.sub(r"[`*]|\]\([^)]*\)", "", heading).lower()
        kept = "".join(c for c in plain if unicodedata.category(c)[0] in "LMN" or c in "-_ ")
        slug = kept.strip().replace(" ", "-")
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1


def dead_links(document: Path) -> Iterator[str]:
    """Yield each link to a file or heading of this repository that is not there."""
    for link in _LINK.findall(_CODE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings_that_are_there(document: Path) -> None:
    """Whoever renames a file or a heading changes what leads to it."""
    assert list(dead_links(document)) == []


def test_reference_has_every_setting() -> None:
    """Each variable stands in the operators' page, beside what it is for."""
    named = set(re.findall(r"\b[A-Z][A-Z_]+\b", OPERATIONS))
    assert {name.upper() for name in Settings.model_fields} - named == set()


def test_reference_has_every_dag_and_task() -> None:
    """Each task stands in a table of the operators' page, and each DAG with them."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "dags").glob("*.py"))
    tasks = re.findall(r'task_id="(\w+)"', sources)
    dags = [UNNAMED.dag_id, UNNAMED.drill_dag_id, UNNAMED.restore_dag_id, *re.findall(r'dag_id="(\w+)"', sources)]
    rows = "\n".join(line for line in OPERATIONS.splitlines() if line.startswith("| "))
    assert len(tasks) > 20
    assert [task for task in tasks if f"`{task}`" not in rows] == []
    assert [dag for dag in dags if f"`{dag}`" not in OPERATIONS] == []


def sections(text: str) -> list[str]:
    """Return the sections of a document."""
    return re.split(r"^## .+$", text, flags=re.MULTILINE)


def facts(section: str) -> dict[str, Counter[str]]:
    """Return what no translation changes: code, figures, rows, and where links lead but for the page's own headings."""
    return {
        "code": Counter(re.findall(r"^```.*?^```$|`[^`\n]+`|^ {4}.+$", section, re.MULTILINE | re.DOTALL)),
        "figures": Counter(re.findall(r"\d+(?:[.,:]\d+)*", section)),
        "variables": Counter(re.findall(r"\b[A-Z]+_[A-Z_]+\b(?!\.md|\.th|\.txt)", section)),
        "links": Counter(link for link in _LINK.findall(section) if not link.startswith(("#", "BACKUP_SYSTEM"))),
        "rows": Counter(re.findall(r"^(?:\||- |\d\. )", section, re.MULTILINE)),
    }


def test_user_page_says_the_same_in_both_languages() -> None:
    """Section by section the same code, figures, variables, links, and as many rows."""
    assert len(sections(ENGLISH)) == len(sections(THAI)) > 7
    for number, (section, translated) in enumerate(zip(sections(ENGLISH), sections(THAI), strict=True)):
        assert facts(translated) == facts(section), number


def test_runbook_names_every_variable_at_its_top() -> None:
    """Each is explained in the table, set in the first commands, and used by the ones after; no other is needed."""
    table = RUNBOOK.partition("## The variables")[2].partition("```")[0]
    explained = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in row.split("`")[1::2]}
    used = set(_USED.findall("".join(FENCED[1:])))
    assert explained == VARIABLES
    assert used == VARIABLES | {"TARGET"}
    assert set(_USED.findall(FENCED[0])) <= {"HOME"}


def test_runbook_has_commands_that_a_shell_reads() -> None:
    """All of them together are one POSIX script, and restore.sh knows the options that they give it."""
    script = "".join(FENCED)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    known = (REPOSITORY / "include/templates/restore.sh.j2").read_text(encoding="utf-8")
    options = re.findall(r"restore\.sh.*?(--[a-z-]+)", script)
    assert {"--list", "--dry-run", "--jobs"} == set(options)
    assert [option for option in options if f"{option})" not in known] == []


def test_runbook_adds_its_minutes_up() -> None:
    """The steps of the plan are those of the page, and their minutes make the total that its heading promises."""
    plan = re.findall(r"^\| (\d\. .+) \| (\d+) \| (\d+) \|$", RUNBOOK, re.MULTILINE)
    assert [step for step, _, _ in plan] == re.findall(r"^### (\d\. .+)$", RUNBOOK, re.MULTILINE)
    since = [sum(int(minutes) for _, minutes, _ in plan[: count + 1]) for count in range(len(plan))]
    assert since == [int(total) for _, _, total in plan]
    assert f"## Users are back: {since[-1]} minutes" in RUNBOOK

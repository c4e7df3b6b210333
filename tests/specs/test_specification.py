"""The two specifications say the same, and the settings class says what they say."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from include.backup.scope import load_scope
from include.backup.settings import PACKAGED_SCOPE_FILE, Settings

SPECS = Path(__file__).resolve().parents[2] / "specs"
PATHS = {
    "English": SPECS / "011-automated-backup" / "spec.md",
    "Thai": SPECS / "AUTOMATED_BACKUP_SERVICE_SPEC.md",
}
DATA_MODEL = SPECS / "011-automated-backup" / "data-model.md"
LANGUAGES = tuple(PATHS)
CUSTOMER_IDENTIFIERS = {"FR": 6, "NFR": 5, "SC": 4, "PR": 4, "DS": 4, "TS": 4, "DR": 3}
CUSTOMER_FIGURES = {
    "FR-1": ("02:00",),
    "FR-2": ("3",),
    "FR-3": ("25", "3"),
    "FR-4": ("25", "1", "100"),
    "FR-6": ("30",),
    "NFR-1": ("10", "100", "50", "5"),
    "NFR-2": ("99", "3"),
    "NFR-5": ("10",),
    "NFR-6": ("30", "15"),
    "PR-1": ("5", "10"),
    "PR-2": ("50", "100"),
    "PR-3": ("2", "5"),
    "PR-4": ("5", "10"),
    "DS-3": ("7",),
    "8": ("1", "10", "3"),
}

_IDENTIFIER = r"(?:FR|NFR|SC|PR|DS|TS|DR)-\d+"
_VERSION = r"1\.0 and later|1\.0|later"
_SECTION = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)
_BOLD_DEFINITION = re.compile(rf"^\*\*({_IDENTIFIER}): ([^*]+)\*\* · ({_VERSION})$", re.MULTILINE)
_ROW_DEFINITION = re.compile(rf"^\| ({_IDENTIFIER}) \|.*\| ({_VERSION}) \|$", re.MULTILINE)
_DEFINITION = re.compile(rf"^(?:\*\*(?={_IDENTIFIER}:)|\| (?={_IDENTIFIER} \|))({_IDENTIFIER})", re.MULTILINE)
_MENTION = re.compile(rf"\b{_IDENTIFIER}\b")
_SETTING = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
_CRITERION = re.compile(r"^- \[ \] .+\((1\.0|later)\b", re.MULTILINE)
_LAID_OUT = re.compile(r"^(?:    )?[├└]── (\S+[^/\s])$", re.MULTILINE)
_FENCED = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_VARIABLE = re.compile(r"\b(?:BACKUP|POSTGRES|SMTP|ADMIN)_[A-Z_]+\b(?!\.(?:th\.)?(?:md|txt))")
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True)
class SettingsRow:
    """One row of the settings table."""

    default: str
    version: str


@dataclass(frozen=True)
class Specification:
    """One document, taken apart."""

    text: str

    @property
    def front_matter(self) -> str:
        """The lines between the first two rules."""
        return self.text.split("---\n")[1]

    @property
    def sections(self) -> dict[str, str]:
        """The text of each numbered section by its number."""
        parts = _SECTION.split(self.text)
        return dict(zip(parts[1::3], parts[3::3], strict=True))

    @property
    def blocks(self) -> dict[str, str]:
        """What is said under each identifier: its row, or all up to the next bold line or heading."""
        found = {}
        for match in _DEFINITION.finditer(self.text):
            rest = self.text[match.end() :]
            end = "\n" if match[0].startswith("|") else r"\n\n(?=\*\*|#)"
            found[match[1]] = re.split(end, rest, maxsplit=1)[0]
        return found

    @property
    def settings(self) -> dict[str, SettingsRow]:
        """The settings table by variable."""
        rows = _SETTING.findall(self.blocks["DS-2"])
        assert len(rows) == len({name for name, _, _ in rows})
        return {name: SettingsRow(default.strip("`"), version) for name, default, version in rows}

    def list_items(self, section: str) -> int:
        """How many list items and table rows a section has."""
        return len(re.findall(r"^(?:- |\d+\. |\|)", self.sections[section], re.MULTILINE))


def figures(text: str) -> Counter[str]:
    """Every number in the text, with how often it stands there; identifiers are no numbers."""
    return Counter(_FIGURE.findall(_MENTION.sub("", text)))


def names(text: str) -> Counter[str]:
    """Every piece of code and every variable in the text, with how often it stands there."""
    prose = _FENCED.sub("", text)
    variables = Counter(_VARIABLE.findall(_CODE.sub("", prose)))
    return Counter(_CODE.findall(prose)) + variables


@pytest.fixture(scope="module")
def specifications() -> dict[str, Specification]:
    return {language: Specification(path.read_text(encoding="utf-8")) for language, path in PATHS.items()}


@pytest.fixture
def english(specifications: dict[str, Specification]) -> Specification:
    return specifications["English"]


@pytest.fixture
def thai(specifications: dict[str, Specification]) -> Specification:
    return specifications["Thai"]


@pytest.fixture(params=LANGUAGES)
def specification(request: pytest.FixtureRequest, specifications: dict[str, Specification]) -> Specification:
    return specifications[request.param]


def test_sections_are_the_sixteen_in_order(specification: Specification) -> None:
    """Each document has the sections 1 to 16, once each, in order."""
    assert [number for number, _ in _SECTION.findall(specification.text)] == [str(n) for n in range(1, 17)]


def test_thai_sections_name_the_english_title(english: Specification, thai: Specification) -> None:
    """A Thai title is the English one or carries it in brackets."""
    for (number, title), (_, translated) in zip(
        _SECTION.findall(english.text), _SECTION.findall(thai.text), strict=True
    ):
        assert translated == title or translated.endswith(f"({title})"), number


def test_front_matter_is_the_same(english: Specification, thai: Specification) -> None:
    """Title, identifier, dates, version and tags are the same."""
    assert thai.front_matter == english.front_matter


def test_identifiers_are_defined_once_with_a_version(specification: Specification) -> None:
    """Each identifier is defined once, as a bold heading or a table row that ends in its version."""
    defined = Counter(_DEFINITION.findall(specification.text))
    complete = [match[0] for match in _BOLD_DEFINITION.findall(specification.text)]
    complete += [match[0] for match in _ROW_DEFINITION.findall(specification.text)]
    assert {name: count for name, count in defined.items() if count != 1} == {}
    assert sorted(complete) == sorted(defined)


def test_identifiers_hold_the_customers_and_have_no_gaps(specification: Specification) -> None:
    """Every kind counts from 1 without a gap and reaches at least the customer's last number."""
    for kind, customers in CUSTOMER_IDENTIFIERS.items():
        own = [name for name in specification.blocks if name.startswith(f"{kind}-")]
        numbers = sorted(int(name.split("-")[1]) for name in own)
        assert numbers == list(range(1, len(numbers) + 1)), kind
        assert len(numbers) >= customers, kind


def test_identifiers_that_are_mentioned_are_defined(specification: Specification) -> None:
    """No sentence refers to an identifier that does not exist."""
    assert set(_MENTION.findall(specification.text)) <= set(specification.blocks)


def test_identifiers_titles_and_versions_are_the_same(english: Specification, thai: Specification) -> None:
    """Both documents define the same identifiers in the same order, with the same titles and versions."""
    assert _BOLD_DEFINITION.findall(thai.text) == _BOLD_DEFINITION.findall(english.text)
    assert _ROW_DEFINITION.findall(thai.text) == _ROW_DEFINITION.findall(english.text)


def test_figures_of_each_identifier_are_the_same(english: Specification, thai: Specification) -> None:
    """Under each identifier the same numbers stand equally often."""
    translated = thai.blocks
    for identifier, block in english.blocks.items():
        assert figures(translated[identifier]) == figures(block), identifier


def test_figures_and_names_of_each_section_are_the_same(english: Specification, thai: Specification) -> None:
    """In each section the same numbers, code names and later-marks stand equally often."""
    translated = thai.sections
    for number, section in english.sections.items():
        assert figures(translated[number]) == figures(section), number
        assert names(translated[number]) == names(section), number
        assert translated[number].count("later)") == section.count("later)"), number
        assert thai.list_items(number) == english.list_items(number), number


def test_stories_are_five_or_more_with_the_same_criteria(english: Specification, thai: Specification) -> None:
    """Both have the same stories, each with three acceptance criteria or more, and their versions."""
    stories = re.split(r"^### Story \d+: ", english.sections["3"], flags=re.MULTILINE)[1:]
    translated = re.split(r"^### Story \d+: ", thai.sections["3"], flags=re.MULTILINE)[1:]
    assert len(stories) == len(translated) >= 5
    for story, other in zip(stories, translated, strict=True):
        criteria = _CRITERION.findall(story)
        assert _CRITERION.findall(other) == criteria
        assert len(criteria) == story.count("- [ ]") >= 3


def test_code_examples_are_the_same(english: Specification, thai: Specification) -> None:
    """Layouts, examples and commands are the same, character by character."""
    assert _FENCED.findall(thai.text) == _FENCED.findall(english.text)


def test_data_model_describes_the_archive_of_the_specification(english: Specification) -> None:
    """The table of files in the data model has the files of the layout in section 7, in order."""
    layout = _LAID_OUT.findall(_FENCED.findall(english.sections["7"])[0])
    archive = re.split(r"^## ", DATA_MODEL.read_text(encoding="utf-8"), flags=re.MULTILINE)[2]
    described = re.findall(r"^\| `(?:ssl/)?([^`]+)` \| [a-z]+ \|", archive, re.MULTILINE)
    assert archive.startswith("Archive")
    assert described == layout


def test_packaged_scope_is_the_scope_of_the_specification(specification: Specification) -> None:
    """FR-2 names the tables of scope.yaml: whole ones by file, windowed ones and excluded ones, in order."""
    scope = load_scope(PACKAGED_SCOPE_FILE)
    whole, windowed, _, excluded = re.findall(r"^- (.+)$", specification.blocks["FR-2"], re.MULTILINE)[:4]
    groups = re.findall(r"`(\w+\.sql)` \S+ ([a-z_, ]+)", whole)
    assert {file: tables.strip().split(", ") for file, tables in groups} == {
        file: [str(table) for table in tables] for file, tables in scope.tables.items()
    }
    recent = [str(part.table) for part in scope.windowed.values()]
    assert windowed.split(": ")[1].rstrip(".").split(", ") == recent
    assert all(re.search(rf"\b{part.column}\b", windowed) for part in scope.windowed.values())
    left_out = re.findall(r"[a-z_]+(?=[,; ])", excluded.split(": ")[1])
    assert tuple(left_out[: len(scope.exclude)]) == scope.exclude


@pytest.mark.parametrize("place", CUSTOMER_FIGURES)
def test_customers_figures_stand_in_their_place(place: str, specification: Specification) -> None:
    """A figure of the customer's documents stands under the identifier or in the section it had there."""
    text = specification.sections[place] if place.isdigit() else specification.blocks[place]
    assert set(CUSTOMER_FIGURES[place]) <= set(figures(text))


def test_settings_tables_are_the_same(english: Specification, thai: Specification) -> None:
    """Both settings tables have the same variables in the same order, with the same defaults and versions."""
    assert list(thai.settings.items()) == list(english.settings.items())


def test_settings_that_are_mentioned_stand_in_the_table(specification: Specification) -> None:
    """Every variable that the text names has a row in the settings table."""
    mentioned = set(_VARIABLE.findall(_FENCED.sub("", specification.text)))
    assert mentioned - set(specification.settings) == set()


def test_settings_class_has_the_fields_of_this_version(specification: Specification) -> None:
    """The class has exactly the settings that are marked 1.0; those marked later are not in it."""
    built = {name for name, row in specification.settings.items() if row.version == "1.0"}
    assert {row.version for row in specification.settings.values()} <= {"1.0", "later"}
    assert {name.upper() for name in Settings.model_fields} == built


@pytest.mark.parametrize("field", Settings.model_fields)
def test_settings_class_has_the_specified_defaults(field: str, specification: Specification) -> None:
    """A field's default is the figure in the specification."""
    default = Settings.model_fields[field].get_default(call_default_factory=True, validated_data={})
    expected = specification.settings[field.upper()].default
    if default is PydanticUndefined:
        assert expected == "required"
    elif default is None:
        assert expected == "not set"
    else:
        assert expected == str(default)

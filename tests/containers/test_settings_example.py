""".env.production.example: every variable that something reads, with the default that it has."""

from __future__ import annotations

import re

from pydantic_core import PydanticUndefined

from include.backup.settings import Settings
from tests.containers.compose_file import AIRFLOW, EXAMPLE, FILLED_IN, PRODUCTION, ROOT

LINES = re.findall(r"^(#?)([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / EXAMPLE).read_text(), re.MULTILINE)
VALUES = {name: value for _, name, value in LINES}
FROM_ELSEWHERE = {
    "AIRFLOW_CONN_BACKUP_DRILL",
    "AIRFLOW_ADMIN_USER",
    "COMPOSE_PROFILES",
}  # read by Airflow, init, Compose
REQUIRED_HERE = {"POSTGRES_HOST", "POSTGRES_USER", "SMTP_HOST"}  # there is a default, but none that fits a container


def interpolated() -> dict[str, str]:
    """Return the variables of the compose files with their defaults; '' for those without."""
    text = "".join((ROOT / name).read_text() for name in (AIRFLOW, PRODUCTION))
    found: dict[str, str] = {}
    for name, default in re.findall(r"(?<!\$)\$\{([A-Z_]+)(?::-([^}]*))?", text):
        found[name] = found.get(name) or default
    return found


def test_every_variable_stands_there_once() -> None:
    """Those of the package and those of the compose files, and no other that nobody reads."""
    names = [name for _, name, _ in LINES]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {name.upper() for name in Settings.model_fields} | set(interpolated()) | FROM_ELSEWHERE


def test_defaults_are_those_of_the_settings() -> None:
    """What is commented shows the default of the settings class, which the specification's table is held to."""
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default is None or default is PydanticUndefined else str(default)
        assert VALUES[name.upper()] == ("" if name.upper() in REQUIRED_HERE else shown), name


def test_defaults_are_those_of_the_compose_files() -> None:
    """The same for what Compose itself reads."""
    own = {name: value for name, value in interpolated().items() if name.lower() not in Settings.model_fields}
    assert {name: VALUES[name] for name in own} == own


def test_what_is_to_be_filled_in_is_no_comment() -> None:
    """All that nothing starts without stands there empty; and no secret has a value."""
    open_lines = {name: value for mark, name, value in LINES if not mark}
    assert set(FILLED_IN) <= set(open_lines)
    assert set(open_lines.values()) == {""}
    assert [name for name, value in VALUES.items() if re.search("PASS|SECRET|TOKEN|KEY|WEBHOOK", name) and value] == []

"""Writes specs/011-automated-backup/api.yaml from the app: `python -m include.web.openapi`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from include.web.app import create_app

FILE = Path(__file__).resolve().parents[2] / "specs" / "011-automated-backup" / "api.yaml"
HEADER = "# Written by `python -m include.web.openapi` from include/web; a test holds it to what is served.\n"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that examples can be copied out of the file."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def description() -> str:
    """Return the OpenAPI description of what the app serves, as YAML."""
    plain = json.loads(json.dumps(create_app().openapi()))
    return HEADER + yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    FILE.write_text(description(), encoding="utf-8")

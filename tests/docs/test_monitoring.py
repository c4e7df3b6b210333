"""What docs/monitoring ships: rules that fire when they should, a dashboard of what is served, a list of both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from include.backup.settings import Settings
from include.web.gauges import GAUGES, PREFIX

if TYPE_CHECKING:
    from tests.fix_prometheus import Promtool

REPOSITORY = Path(__file__).resolve().parents[2]
MONITORING = REPOSITORY / "docs" / "monitoring"
README = (MONITORING / "README.md").read_text()
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana.json").read_text())
NAMES = {PREFIX + name for name in GAUGES}


def names_in(expression: str) -> set[str]:
    """Return the metrics of this package that an expression asks for; its strings and labels are none."""
    return set(re.findall(rf"\b{PREFIX}\w+", re.sub(r'"[^"]*"', "", expression)))


def expressions(part: Any) -> Iterator[str]:
    """Yield every query in a part of the dashboard."""
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == "expr")
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from expressions(each)


def test_rules_fire_when_they_should_and_not_otherwise(promtool: Promtool) -> None:
    """The cases of rules_test.yml, tried by Prometheus's own evaluation."""
    assert "SUCCESS" in promtool("check", "rules", MONITORING / "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "rules_test.yml")


def test_every_rule_has_cases() -> None:
    """No alert is shipped that was never seen to fire."""
    cases = (MONITORING / "rules_test.yml").read_text()
    assert [rule["alert"] for rule in RULES if rule["alert"] not in cases] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_asks_for_served_metrics_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """Its name, severity and limits stand in the README; the settings that it names exist."""
    assert names_in(rule["expr"]) <= NAMES
    assert names_in(rule["annotations"]["description"]) <= NAMES
    assert re.search(rf"^\| `{rule['alert']}` \| {rule['labels']['severity']} \|", README, re.MULTILINE)
    assert set(rule["annotations"]) == {"summary", "description"}
    settings = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"\bBACKUP_[A-Z_]+", rule["annotations"]["description"])) <= settings


def test_readme_lists_the_served_metrics_with_their_meaning() -> None:
    """In the order in which they are served, word for word."""
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \| (?:`(\w+)`)? ?\| (.+) \|$", README, re.MULTILINE)
    assert rows == [(gauge.name, gauge.label or "", gauge.meaning) for gauge in GAUGES.values()]


def test_readme_lists_the_shipped_alerts() -> None:
    """All of them and no other, in the order of the file."""
    assert re.findall(r"^\| `(CriticalBackup\w+)`", README, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_scrape_configuration_is_one(promtool: Promtool, tmp_path: Path) -> None:
    """As it is shipped, with the rules and a token beside it."""
    for name in ("prometheus.yml", "rules.yml"):
        (tmp_path / name).write_text((MONITORING / name).read_text())
    (tmp_path / "token").write_text("x")
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_dashboard_asks_for_served_metrics_in_expressions_that_parse(promtool: Promtool, tmp_path: Path) -> None:
    """Each query of the dashboard as a recording rule, which promtool parses."""
    queries = list(expressions(DASHBOARD["panels"]))
    assert len(queries) >= len(DASHBOARD["panels"])
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")
    assert {name for query in queries for name in names_in(query)} <= NAMES
    assert all(names_in(query) for query in queries)


def test_dashboard_shows_every_metric_but_the_plain_moments() -> None:
    """Moments are for alerts to compute with, and so are intervals; a person reads ages and states."""
    shown = {name for query in expressions(DASHBOARD["panels"]) for name in names_in(query)}
    unshown = {name.removeprefix(PREFIX) for name in NAMES - shown}
    assert unshown == {
        "last_success_timestamp_seconds",
        "last_run_end_timestamp_seconds",
        "drill_timestamp_seconds",
        "drill_interval_seconds",
        "disk_size_bytes",
    }


def test_dashboard_has_no_panel_over_another_and_no_number_twice() -> None:
    """Grafana would move them; every panel says what it shows, and takes the data source that is chosen."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job"]
    assert DASHBOARD["schemaVersion"] >= 39

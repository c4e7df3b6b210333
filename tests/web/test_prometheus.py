"""A real Prometheus with the shipped configuration and rules scrapes a real api-server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from include.demo.child_process import bound_to_parent, last_lines, start_child
from include.demo.ports import HOST, free_port
from tests.docs.test_monitoring import MONITORING, RULES
from tests.fix_api_server import METRICS_TOKEN, ApiServer
from tests.fix_archives import publish_archive

WAIT_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Scraper:
    """A Prometheus that scrapes every second."""

    address: str
    log: Path

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API."""
        answer = httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def target(self) -> dict[str, Any]:
        """Return what it knows of the api-server, once it has scraped it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                targets = self.ask("targets")["activeTargets"]
            except (httpx.TransportError, AssertionError):  # it begins with 503
                targets = []
            if targets and targets[0]["health"] != "unknown":
                assert isinstance(targets[0], dict)
                return targets[0]
            time.sleep(0.2)
        pytest.fail(f"nothing was scraped within {WAIT_SECONDS:.0f} s:\n{last_lines(self.log, 10)}")


@pytest.fixture
def scraper(
    request: pytest.FixtureRequest, prometheus: str, api_server: ApiServer, tmp_path: Path
) -> Iterator[Scraper]:
    """Prometheus with docs/monitoring/prometheus.yml, but for the address and the intervals; with this token."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    job["scrape_interval"] = job["scrape_timeout"] = "1s"
    job["static_configs"] = [{"targets": [api_server.address.removeprefix("http://")]}]
    configuration["global"] = {"evaluation_interval": "1s"}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (tmp_path / "rules.yml").write_text((MONITORING / "rules.yml").read_text())
    (tmp_path / "token").write_text(request.param)
    address = f"{HOST}:{free_port()}"
    options = [
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = tmp_path / "prometheus.log"
    process = start_child(
        "prometheus", [*bound_to_parent(signal.SIGTERM), prometheus, *options], environment=dict(os.environ), log=log
    )
    try:
        yield Scraper(f"http://{address}", log)
    finally:
        process.request_stop(signal.SIGTERM)
        process.wait_or_kill(STOP_SECONDS)


@pytest.mark.parametrize("scraper", [METRICS_TOKEN], indirect=True, ids=["token"])
def test_prometheus_scrapes_the_metrics_and_loads_the_rules(scraper: Scraper, api_server: ApiServer) -> None:
    """The target is up, a metric has its value, and an alert goes from inactive to pending when its time comes."""
    publish_archive(api_server.backup_dir, hours_old=30)
    target = scraper.target()
    assert (target["health"], target["lastError"]) == ("up", "")
    value = scraper.ask("query", query="critical_backup_archives")["result"]
    assert [(sample["metric"]["job"], sample["value"][1]) for sample in value] == [("critical_backup", "1")]
    (group,) = scraper.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in RULES]
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and "CriticalBackupTooOld" not in _alerts(scraper):
        time.sleep(0.2)
    alerts = _alerts(scraper)
    assert "CriticalBackupTooOld" in alerts, "a backup of 30 hours is too old"
    assert "CriticalBackupMetricsMissing" not in alerts


@pytest.mark.parametrize("scraper", ["a-token-of-somebody-else"], indirect=True, ids=["wrong token"])
def test_prometheus_with_a_wrong_token_sees_a_target_that_is_down(scraper: Scraper) -> None:
    """And says why."""
    target = scraper.target()
    assert target["health"] == "down"
    assert "401" in target["lastError"]


def _alerts(scraper: Scraper) -> set[str]:
    return {alert["labels"]["alertname"] for alert in scraper.ask("alerts")["alerts"]}

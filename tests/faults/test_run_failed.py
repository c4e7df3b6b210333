"""What the administrators hear of a fault: the run is failed, one alert says why, and clearing is enough."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Iterator

import pytest

from include.demo.ports import free_port
from include.operators.alerts import alert_run_failure
from tests.fix_airflow import LocalAirflow, MakeSite, Site
from tests.fix_disks import MakeDisk, fill, free


def told(airflow: LocalAirflow, site: Site, run_id: str) -> str:
    """Return the text of the one alert of a run that failed, after Airflow has called all that it calls."""
    alert_run_failure(airflow.end_of_run(run_id, "task_failure"))
    mails = [email.message_from_bytes(m.read_bytes(), policy=email.policy.default) for m in site.mailbox.messages()]
    alerts = [mail for mail in mails if "FAILED" in str(mail["Subject"])]
    assert len(alerts) == 1, [mail["Subject"] for mail in mails]
    body = alerts[0].get_body(("plain",))
    assert body is not None
    return f"{alerts[0]['Subject']}\n{body.get_content()}"


def test_server_that_stays_away_is_told_after_four_tries(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the reason of the last try; once the server is back, clearing the task finishes the run."""
    run_id = airflow.trigger()
    airflow.run(run_id, pause_before="export_database")
    connection = site.environment["AIRFLOW_CONN_SMART_AI_HUB"]
    monkeypatch.setenv("AIRFLOW_CONN_SMART_AI_HUB", json.dumps(json.loads(connection) | {"port": free_port()}))
    failed = airflow.run_through_retries(run_id, within_seconds=120)
    assert (failed.state, failed.tries["export_database"]) == ("failed", 4)
    text = told(airflow, site, run_id)
    assert "FAILED in export_database" in text
    assert "cannot reach nightly_sample" in text
    assert site.published == set()
    monkeypatch.setenv("AIRFLOW_CONN_SMART_AI_HUB", connection)
    airflow.clear(run_id, "export_database", downstream=True)
    assert airflow.run(run_id).state == "success"


def test_damaged_part_is_told_and_gets_no_archives_name(airflow: LocalAirflow, site: Site) -> None:
    """A bit that flips on the disk between two steps: the verification finds it."""
    run_id = airflow.trigger()
    airflow.run(run_id, pause_before="compress_archive")
    (part,) = site.backup_dir.glob(".work/*/export/users.sql.gz")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    failed = airflow.run(run_id)
    assert (failed.state, set(failed.errors)) == ("failed", {"verify_archive"})
    assert "do not restore from it" in told(airflow, site, run_id)
    assert site.published == set()
    airflow.clear(run_id, "export_database", downstream=True)
    assert airflow.run(run_id).state == "success"


@pytest.fixture
def site_on_a_small_disk(
    airflow: LocalAirflow, make_site: MakeSite, make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A site whose folders lie in a small file system of their own."""
    with make_site(make_disk()) as site:
        for name, value in site.environment.items():
            monkeypatch.setenv(name, value)
        airflow.load_dag()
        yield site


def test_full_disk_is_told_at_once_and_once(airflow: LocalAirflow, site_on_a_small_disk: Site) -> None:
    """The half archive has made room again, so even what keeps the run from being told twice can be written."""
    site, run_id = site_on_a_small_disk, airflow.trigger()
    airflow.run(run_id, pause_before="compress_archive")
    fill(site.backup_dir, leave=20_000)
    failed = airflow.run(run_id)
    assert (failed.state, set(failed.errors), failed.tries["compress_archive"]) == ("failed", {"compress_archive"}, 1)
    free(site.backup_dir)
    text = told(airflow, site, run_id)
    assert "No space left on device: " in text
    assert "archive.tar.gz.in_work" in text
    airflow.clear(run_id, "compress_archive", downstream=True)
    assert airflow.run(run_id).state == "success"

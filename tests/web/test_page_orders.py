"""The buttons of the status page: Airflow's own actions, with the rights and the words of who presses them."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer
from tests.fix_browser import PHONE, Visit
from tests.fix_nights import Nights, slot_of


def open_order(page: Page, button: str) -> Locator:
    """Press a button and return the dialog, when Airflow has told it the DAG's params."""
    page.get_by_role("button", name=button, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#order-submit")).to_be_enabled()
    return dialog


def runs_of(api_server: ApiServer, dag_id: str) -> list[dict[str, Any]]:
    """Return the runs by hand that Airflow has of a DAG."""
    runs: list[dict[str, Any]] = api_server.get(f"/api/v2/dags/{dag_id}/dagRuns?run_type=manual", "admin").json()[
        "dag_runs"
    ]
    return runs


def test_back_up_now_starts_a_run_which_is_linked_and_shown_as_in_progress(
    nights: Nights, visit: Visit, api_server: ApiServer
) -> None:
    """The run has what was filled in, the answer links it, and the page shows it without being loaded again."""
    nights.done(0)
    visitor = visit("user", window=PHONE)
    page = visitor.page
    assert not page.locator("#running").is_visible()
    dialog = open_order(page, "Back up now")
    dialog.get_by_label("Why this run is started by hand").fill("before the upgrade <b>")
    dialog.get_by_label("Mail the archive to the administrators").uncheck()
    assert not visitor.is_wider_than_window
    dialog.get_by_role("button", name="Back up now").click()
    expect(dialog.locator("#order-answer")).to_contain_text("Airflow has it: manual__")
    (run,) = runs_of(api_server, "critical_backup")
    assert run["conf"] == {"reason": "before the upgrade <b>", "deliver_mail": False}
    assert (
        dialog.get_by_role("link")
        .get_attribute("href")
        .endswith(  # type: ignore[union-attr]
            f"/dags/critical_backup/runs/{run['dag_run_id'].replace(':', '%3A').replace('+', '%2B')}"
        )
    )
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("#running")).to_contain_text("Backup by hand: waits to begin")
    assert visitor.complaints == []


def test_cancel_starts_nothing(nights: Nights, visit: Visit, api_server: ApiServer) -> None:
    """Nor does Escape; the focus goes back to the button."""
    nights.done(0)
    page = visit("user").page
    dialog = open_order(page, "Run a drill")
    dialog.get_by_role("button", name="Cancel").click()
    open_order(page, "Run a drill")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Run a drill")).to_be_focused()
    assert runs_of(api_server, "restore_drill") == []


def test_drill_of_the_newest_archive_is_started(nights: Nights, visit: Visit, api_server: ApiServer) -> None:
    """Nothing need be filled in."""
    nights.done(0)
    page = visit("user").page
    dialog = open_order(page, "Run a drill")
    dialog.get_by_role("button", name="Run the drill").click()
    expect(dialog.locator("#order-answer")).to_contain_text("Airflow has it: manual__")
    assert [run["conf"] for run in runs_of(api_server, "restore_drill")] == [{"archive": ""}]
    expect(page.locator("#running")).to_contain_text("Restore drill: waits to begin")


def test_backfill_makes_up_for_the_missed_nights_and_a_second_is_told_to_wait(
    nights: Nights, visit: Visit, api_server: ApiServer
) -> None:
    """Airflow's backfill of exactly these nights; its refusal of another at the same time is shown in words."""
    for ago in (6, 5, 2, 1, 0):  # 4 and 3 are missing
        nights.done(ago)
    page = visit("user").page
    label = f"Backfill {slot_of(4):%d %b}\u2013{slot_of(3):%d %b}"
    dialog = open_order(page, label)
    dialog.get_by_role("button", name="Backfill").click()
    expect(dialog.locator("#order-answer")).to_contain_text("Airflow has it: its backfills")
    (backfill,) = api_server.get("/api/v2/backfills?dag_id=critical_backup", "admin").json()["backfills"]
    runs = api_server.get("/api/v2/dags/critical_backup/dagRuns?run_type=backfill", "admin").json()["dag_runs"]
    slots = [f"{slot_of(ago):%Y-%m-%dT%H:%M:%SZ}" for ago in (4, 3)]
    assert sorted(run["logical_date"] for run in runs) == slots
    assert (backfill["max_active_runs"], backfill["reprocess_behavior"]) == (1, "completed")
    dialog.get_by_role("button", name="Close").click()
    dialog = open_order(page, label)
    dialog.get_by_role("button", name="Backfill").click()
    expect(dialog.locator("#order-answer")).to_contain_text("Airflow has one already, and lets it end first")


def test_restore_form_is_the_dags_own_with_the_archive_filled_in(
    nights: Nights, visit: Visit, api_server: ApiServer, airflow: LocalAirflow
) -> None:
    """What the DAG refuses is refused in its words; then the run has the archive of the row, and waits for approval."""
    nights.done(1)
    archive = nights.done(0)
    airflow.load_dag()  # the form's choice is of the archives that were there when the file was parsed
    page = visit("user").page
    dialog = open_order(page, "Restore")
    assert archive.name in dialog.get_by_role("heading").inner_text()
    assert dialog.get_by_label("New database").input_value() == "smart_ai_hub_restored"
    dialog.get_by_label("Confirm").fill("smart_ai_hub_restored")
    dialog.get_by_label("New database").fill("x" * 80)
    assert len(dialog.get_by_label("New database").input_value()) == 63
    dialog.get_by_label("New database").fill("smart_ai_hub_restored")
    dialog.get_by_label("Only these tables").fill("users\n\n roles ")
    dialog.get_by_role("button", name="Check the restore").click()
    expect(dialog.locator("#order-answer")).to_contain_text("somebody has to approve it there")
    (run,) = runs_of(api_server, "restore_backup")
    assert run["conf"] == {
        "archive": archive.name,
        "connection": "smart_ai_hub",
        "database": "smart_ai_hub_restored",
        "confirm": "smart_ai_hub_restored",
        "tables": ["users", "roles"],
    }


def test_archive_that_the_dag_does_not_know_is_refused_in_airflows_words(
    nights: Nights, visit: Visit, api_server: ApiServer, airflow: LocalAirflow
) -> None:
    """An archive that came after the file was parsed is not in the form's choice."""
    nights.done(1)
    airflow.load_dag()
    nights.done(0)
    page = visit("user").page
    dialog = open_order(page, "Restore")
    dialog.get_by_label("Confirm").fill("smart_ai_hub_restored")
    dialog.get_by_role("button", name="Check the restore").click()
    expect(dialog.locator("#order-answer")).to_contain_text("Airflow refused (400): Invalid input for param archive")
    expect(dialog.locator("#order-submit")).to_be_enabled()
    assert runs_of(api_server, "restore_backup") == []


def test_paused_dag_is_said_before_the_run_is_started(nights: Nights, visit: Visit, api_server: ApiServer) -> None:
    """Otherwise somebody would wait for a run that never begins."""
    nights.done(0)
    with api_server.client("admin") as client:
        client.patch("/api/v2/dags/restore_drill", json={"is_paused": True})
    page = visit("user").page
    dialog = open_order(page, "Run a drill")
    expect(dialog).to_contain_text("restore_drill is paused in Airflow: the run waits until somebody unpauses it.")


def test_viewer_sees_the_buttons_disabled_with_the_reason(nights: Nights, visit: Visit) -> None:
    """Looking is all that a viewer may do: nothing to press, and a sentence that says who can change that."""
    for ago in (3, 1, 0):
        nights.done(ago)
    page = visit("viewer").page
    buttons = page.get_by_role("button").all()
    assert len(buttons) == 3 + 2 * 3
    assert not any(button.is_enabled() for button in buttons)
    assert "you no right to. An administrator of Airflow can grant it" in page.locator("#no-right").inner_text()


def test_viewer_who_presses_all_the_same_gets_airflows_refusal_in_words(
    nights: Nights, visit: Visit, api_server: ApiServer
) -> None:
    """The right may have gone since the page was loaded: Airflow itself refuses, and the page says so."""
    nights.done(0)
    page = visit("viewer").page
    words = page.evaluate(
        """async (order) => {
          const {send, inWords} = await import(document.body.dataset.root + '/static/orders.js');
          return inWords(await send(order, {}), order);
        }""",
        {"dag": "critical_backup", "values": {}},
    )
    assert words.startswith("Airflow refused: you may not start runs of critical_backup.")
    assert runs_of(api_server, "critical_backup") == []


def test_login_that_has_ended_is_said_in_words(nights: Nights, visit: Visit) -> None:
    """A page that was left open overnight does not leave the person guessing."""
    nights.done(0)
    page = visit("user").page
    page.context.clear_cookies()
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_role("dialog")).to_contain_text("Your login has ended. Load the page again and log in.")

"""The status page inside Airflow: in its navigation, in its frame, and out of it again."""

from __future__ import annotations

from playwright.sync_api import FrameLocator, Page, expect

from tests.fix_browser import Visit
from tests.fix_nights import Nights, slot_of


def framed(page: Page) -> FrameLocator:
    """Return the page in Airflow's frame, opened from the navigation."""
    page.get_by_role("link", name="Backups").click()
    return page.frame_locator("iframe")


def test_page_is_in_the_navigation_and_opens_in_the_frame(nights: Nights, visit: Visit) -> None:
    """One click from Airflow's home; charts are drawn there, too, and nothing is complained of."""
    nights.fill(20)
    visitor = visit("viewer")
    page = visitor.open("/")
    frame = framed(page)
    expect(frame.locator("h1")).to_contain_text("verified and restored in")
    expect(frame.locator(".chart canvas")).to_have_count(3)
    assert visitor.complaints == []


def test_links_into_airflow_leave_the_frame(nights: Nights, visit: Visit) -> None:
    """The frame may not navigate the window; the link does, and back leads to the page again."""
    nights.done(2)
    run_id = nights.run(1, "failed", failed_task="export_database")
    nights.done(0)
    visitor = visit("viewer")
    page = visitor.open("/")
    frame = framed(page)
    frame.locator("td.night.failed a").click()
    page.wait_for_url(f"**/dags/critical_backup/runs/{run_id.replace(':', '%3A').replace('+', '%2B')}**")
    expect(page.get_by_text(f"{slot_of(1):%Y-%m-%d}").first).to_be_visible()
    page.go_back()
    expect(page.frame_locator("iframe").locator("h1")).to_contain_text("verified")


def test_download_and_order_work_in_the_frame(nights: Nights, visit: Visit) -> None:
    """The frame allows downloads and scripts; the run that was started is opened in Airflow itself."""
    archive = nights.done(0)
    page = visit("user").open("/")
    frame = framed(page)
    with page.expect_download() as waiting:
        frame.get_by_role("link", name=f"Download {archive.name}").click()
    assert waiting.value.suggested_filename == archive.name
    frame.get_by_role("button", name="Back up now").click()
    dialog = frame.get_by_role("dialog")
    expect(dialog.locator("#order-submit")).to_be_enabled()
    dialog.get_by_role("button", name="Back up now").click()
    dialog.get_by_role("link").click()
    page.wait_for_url("**/dags/critical_backup/runs/manual__**")


def test_frame_follows_airflows_dark(nights: Nights, visit: Visit) -> None:
    """Whoever has chosen dark in Airflow is not dazzled by a white page in the middle of it."""
    nights.done(0)
    visitor = visit("viewer", scheme="light")
    visitor.page.evaluate("localStorage.setItem('theme', 'dark')")
    page = visitor.open("/")
    frame = framed(page)
    expect(frame.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.classList.contains('dark')")
    assert frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(16, 21, 28)"

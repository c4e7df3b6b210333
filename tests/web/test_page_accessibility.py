"""The status page for everybody: what axe finds, and the keyboard alone."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.fix_browser import PHONE, WIDE, Visit
from tests.fix_nights import Nights

FOCUSED = """() => {
  const at = document.activeElement;
  const style = getComputedStyle(at);
  return [at.outerHTML.slice(0, 300), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}"""


def findings(page: Page) -> list[str]:
    """Return what axe finds serious or critical."""
    response = Axe().run(page).response
    return [
        f"{found['id']}: {found['help']}: {found['nodes'][0]['html'][:200]}"
        for found in response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


def test_axe_finds_nothing_serious_in_light_and_dark_on_a_desk_and_on_a_phone(nights: Nights, visit: Visit) -> None:
    """On the status page, with its dialog open, and on an archive's page."""
    nights.fill(12)
    nights.run(12, "running")
    for window, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")):
        visitor = visit("user", window=window, scheme=scheme)
        page = visitor.page
        page.get_by_text("All figures as a table").click()
        assert findings(page) == [], (window, scheme)
        page.get_by_role("button", name="Back up now").click()
        expect(page.locator("#order-submit")).to_be_enabled()
        assert findings(page) == [], ("dialog", window, scheme)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="contents of the archive").first.click()
        page.wait_for_selector("h1.name")
        assert findings(page) == [], ("contents", window, scheme)


def test_axe_finds_nothing_serious_where_something_is_wrong(nights: Nights, visit: Visit) -> None:
    """The red page, the empty one and a viewer's, too."""
    visitor = visit("viewer")
    assert findings(visitor.page) == []
    nights.done(4, passed=False)
    for scheme in ("light", "dark"):
        assert findings(visit("viewer", scheme=scheme).page) == []
    nights.folder.rename(nights.folder.with_name("elsewhere"))
    assert findings(visitor.open()) == []


def test_everything_is_reached_with_the_tab_key_and_the_focus_is_seen(nights: Nights, visit: Visit) -> None:
    """In the order of the page, every link, button and scrolling region, each with an outline."""
    nights.fill(12)
    page = visit("user").page
    expected = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')]
             .filter((one) => one.checkVisibility() && !one.closest('dialog'))
             .map((one) => one.outerHTML.slice(0, 300))"""
    )
    reached = []
    for _ in expected:
        page.keyboard.press("Tab")
        html, is_seen = page.evaluate(FOCUSED)
        assert is_seen, html
        reached.append(html)
    assert reached == expected
    assert len(reached) > 30


def test_backup_is_started_with_the_keyboard_alone(nights: Nights, visit: Visit) -> None:
    """Enter opens the form with the focus in it, Tab stays in it, Enter starts the run and the focus is on Close."""
    nights.done(0)
    page = visit("user").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Back up now")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Why this run is started by hand")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#order-answer")).to_contain_text("Airflow has it: manual__")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Back up now")).to_be_focused()

"""The status page in a real browser, on a real api-server: what it says in every state."""

from __future__ import annotations

import itertools
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Page

from include.backup.archive_name import sidecar_path
from include.backup.manifest import RunRecord
from include.backup.notice import Notice
from include.backup.unsent import Unsent, keep_while_sending, settle
from tests.fix_airflow import LocalAirflow
from tests.fix_api_server import ApiServer
from tests.fix_archives import ENCRYPTION, PUBLIC_KEY, make_table, publish_archive
from tests.fix_browser import PHONE, WIDE, Visit
from tests.fix_nights import Nights, make_archive, slot_of

GROUNDS = {"light": "rgb(244, 246, 248)", "dark": "rgb(16, 21, 28)"}
EVIL = '<img src=x onerror="document.title=1">'
EVIL_END = "</script><script>document.title=1</script>"


def text_of(page: Page, selector: str = "main") -> str:
    """Return the text as it is seen, in one line."""
    return " ".join(page.locator(selector).inner_text().split())


def wait_unsent(folder: Path, notice: Notice) -> None:
    """Leave an alert that could not be sent."""
    alert = Unsent(notice, datetime.now(timezone.utc))
    sending = keep_while_sending(folder, alert)
    assert sending is not None
    settle(sending, alert)


def painted(page: Page, selector: str) -> int:
    """Return how many colours a canvas shows."""
    return int(
        page.evaluate(
            """selector => {
              const canvas = document.querySelector(selector);
              const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              return new Set(new Uint32Array(data.buffer)).size;
            }""",
            selector,
        )
    )


def test_page_of_ninety_nights_shows_them_without_a_complaint_and_without_another_host(
    nights: Nights, visit: Visit
) -> None:
    """Verdict, calendar, drawn charts and archives; nothing wider than the window, nothing from elsewhere."""
    nights.fill()
    for window, scheme in itertools.product((WIDE, PHONE), GROUNDS):
        visitor = visit("viewer", window=window, scheme=scheme)
        page = visitor.page
        page.wait_for_selector("#chart-restore canvas")
        assert "verified and restored in 38 s" in text_of(page, "h1")
        assert text_of(page, ".concerns").startswith("One night was missed: no run, no archive.")
        legend = text_of(page, ".legend")
        assert all(text in legend for text in ("1 failed", "1 missed", "2 late", "1 backfilled", "85 done"))
        missed = slot_of(23)
        assert page.locator("td.missed").get_attribute("title") == f"{missed:%a} {missed.day} {missed:%b}: missed"
        assert str(page.locator("td.failed").get_attribute("title")).endswith(": failed in export_database")
        for name in ("size", "duration", "restore"):
            assert painted(page, f"#chart-{name} canvas") > 20, name
        assert "1 unlike the nights before" in text_of(page, "figure:has(#chart-size)")
        assert page.locator("#archives tbody tr").count() == 30
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUNDS[scheme]
        assert not visitor.is_wider_than_window
        assert visitor.complaints == []
        assert visitor.hosts == {visitor.address.removeprefix("http://")}
        page.get_by_role("link", name="contents of the archive").first.click()
        page.wait_for_selector("h1.name")
        assert not visitor.is_wider_than_window


def test_theme_chosen_in_airflow_goes_before_the_systems(nights: Nights, visit: Visit) -> None:
    """Airflow keeps light or dark in the browser's storage; the page follows it, also when it changes."""
    nights.done(0)
    visitor = visit("viewer", scheme="light")
    visitor.page.evaluate("localStorage.setItem('theme', 'dark')")
    page = visitor.open()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUNDS["dark"]
    other = page.context.new_page()
    other.goto(visitor.address + "/backup/")
    other.evaluate("localStorage.setItem('theme', 'light')")
    page.wait_for_function("ground => getComputedStyle(document.body).backgroundColor === ground", arg=GROUNDS["light"])


def test_page_without_scripts_says_the_same(nights: Nights, visit: Visit) -> None:
    """Everything is readable without JavaScript, and the buttons are links to Airflow's own pages."""
    nights.fill(10)
    page = visit("admin").page
    plain = page.context.browser.new_context(  # type: ignore[union-attr]
        java_script_enabled=False, storage_state=page.context.storage_state()
    )
    try:
        tab = plain.new_page()
        tab.goto(page.url)
        assert "verified and restored in" in text_of(tab, "h1")
        assert tab.get_by_role("link", name="Back up now").get_attribute("href") == "/dags/critical_backup"
        tab.get_by_text("All figures as a table").click()
        assert tab.locator("figure ~ table tbody tr, details tbody tr").count() == 10
    finally:
        plain.close()


def test_no_backup_yet_says_when_the_first_comes(nights: Nights, visit: Visit) -> None:
    """An empty folder is nothing to be afraid of, and nothing is drawn."""
    visitor = visit()
    assert text_of(visitor.page, "h1") == "○ Nothing yet No backup yet; next at 02:00."
    assert "Trigger critical_backup" in text_of(visitor.page, ".remedy")
    assert "None yet" in text_of(visitor.page, "#archives")
    assert visitor.complaints == []


def test_folder_that_is_not_mounted_is_said_with_the_remedy(
    nights: Nights, visit: Visit, api_server: ApiServer
) -> None:
    """The page is still there, says why and what to do, and no list is shown as if it were empty."""
    visitor = visit()
    api_server.backup_dir.rmdir()
    page = visitor.open()
    assert "is the volume mounted?" in text_of(page, "h1")
    assert "Mount the volume" in text_of(page, ".remedy")
    assert page.locator("#archives").count() == 0
    assert "Traceback" not in page.content()
    contents = visitor.open("/backup/contents/critical_backup_20261120_020004.tar.gz")
    assert "cannot be read by the api-server" in text_of(contents)


def test_unreadable_manifest_is_shown_in_the_list_and_on_its_own_page(
    nights: Nights, visit: Visit, api_server: ApiServer
) -> None:
    """Such an archive is named and marked as not to be used; the others are as they were."""
    broken = nights.done(1)
    nights.done(0)
    sidecar_path(broken).write_text("{")
    visitor = visit()
    row = visitor.page.locator("#archives tr.broken")
    assert broken.name in row.inner_text()
    assert "Do not restore from it: its manifest is damaged" in row.inner_text()
    assert row.get_by_text("Download").count() == 0
    assert "One archive is not to be used" in text_of(visitor.page, ".concerns")
    page = visitor.open(f"/backup/contents/{broken.name}")
    assert "is not a manifest" in text_of(page)
    assert "take another archive" in text_of(page)


def test_archive_of_another_size_is_not_offered_but_its_contents_are_shown(nights: Nights, visit: Visit) -> None:
    """Cut short after it was verified, it is marked on both pages."""
    broken = nights.done(0)
    os.truncate(broken, 1000)
    visitor = visit()
    assert "bytes" in visitor.page.locator("#archives tr.broken").inner_text()
    page = visitor.open(f"/backup/contents/{broken.name}")
    assert "Do not restore from it" in text_of(page)
    assert page.get_by_text("Download").count() == 0
    assert page.get_by_role("region", name="Tables", exact=True).locator("tbody tr").count() == 9


def test_contents_show_what_is_in_it_and_what_has_changed(nights: Nights, visit: Visit) -> None:
    """Tables, files and warnings from the manifest; beside the archive before: new tables, gone ones, other counts."""
    for ago in range(8, 1, -1):
        nights.done(ago)
    old, gone = (
        make_table("orders", "orders.csv", ("id",), rows=1200),
        make_table("leads", "leads.sql", ("id",), rows=7),
    )
    nights.done(1, tables=(old, gone))
    now = make_table("orders", "orders.csv", ("id",), rows=1180), make_table("coupons", "coupons.sql", ("id",), rows=3)
    archive = nights.done(0, tables=now, warnings=("table public.gifts is in no scope",))
    visitor = visit("viewer")
    visitor.page.get_by_role("link", name="contents of the archive").first.click()
    page = visitor.page
    page.wait_for_selector("h1.name")
    assert text_of(page, "h1") == archive.name
    assert "table public.gifts is in no scope" in text_of(page, ".concerns")
    rows = page.get_by_role("region", name="Differences", exact=True).locator("tbody tr")
    assert [" ".join(text.split()) for text in rows.all_inner_texts()] == [
        "orders 1,200 1,180 -20",
        "leads 7 \u2013 gone",
        "coupons \u2013 3 new",
    ]
    assert visitor.complaints == []


def test_secrets_in_clear_are_said_until_archives_are_encrypted(nights: Nights, visit: Visit) -> None:
    """On the status page for the newest archive, in the list and on its own page for each; then keys and copy are."""
    plain = nights.done(1)
    visitor = visit()
    words = (
        "Whoever gets the archive can read .env.production. With public keys in BACKUP_AGE_RECIPIENTS it is encrypted."
    )
    assert text_of(visitor.page, ".verdict .note") == f"The newest archive is not encrypted. {words}"
    assert visitor.page.locator('[data-label="Encrypted"] [title]').get_attribute("title") == words
    assert text_of(visitor.page, '[data-label="Copy"]') == "none"
    assert words in text_of(visitor.open(f"/backup/contents/{plain.name}"), ".concerns")
    archive = nights.done(0, encryption=ENCRYPTION, copied=True)
    page = visitor.open()
    assert page.locator(".verdict .note").count() == 0
    newest = page.locator("#archives tbody tr").first
    assert newest.locator('[data-label="Encrypted"]').inner_text() == "✓ age"
    assert newest.locator('[data-label="Copy"]').inner_text() == "✓ s3"
    newest.get_by_role("button", name="Restore").click()
    assert "It is encrypted: the workers need a private key in BACKUP_AGE_IDENTITY_FILE" in text_of(page, "dialog")
    contents = text_of(visitor.open(f"/backup/contents/{archive.name}"))
    assert f"age for {PUBLIC_KEY}" in contents
    assert f"s3://backups/nightly/{archive.name}, read back" in contents
    assert "Whoever gets" not in contents


def test_odd_sizes_of_an_archive_are_shown_in_full(nights: Nights, visit: Visit) -> None:
    """Twelve tables that have doubled are twelve lines, not ten and how many more."""
    for ago in range(9, -1, -1):
        rows = 500 if ago else 5000
        nights.done(ago, tables=tuple(make_table(f"t{n:02}", "t.sql", ("id",), rows=rows) for n in range(12)))
    visitor = visit("viewer")
    visitor.page.get_by_role("link", name="contents of the archive").first.click()
    visitor.page.wait_for_selector("h1.name")
    assert visitor.page.locator(".concerns li", has_text="has 5,000 rows").count() == 12


def test_names_and_texts_that_are_markup_are_shown_as_text(nights: Nights, visit: Visit) -> None:
    """Whatever a database, a person or a mail address is called, nothing of it is run."""
    archive = make_archive(
        nights.folder,
        0,
        tables=(make_table(EVIL, EVIL_END, ("id",), rows=3),),
        warnings=(EVIL, EVIL_END),
        run=RunRecord(run_id=EVIL_END, kind="manual", stands_for=slot_of(0), reason=EVIL),
    )
    record = archive.with_name(archive.name.removesuffix(".tar.gz") + ".delivery.json")
    record.write_text(record.read_text().replace("anna@example.com", EVIL.replace('"', "'")))
    wait_unsent(nights.folder, Notice("failed", EVIL_END, EVIL, (), (), None))
    visitor = visit()
    assert "Safe" in visitor.page.title()
    page = visitor.open(f"/backup/contents/{archive.name}")
    assert EVIL in page.locator(".concerns li").first.inner_text()
    assert EVIL_END in page.get_by_role("region", name="Tables", exact=True).inner_text()
    assert page.title() == f"{archive.name} · Backups"
    assert visitor.complaints == []


def test_alerts_that_could_not_be_sent_are_shown(nights: Nights, visit: Visit) -> None:
    """Who did not get the mail learns of it here."""
    nights.done(0)
    wait_unsent(nights.folder, Notice("failed", "Backup failed in export_database", "…", (), (), None))
    assert "An alert could not be sent by mail and to Slack: Backup failed in export_database" in text_of(
        visit().page, ".concerns"
    )


def test_five_thousand_archives_are_paged(nights: Nights, visit: Visit, api_server: ApiServer) -> None:
    """Thirty on a page, from the newest to the oldest; a page that is not there is the last, or the first."""
    for number in range(5000):
        publish_archive(nights.folder, hours_old=3 + 24 * number, size=1000 + number, succeeded=number == 0)
    visitor = visit("viewer")
    assert "Page 1 of 167" in text_of(visitor.page, ".pages")
    visitor.page.get_by_role("link", name="Older").click()
    visitor.page.wait_for_selector("text=Page 2 of 167")
    visitor.page.get_by_role("link", name="Oldest").click()
    visitor.page.wait_for_selector("text=Page 167 of 167")
    assert visitor.page.locator("#archives tbody tr").count() == 20
    for page, shown in (("999999", 167), ("0", 1), ("-3", 1), ("x", 1), ("9" * 10, 167)):
        assert f"Page {shown} of 167" in text_of(visitor.open(f"/backup/?page={page}"), ".pages")


def test_download_through_the_page_is_the_archive_byte_for_byte(
    nights: Nights, visit: Visit, put_archive: object, tmp_path: Path
) -> None:
    """What the browser saves has the archive's name and its bytes."""
    archive: Path = put_archive()  # type: ignore[operator]
    page = visit("user").page
    with page.expect_download() as waiting:
        page.get_by_role("link", name=f"Download {archive.name}").click()
    waiting.value.save_as(tmp_path / "saved")
    assert waiting.value.suggested_filename == archive.name
    assert (tmp_path / "saved").read_bytes() == archive.read_bytes()


def test_wrong_setting_is_a_page_with_the_reason(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a stack trace, and not a page that shows what the wrong settings make of it."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_SCHEDULE", "at two")
    for path in ("/backup/", "/backup/contents/critical_backup_20261120_020004.tar.gz"):
        answer = airflow.api.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 503
        assert "BACKUP_SCHEDULE=&#39;at two&#39;: not a cron expression" in answer.text
        assert "set it right for the api-server and start that again" in answer.text

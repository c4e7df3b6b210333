"""A person with a browser: Chromium, Airflow's login form, and a link from a mail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from include.backup.link import signed_link
from tests.fix_api_server import ApiServer, PutArchive


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that is logged in nowhere."""
    context = browser.new_context(accept_downloads=True)
    yield context.new_page()
    context.close()


def link_to(server: ApiServer, archive: Path, until: datetime) -> str:
    """Return the link of a mail."""
    return signed_link(archive, server.address, works_until=until).url


def log_in(page: Page, server: ApiServer, user: str) -> None:
    """Fill in Airflow's form."""
    page.fill('input[name="username"]', user)
    page.fill('input[name="password"]', server.passwords[user])
    page.click('button[type="submit"]')


def test_link_from_a_mail_leads_over_the_login_to_the_download(
    api_server: ApiServer, put_archive: PutArchive, page: Page, tmp_path: Path
) -> None:
    """Nobody is logged in: the link opens the login form, and after the login the archive comes down whole."""
    archive = put_archive()
    page.goto(link_to(api_server, archive, datetime.now(timezone.utc) + timedelta(days=7)))
    page.wait_for_selector('input[name="username"]')
    with page.expect_download(timeout=30_000) as expected:
        log_in(page, api_server, "user")
    download = expected.value
    assert download.suggested_filename == archive.name
    download.save_as(tmp_path / "down.tar.gz")
    assert (tmp_path / "down.tar.gz").read_bytes() == archive.read_bytes()


def test_link_that_has_expired_is_a_page_in_words(api_server: ApiServer, put_archive: PutArchive, page: Page) -> None:
    """After the login a person reads until when it worked, what to do, and has the way there."""
    archive = put_archive()
    until = datetime.now(timezone.utc) - timedelta(days=1)
    page.goto(link_to(api_server, archive, until))
    log_in(page, api_server, "user")
    page.wait_for_selector("main")
    assert f"This link worked until {until:%Y-%m-%d %H:%M} UTC" in page.inner_text("main")
    page.wait_for_selector('a[href="/backup/"]')


def test_person_without_the_right_is_told_so(api_server: ApiServer, put_archive: PutArchive, page: Page) -> None:
    """A viewer who logs in is not asked for the login again and again, but reads what is missing."""
    page.goto(link_to(api_server, put_archive(), datetime.now(timezone.utc) + timedelta(days=7)))
    log_in(page, api_server, "viewer")
    page.wait_for_selector("main")
    assert "You are logged in as viewer, who may not start runs of the DAG critical_backup" in page.inner_text("main")


def test_backups_stand_in_the_navigation(api_server: ApiServer, page: Page) -> None:
    """Whoever is logged in finds the page in Airflow's own navigation; it opens inside Airflow."""
    page.goto(api_server.address)
    page.wait_for_selector('input[name="username"]')
    log_in(page, api_server, "viewer")
    page.get_by_role("link", name="Backups").click()
    page.wait_for_url("**/plugin/backups")
    page.wait_for_selector("iframe")
    assert page.locator("iframe").get_attribute("src") == "/backup/"

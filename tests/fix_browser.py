"""A real browser for the status page: Debian's Chromium, signed in through Airflow's own form."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.fix_api_server import ApiServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDE, PHONE = (1280, 900), (390, 844)
# What Airflow's own pages say in every browser.
AIRFLOWS_OWN = re.compile(r"iframe which has both allow-scripts and allow-same-origin|autocomplete attributes")


@dataclass
class Visitor:
    """Somebody who is logged in: the tab, and what the browser had to say of it."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, path: str = "/backup/") -> Page:
        """Go there and wait until its scripts have run."""
        self.page.goto(self.address + path, wait_until="load")
        return self.page

    @property
    def is_wider_than_window(self) -> bool:
        """Whether one has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser; not for the whole session: while it is there, an asyncio loop runs, and no other can."""
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, api_server: ApiServer) -> Iterator[Visit]:
    """Log somebody in, in a window of this size and colours, and return the visitor on the status page."""
    contexts = []

    def enter(
        user: str = "admin", *, window: tuple[int, int] = WIDE, scheme: str = "light", **options: object
    ) -> Visitor:
        size = {"width": window[0], "height": window[1]}
        context = browser.new_context(viewport=size, color_scheme=scheme, **options)  # type: ignore[arg-type]
        contexts.append(context)
        visitor = Visitor(context.new_page(), api_server.address)
        page = visitor.page
        page.on("request", lambda request: visitor.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        page.on(
            "console",
            lambda line: visitor.complaints.append(line.text) if _is_complaint(line.type, line.text) else None,
        )
        visitor.open()
        page.fill('input[name="username"]', user)
        page.fill('input[name="password"]', api_server.passwords[user])
        page.click('button[type="submit"]')
        # Until it is loaded: its scripts have run by then.
        page.wait_for_url(lambda url: urlsplit(url).path.startswith("/backup/"), wait_until="load")
        return visitor

    yield enter
    for context in contexts:
        context.close()


def _is_complaint(kind: str, text: str) -> bool:
    return kind in ("error", "warning") and not AIRFLOWS_OWN.search(text)

"""A headless Chromium: Debian's, driven by Playwright, whose own download is not needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.fixtures import skip_or_fail

#: Without a sandbox it runs as root, too; nothing but our own page is opened.
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def executable() -> str:
    """Where the browser is; skips, or in CI fails, where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        skip_or_fail(FileNotFoundError("chromium is not installed (Debian: apt-get install chromium)"))
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips, or in CI fails, where there is none."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """An open page, every request it made, and everything that went wrong in it."""

    def __init__(
        self, browser: Browser, url: str, *, width: int = 1440, height: int = 1000, theme: str = "light"
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.goto(url)

    @property
    def hosts(self) -> set[str]:
        """Hosts and ports that were asked for anything."""
        return {urlsplit(url).netloc for url in self.requests}

    def text(self, selector: str) -> str:
        """What is read there."""
        return self.page.locator(selector).inner_text()

    def after_messages(self, number: int = 3) -> None:
        """Wait for so many more messages: a second each."""
        before = int(self.page.evaluate("Number(document.body.dataset.messages ?? 0)"))
        self.page.wait_for_function(
            "(least) => Number(document.body.dataset.messages ?? 0) >= least", arg=before + number, timeout=60_000
        )

    def close(self) -> None:
        """Leave."""
        self.page.context.close()

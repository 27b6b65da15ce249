"""The live page as a person has it open beside the faults: which notices can be seen on it now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Page, async_playwright

from tests.web.browser import ARGUMENTS, executable

#: What a page shows that has lost its worker: no notice, since nobody tells of one, but a word in the line at the top.
LOST: Final = "connection lost"

#: Kinds of the notices that are visible in the live region, with words in them.
_NOTICES: Final = """[...document.querySelectorAll("[role=status] li[data-kind]")]
  .filter(item => item.checkVisibility() && item.querySelector("strong").innerText && item.querySelector("p").innerText)
  .map(item => item.dataset.kind)"""


class OpenPage:
    """One page in a headless Chromium, driven from the loop that asks."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def notices(self) -> set[str]:
        """Kinds of the notices on it, and `LOST` where it has lost its worker."""
        found = set(await self._page.evaluate(_NOTICES))
        status = await self._page.inner_text("#status")
        return found | {LOST} if LOST in status or "does not answer" in status else found

    async def words(self, kind: str) -> str:
        """What is read in the notices of a kind."""
        return " | ".join(await self._page.locator(f"[data-kind={kind}]").all_inner_texts())

    async def go_to(self, port: int) -> None:
        """Open the page of another process."""
        await self._page.goto(f"http://127.0.0.1:{port}/")

    async def picture(self, path: str) -> None:
        """For who wants to look at it."""
        await self._page.screenshot(path=path)


@asynccontextmanager
async def open_page(port: int) -> AsyncIterator[OpenPage]:
    """Open a worker's page; skips, or in CI fails, where there is no browser."""
    path = executable()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
            opened = OpenPage(page)
            await opened.go_to(port)
            yield opened
        finally:
            await browser.close()

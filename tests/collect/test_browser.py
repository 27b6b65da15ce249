"""The snippet in a real browser: what is clicked in a shop is on the live page, with its score, soon after."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.collect.collector import KEY, Collector, deployed
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers
from tests.web.browser import Visit, chromium

#: Clicks whose way to the live page is timed. The page is told once a second.
CLICKS = 15

#: What is asserted of each, in seconds: a loaded machine is slower. What was measured is in docs/collect.md.
SEEN_S_MAX = 30.0

_PAGE = """<!doctype html><title>a shop</title>
<button id=look onclick="streamApp.push(['track', 'view_item', {item_id: 'sku-1', price: 79.9}])">look</button>
<button id=cart onclick="streamApp.push(['track', 'add_to_cart', {item_id: 'sku-1', price: 79.9}])">cart</button>
<script>window.streamApp = window.streamApp || [];</script>
<script async src="%s/v1/snippet.js" data-key="%s" %s></script>"""


class Shop(ThreadingHTTPServer):
    """A shop's page on a port of its own: another origin than the collector's."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.collector_url = ""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        more = "data-consent" if "consent" in self.path else ""
        body = (_PAGE % (self.server.collector_url, KEY, more)).encode()
        self.send_response(200 if "favicon" not in self.path else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class System(NamedTuple):
    """`stream-app run` and `stream-app collect` on the embedded servers, and a shop."""

    run: Process
    collector: Collector
    shop: Shop

    def sent(self, **fields: Any) -> list[dict[str, Any]]:
        """Events on the topic that have these fields."""
        found = [value for _, value in self.collector.events()]
        return [value for value in found if all(value.get(name) == each for name, each in fields.items())]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def system(embedded_servers: Servers) -> Iterator[System]:
    name = f"snippet-{uuid.uuid4().hex[:8]}"
    with Shop() as shop, deployed(embedded_servers, Names(f"{name}.", name), web_show_visitors=True) as deployment:
        process = deployment.start("run")
        collector = Collector(deployment, collect_origins=shop.origin, collect_address_rate=0)
        shop.collector_url = collector.url
        collector.until_ready()
        wait_for("the worker", lambda: process.ready()[0], seconds=60)
        yield System(process, collector, shop)


@contextmanager
def visitor(browser: Browser, system: System, path: str = "/", *, before: str = "") -> Iterator[Page]:
    """A new visitor on the shop's page; `before` is run before the page's own scripts."""
    context: BrowserContext = browser.new_context()
    if before:
        context.add_init_script(before)
    page = context.new_page()
    try:
        page.goto(f"{system.shop.origin}{path}")
        page.wait_for_function("() => window.streamApp && !Array.isArray(window.streamApp)")
        yield page
    finally:
        context.close()


def _visitor_id(page: Page) -> str:
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "sa_visitor"]
    return str(cookie["value"])


_SHOWN = """([visitor, events]) => [...document.querySelectorAll("#session-rows tr")].some(
  row => row.querySelector("a").textContent === visitor && row.dataset.score !== undefined
    && row.querySelector(".events").textContent === String(events))"""


def test_what_is_clicked_is_on_the_live_page_with_its_score_soon_after(browser: Browser, system: System) -> None:
    live = Visit(browser, f"http://127.0.0.1:{system.run.port}/")
    live.after_messages(1)
    took: list[float] = []
    with visitor(browser, system) as page:
        name = _visitor_id(page)
        live.page.wait_for_function(_SHOWN, arg=[name, 1], timeout=1000 * SEEN_S_MAX)
        for n in range(CLICKS):
            # At any moment between two messages of the page.
            time.sleep(0.137 * (n % 7))
            began = time.perf_counter()
            page.click("#look" if n % 3 else "#cart")
            live.page.wait_for_function(_SHOWN, arg=[name, n + 2], timeout=1000 * SEEN_S_MAX)
            took.append(time.perf_counter() - began)
    live.close()
    took.sort()
    print(f"\nfrom click to live page: median {statistics.median(took):.2f} s, longest {took[-1]:.2f} s of {CLICKS}")
    assert took[-1] < SEEN_S_MAX
    events = system.sent(visitor_id=name)
    assert len(events) == len({event["event_id"] for event in events}) == CLICKS + 1
    first = next(event for event in events if event["event_type"] == "page_view")
    assert first["page_url"] == f"{system.shop.origin}/"
    assert {event.get("item_id") for event in events} == {None, "sku-1"}


def test_what_was_pushed_before_the_script_came_is_not_lost(browser: Browser, system: System) -> None:
    with visitor(browser, system, before="window.streamApp = [['track', 'search', {search_term: 'early'}]]"):
        wait_for("the early one", lambda: system.sent(search_term="early"), seconds=60)


def test_what_is_told_while_the_page_is_left_arrives_by_beacon(browser: Browser, system: System) -> None:
    with visitor(browser, system) as page:
        page.evaluate("streamApp.push(['track', 'add_to_cart', {item_id: 'leaving'}]); location.href = 'about:blank'")
        wait_for("the beacon", lambda: system.sent(item_id="leaving"), seconds=60)
        # Once more than needed where the page's own request went out as well: with the same id.
        assert len({event["event_id"] for event in system.sent(item_id="leaving")}) == 1


def test_addresses_lose_their_query_and_a_campaign_is_the_source(browser: Browser, system: System) -> None:
    with visitor(browser, system, "/landing?utm_source=mail&email=jo@example.org#top") as page:
        name = _visitor_id(page)
        wait_for("the view", lambda: system.sent(visitor_id=name), seconds=60)
    (view,) = system.sent(visitor_id=name)
    assert (view["page_url"], view["source"]) == (f"{system.shop.origin}/landing", "mail")


@pytest.mark.parametrize("signal", ["doNotTrack', {get: () => '1'}", "globalPrivacyControl', {get: () => true}"])
def test_who_does_not_want_to_be_followed_is_not(browser: Browser, system: System, signal: str) -> None:
    with visitor(browser, system, before=f"Object.defineProperty(Navigator.prototype, '{signal})") as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.click("#cart")
        page.wait_for_timeout(300)
        assert asked == []
        assert page.context.cookies() == []
        assert page.evaluate("localStorage.length") == 0


def test_consent_is_waited_for_remembered_and_taken_back(browser: Browser, system: System) -> None:
    with visitor(browser, system, "/consent") as page:
        page.click("#cart")
        assert page.context.cookies() == []
        page.evaluate("streamApp.push(['consent', true])")
        name = _visitor_id(page)
        wait_for("the view", lambda: len(system.sent(visitor_id=name)) == 1, seconds=60)
        page.reload()
        wait_for("the next view", lambda: len(system.sent(visitor_id=name)) == 2, seconds=60)
        page.wait_for_function("() => window.streamApp && !Array.isArray(window.streamApp)")
        page.evaluate("streamApp.push(['consent', false])")
        assert page.context.cookies() == []
        page.click("#cart")
        page.reload()
        page.wait_for_timeout(300)
        assert page.context.cookies() == []
        assert len(system.sent(visitor_id=name)) == 2


def test_while_the_collector_is_away_events_wait_and_come_once_from_the_next_page_too(
    browser: Browser, system: System
) -> None:
    """Last: it kills the collector."""
    with visitor(browser, system) as page:
        name = _visitor_id(page)
        wait_for("the view", lambda: len(system.sent(visitor_id=name)) == 1, seconds=60)
        system.collector.process.kill()
        page.click("#look")
        page.wait_for_timeout(200)
        page.click("#cart")
        kept = page.evaluate("JSON.parse(localStorage.sa_queue).map(event => event.event_id)")
        assert len(kept) == 2
        again = system.collector.again().until_ready()
        wait_for("what waited", lambda: len(system.sent(visitor_id=name)) == 3, seconds=60)
        page.wait_for_function("() => localStorage.sa_queue === '[]'", timeout=60_000)
        # 4xx but 408 and 429 are final: the same would be refused again.
        again.process.kill()
        page.click("#look")
        page.route(
            "**/v1/events*", lambda route: route.fulfill(status=401, headers={"Access-Control-Allow-Origin": "*"})
        )
        page.wait_for_function("() => localStorage.sa_queue === '[]'", timeout=20_000)
    events = system.sent(visitor_id=name)
    assert {event["event_id"] for event in events} >= set(kept)
    assert len(events) == len({event["event_id"] for event in events}) == 3

"""The live page in a browser, on a running system: its numbers are the topics', it stays quick and asks nobody else."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import Event
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers
from tests.web.browser import Visit, chromium

#: Of a shop without an order system. The first ones teach the model enough: then scores differ, and have reasons.
EVENTS = 10_000
TEACHING = 6_000

#: Sessions open at once in the second part, and events of each.
CROWD = 10_000
CROWD_EVENTS = 2


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class System(NamedTuple):
    """`stream-app run` on the embedded servers, with its page."""

    deployment: Deployment
    process: Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    def get(self, path: str) -> Any:
        status, body = self.process.get(path)
        assert status == 200, body
        return json.loads(body)

    def read(self, topic: str) -> list[Any]:
        """Values of a topic, in the order of each partition."""
        return [value for _, value, _ in _run(self.deployment.read(topic))]

    def send(self, events: list[Event], scored: int) -> None:
        """Send, and wait for so many scores in all; the page's own count follows at once."""
        _run(self.deployment.send(events))
        wait_for("scores", lambda: self.get("/api/stats")["events"]["scored"] >= scored, seconds=60)
        wait_for("reading", lambda: self.get("/api/stats")["sessions"]["unread"] == 0, seconds=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def system(embedded_servers: Servers) -> Iterator[System]:
    unique = f"page-{uuid.uuid4().hex[:8]}"
    deployment = Deployment(embedded_servers, Names(f"{unique}.", unique), session_gap_ms=1_800_000)
    _run(deployment.__aenter__())
    try:
        process = deployment.start("run")
        wait_for("readiness", lambda: process.ready()[0], seconds=60)
        yield System(deployment, process)
    finally:
        _run(deployment.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def shop(browser: Browser, system: System) -> Iterator[Visit]:
    """The page, opened before the first event, after a shop's first hours have been scored and learned."""
    visit = Visit(browser, f"{system.url}/")
    visit.after_messages(1)
    assert "No event has come yet" in visit.text("#no-sessions")
    start_ms = (int(time.time()) // 86_400 - 20) * 86_400_000
    facts = islice(Shop(seed=5, start_ms=start_ms, sessions_per_hour=300.0, label_share=0.0), 2 * EVENTS)
    events = [fact for fact in facts if isinstance(fact, Event)][:EVENTS]
    system.send(events[:TEACHING], TEACHING)
    wait_for("a model that has learned enough", lambda: not system.get("/api/stats")["model"]["cold"], seconds=30)
    system.send(events[TEACHING:], EVENTS)
    visit.after_messages(3)
    yield visit
    visit.close()


def _number(text: str) -> int:
    return int("".join(letter for letter in text.split(" ")[0] if letter.isdigit()))


def _open_sessions(system: System) -> dict[str, list[dict[str, Any]]]:
    """Session id → its scores, of those that no record says are closed."""
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for score in system.read(topics.SCORES):
        sessions[score["session_id"]].append(score)
    for closed in system.read(topics.CLOSED):
        sessions.pop(closed["session_id"], None)
    return sessions


def test_the_numbers_are_those_of_the_topics(shop: Visit, system: System) -> None:
    scores = system.read(topics.SCORES)
    assert _number(shop.text("#scored")) == len(scores) == EVENTS
    by_band = {band: sum(score["band"] == band for score in scores) for band in ("unlikely", "on_the_fence", "likely")}
    assert all(by_band.values()), by_band
    for band, count in by_band.items():
        assert _number(shop.text(f"[data-count={band}]")) == count
    sessions = _open_sessions(system)
    assert _number(shop.text("#followed")) == len(sessions)
    counts = [_number(text) for text in shop.page.locator("#histogram .n").all_inner_texts()]
    bounds = system.get("/api/stats")["histogram"]["bounds"]
    expected = [0] * len(counts)
    for events in sessions.values():
        expected[sum(events[-1]["score"] >= bound for bound in bounds)] += 1
    assert counts == expected
    assert _number(shop.text("#open")) == len({events[-1]["visitor_id"] for events in sessions.values()})


def test_the_sessions_listed_are_those_with_the_highest_scores_and_have_reasons(shop: Visit, system: System) -> None:
    sessions = _open_sessions(system)
    expected = sorted((events[-1]["score"] for events in sessions.values()), reverse=True)[:12]
    shown = [
        float(text)
        for text in shop.page.eval_on_selector_all("#session-rows tr", "rows => rows.map(row => row.dataset.score)")
    ]
    assert shown == expected
    shop.page.wait_for_function("document.querySelectorAll('#session-rows .reason').length >= 10", timeout=10_000)
    assert "×" in shop.text("#session-rows tr:first-child .reason")


def test_a_checkout_shows_the_score_before_it(shop: Visit, system: System) -> None:
    before: dict[int, set[float]] = defaultdict(set)
    last: dict[str, dict[str, Any]] = {}
    for score in system.read(topics.SCORES):
        former = last.get(score["session_id"])
        if score["event_type"] == "purchase" and former is not None and former["event_type"] != "purchase":
            before[score["event_time"]].add(former["score"])
        last[score["session_id"]] = score
    found = system.get("/api/checkouts")
    assert found["seen"] >= len(before) > 50
    listed = [checkout for checkout in found["checkouts"] if checkout["source"] == "purchase" and checkout["before"]]
    assert len(listed) > 30
    for checkout in listed:
        assert checkout["before"]["score"] in before[checkout["time"]]
    shown = shop.page.locator("#checkouts li strong").all_inner_texts()
    first = [checkout["before"]["score"] for checkout in found["checkouts"][:8] if checkout["before"]]
    assert [_share(text) for text in shown] == [pytest.approx(score, abs=0.0051) for score in first]


def _share(text: str) -> float:
    """A percentage as the page writes it."""
    return float(text.strip("<>%")) / 100


def test_a_sessions_page_tells_its_events_and_how_each_moved_the_score(
    browser: Browser, shop: Visit, system: System
) -> None:
    sessions = _open_sessions(system)
    row = system.get("/api/sessions?order=events&limit=1")["sessions"][0]
    (scores,) = [
        events for events in sessions.values() if events[-1]["score"] == row["score"] and len(events) == row["events"]
    ][:1]
    visit = Visit(browser, f"{system.url}/sessions/{row['visitor']}")
    visit.page.wait_for_selector("#event-rows tr")
    visit.page.wait_for_selector("#why li")
    assert visit.page.locator("#event-rows tr").count() == len(scores)
    changes = [text.split(" ")[0] for text in visit.page.locator("#event-rows .change").all_inner_texts()][::-1]
    assert changes[0] == ""
    for text, former, score in zip(changes[1:], scores, scores[1:], strict=False):
        assert float(text.replace("−", "-").replace("±", "")) == pytest.approx(
            100 * (score["score"] - former["score"]), abs=0.051
        )
    known = visit.text("#known")
    assert "Earlier visits" in known
    assert row["visitor"] in visit.text("h1")
    assert scores[0]["visitor_id"] not in visit.page.content()
    assert visit.errors == []
    assert visit.hosts == {f"127.0.0.1:{system.process.port}"}
    visit.close()


def test_nothing_is_asked_of_another_host_and_nothing_goes_wrong(shop: Visit, system: System) -> None:
    assert shop.hosts == {f"127.0.0.1:{system.process.port}"}
    assert shop.errors == []


def test_every_control_and_link_is_reached_by_keyboard_and_seen_when_it_is(browser: Browser, system: System) -> None:
    visit = Visit(browser, f"{system.url}/")
    visit.after_messages(2)
    wanted = set(visit.page.evaluate(_STOPS))
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip"
    reached, unseen = set(), []
    for _ in range(len(wanted) + 10):
        stop, outline = visit.page.evaluate(
            "[document.activeElement.dataset.stop ?? '', getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(stop)
        if outline == "none" and stop:
            unseen.append(stop)
        visit.page.keyboard.press("Tab")
    assert wanted <= reached
    assert unseen == []
    visit.page.focus("#pause")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_attribute("#pause", "aria-pressed") == "true"
    visit.page.focus("#theme")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_attribute("html", "data-theme") == "dark"
    visit.page.reload()
    assert visit.page.get_attribute("html", "data-theme") == "dark"
    visit.close()


def test_a_row_in_focus_stays_where_it_is_while_the_others_go_on(browser: Browser, shop: Visit, system: System) -> None:
    visit = Visit(browser, f"{system.url}/")
    visit.page.wait_for_selector("#session-rows a")
    visit.page.focus("#session-rows tr:nth-child(3) a")
    name = visit.text("#session-rows tr:nth-child(3) a")
    visit.after_messages(3)
    assert visit.page.evaluate("document.activeElement.textContent") == name
    visit.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, shop: Visit, system: System, theme: str) -> None:
    visit = Visit(browser, f"{system.url}/", theme=theme)
    visit.page.wait_for_selector("#session-rows .reason")
    too_faint = visit.page.evaluate(_CONTRAST)
    assert too_faint == []
    visit.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(browser: Browser, shop: Visit, system: System) -> None:
    visit = Visit(browser, f"{system.url}/", width=360, height=780)
    visit.page.wait_for_selector("#session-rows .reason")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    visit.close()


def test_with_ten_thousand_open_sessions_the_page_is_quick(browser: Browser, shop: Visit, system: System) -> None:
    base_ms = int(time.time() * 1000) - 60_000
    crowd = [
        Event(f"c{n}-{e}", "view_item", base_ms + 1_000 * e + n % 1_000, f"crowd-{n}", item_id=f"i{n % 500}")
        for e in range(CROWD_EVENTS)
        for n in range(CROWD)
    ]
    system.send(crowd, EVENTS + len(crowd))
    stats = system.get("/api/stats")
    assert stats["sessions"]["open_visitors"] >= CROWD
    if stats["sessions"]["one_in"] == 1:
        assert stats["sessions"]["followed"] >= CROWD
    shop.after_messages(2)
    assert _number(shop.text("#open")) >= CROWD
    shop.page.evaluate(
        "window.longest = 0; new PerformanceObserver(list => { for (const task of list.getEntries())"
        " window.longest = Math.max(window.longest, task.duration); }).observe({ type: 'longtask' })"
    )
    before = int(shop.page.evaluate("Number(document.body.dataset.messages)"))
    shop.page.wait_for_timeout(5_000)
    messages = int(shop.page.evaluate("Number(document.body.dataset.messages)")) - before
    assert messages >= 4
    assert shop.page.evaluate("window.longest") < 200
    started = time.monotonic()
    shop.page.select_option("#order", "events")
    shop.page.wait_for_selector("#session-rows tr", timeout=5_000)
    assert time.monotonic() - started < 3
    started = time.monotonic()
    with urllib.request.urlopen(f"{system.url}/api/sessions?limit=200") as answer:
        assert len(json.load(answer)["sessions"]) == 200
    assert time.monotonic() - started < 0.5


#: Marks everything that can be reached by keyboard, and lists the marks.
_STOPS = """[...document.querySelectorAll("a[href], button, select")]
  .filter(found => found.offsetParent !== null || found.className === "skip")
  .map((found, n) => { found.dataset.stop = n; return String(n); })"""

#: Every piece of text whose colour stands out from what is behind it by less than WCAG's 4.5 : 1.
_CONTRAST = """(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = found => {
    for (; found; found = found.parentElement) {
      const color = channels(getComputedStyle(found).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const found of document.querySelectorAll("body *")) {
    const text = [...found.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join("");
    if (!text || found.offsetParent === null || found.closest("noscript")) continue;
    const [more, less] = [light(channels(getComputedStyle(found).color)), light(behind(found))].sort((x, y) => y - x);
    const contrast = (more + 0.05) / (less + 0.05);
    if (contrast < 4.5) faint.push(`${found.tagName} ${found.className} ${text.slice(0, 30)} ${contrast.toFixed(2)}`);
  }
  return faint;
})()"""

"""The live page in a browser, on a running system: its numbers are the topics', it stays quick and asks nobody else."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from playwright.sync_api import Browser

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import Event
from stream_app.discounts.core.records import Offer, encode
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
        wait_for("reading", lambda: self.get("/api/stats")["sessions"]["unread"] == 0, seconds=60)


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
    wait_for("a model that has learned enough", lambda: not system.get("/api/stats")["model"]["cold"], seconds=60)
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
    # Which bands are hit is the model's matter: where its thresholds coincide, nobody is on the fence.
    assert sum(map(bool, by_band.values())) >= 2, by_band
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
    shop.page.wait_for_function("() => document.querySelectorAll('#session-rows .reason').length >= 10", timeout=60_000)
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


def test_who_buys_is_what_the_topics_tell(shop: Visit, system: System) -> None:
    closed = system.read(topics.CLOSED)
    wait_for("all that ended", lambda: system.get("/api/shop")["sessions"]["sessions"] == len(closed), seconds=60)
    wait_for("kinds of journeys", lambda: system.get("/api/shop")["journeys"]["kinds"] != [], seconds=60)
    journeys = [
        example
        for example in system.read(topics.EXAMPLES)
        if (example["left"], example["previous"]) == (0, -1)
        and any(value for name, value in example["features"].items() if name.startswith("n_"))
    ]
    wait_for("all journeys", lambda: system.get("/api/shop")["journeys"]["journeys"] == len(journeys), seconds=60)
    facts = system.get("/api/shop")
    bought = [session for session in closed if session["purchases"] + session["labelled_checkouts"]]
    assert (facts["problem"], facts["passed_over"]) == (None, 0)
    assert facts["sessions"]["bought"] == len(bought) > 40
    for by in ("source", "country"):
        every, some = (Counter(session[by] or "(none)" for session in among) for among in (closed, bought))
        rows = facts["sessions"][f"by_{by}"]
        assert [row["sessions"] for row in rows] == [number for _, number in every.most_common(8)]
        assert all((row["sessions"], row["bought"]) == (every[row[by]], some[row[by]]) for row in rows)
    begins = [row["from_seconds"] for row in facts["sessions"]["by_length"]][1:]
    lengths = Counter(
        max(begin for begin in begins if begin <= length) if (length := one["duration_ms"] / 1000) else None
        for one in closed
    )
    assert {
        row["from_seconds"]: row["sessions"] for row in facts["sessions"]["by_length"] if row["sessions"]
    } == lengths
    kinds = facts["journeys"]["kinds"]
    assert sum(round(kind["journeys"] * kind["bought"]) for kind in kinds) == sum(e["label"] for e in journeys)
    # On the page: what is there now is what is asked for, a few seconds later.
    shop.page.wait_for_function("() => document.querySelectorAll('#kinds tr').length > 0", timeout=60_000)
    shop.after_messages(4)
    assert _number(shop.text("#shop-note")) == len(closed)
    counts = [_number(text) for text in shop.page.locator("#lengths td.num").all_inner_texts()]
    assert counts == [row["sessions"] for row in facts["sessions"]["by_length"]]
    shop.page.select_option("#shop-by", "country")
    named = shop.page.locator("#by-rows th").all_inner_texts()
    assert named == [row["country"] for row in facts["sessions"]["by_country"]]
    assert shop.text("#by-name") == "Country"
    assert shop.page.locator("#kinds tr").count() == len(kinds)
    shares = [_share(text) for text in shop.page.locator("#kinds .rate strong").all_inner_texts()]
    assert shares == [pytest.approx(kind["bought"], abs=0.0051) for kind in kinds]


def test_the_sessions_that_go_on_have_their_kind_of_journey(browser: Browser, shop: Visit, system: System) -> None:
    wait_for("kinds of journeys", lambda: system.get("/api/shop")["journeys"]["kinds"] != [], seconds=60)
    shop.page.wait_for_function("() => document.querySelectorAll('#session-rows .kind').length > 0", timeout=60_000)
    row = next(row for row in system.get("/api/sessions?limit=20")["sessions"] if row["journey"] is not None)
    known = system.get(f"/api/sessions/{row['visitor']}")["journey"]
    assert known["number"] == row["journey"]
    visit = Visit(browser, f"{system.url}/sessions/{row['visitor']}")
    visit.page.wait_for_selector("#known dt")
    assert f"A journey of kind {known['number']}" in visit.text("#known")
    assert known["words"] in visit.text("#known")
    assert visit.errors == []
    visit.close()


def test_offers_are_those_of_the_topic(shop: Visit, system: System) -> None:
    assert "None yet" in shop.text("#no-offers")
    now_ms = int(time.time() * 1000)
    made = [
        Offer(
            offer_id=f"offer-{n}", visitor_id=f"somebody-{n}", session_id=f"s{n}", percent=percent, reason=reason,
            score=0.15, arm="treatment", issued_at=now_ms - 120_000 + n, expires_at=now_ms + valid_ms,
            experiment="e", policy="p",
        )
        for n, (percent, reason, valid_ms) in enumerate([(10.0, "quiet", 600_000), (7.5, "hesitates", -60_000)])
    ]  # fmt: skip
    _run(_write(system, [(one.visitor_id, encode(one)) for one in [*made, *made]]))
    shop.page.wait_for_function("() => document.querySelectorAll('#offers li').length === 2", timeout=60_000)
    newest, oldest = shop.page.locator("#offers li").all_inner_texts()
    assert "7.5% off" in newest
    assert "it hesitates · run out" in newest
    assert "10% off" in oldest
    assert "quiet with a full cart" in oldest
    assert "run out" not in oldest
    assert "15%" in oldest
    assert "somebody" not in shop.page.content()
    assert [row["percent"] for row in system.get("/api/offers?limit=5")["offers"]] == [7.5, 10.0]


async def _write(system: System, offers: list[tuple[str, bytes]]) -> None:
    settings = system.deployment.settings
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for key, value in offers:
            await producer.send_and_wait(settings.topic(topics.OFFERS), value, key=key.encode())
    finally:
        await producer.stop()


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


def test_where_all_is_well_there_is_no_notice(shop: Visit, system: System) -> None:
    assert system.get("/api/stats")["notices"] == []
    assert shop.page.locator("#notices *").count() == 0
    assert shop.text("#status-text") == "live"


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_a_notice_is_read_out_once_in_words_and_can_be_seen_by_everybody(
    browser: Browser, shop: Visit, system: System, theme: str, width: int
) -> None:
    visit = Visit(browser, f"{system.url}/", width=width, theme=theme)
    visit.after_messages(1)
    visit.page.click("#pause")
    told = [
        {
            "kind": "redis_away", "of": "", "severity": "critical", "title": "Redis does not answer",
            "detail": "For 3 s; 2 batches of states wait for it.", "alert": "RedisViewBehind",
            "since": 1_700_000_000_000,
        },
        {
            "kind": "behind", "of": "", "severity": "warning", "title": "Scores come late",
            "detail": "Waiting in Kafka: 10,000 records.", "alert": "LagHigh", "since": None,
        },
    ]  # fmt: skip
    visit.page.evaluate(_SHOW_NOTICES, told)
    region = visit.page.locator("#notices")
    assert region.get_attribute("role") == "status"
    redis, behind = region.locator("li").all_inner_texts()
    assert redis.split()[0].lower() == "fault"
    assert behind.split()[0].lower() == "attention"
    assert "RedisViewBehind" in redis
    assert visit.page.evaluate(_CONTRAST) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    # What stays keeps its place in the page, and only its numbers move, which are not read out again.
    visit.page.evaluate("document.querySelector('#notices li').dataset.same = 'yes'")
    told[0]["detail"] = "For 4 s; 3 batches of states wait for it."
    visit.page.evaluate(_SHOW_NOTICES, told[:1])
    (item,) = region.locator("li").all()
    assert item.get_attribute("data-same") == "yes"
    assert "For 4 s" in item.locator("[aria-live=off]").inner_text()
    visit.page.evaluate(_SHOW_NOTICES, [])
    assert region.locator("*").count() == 0
    assert visit.errors == []
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


def _cost(shop: Visit, system: System) -> tuple[int, int]:
    """Bytes of one message of the stream, and elements on the page: what a browser has to do, in no unit of time."""
    with urllib.request.urlopen(f"{system.url}/api/live", timeout=20) as stream:
        message = next(line for line in stream if line.startswith(b"data:"))
    return len(message), int(shop.page.evaluate("document.querySelectorAll('*').length"))


def test_ten_thousand_open_sessions_cost_the_page_no_more_than_a_few(
    browser: Browser, shop: Visit, system: System
) -> None:
    few_bytes, few_elements = _cost(shop, system)
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
    many_bytes, many_elements = _cost(shop, system)
    assert few_elements / 2 < many_elements < 1.5 * few_elements
    assert few_bytes / 2 < many_bytes < 1.5 * few_bytes
    shop.page.evaluate(
        "window.longest = 0; new PerformanceObserver(list => { for (const task of list.getEntries())"
        " window.longest = Math.max(window.longest, task.duration); }).observe({ type: 'longtask' })"
    )
    shop.after_messages(4)
    shop.page.select_option("#order", "events")
    shop.page.wait_for_selector("#session-rows tr", timeout=60_000)
    longest_ms = shop.page.evaluate("window.longest")
    print(f"\n{few_bytes:,} bytes a message, with {CROWD:,} sessions {many_bytes:,}")
    print(f"{few_elements} elements, then {many_elements}; longest task {longest_ms:.0f} ms")
    assert len(system.get("/api/sessions?limit=200")["sessions"]) == 200


_SHOW_NOTICES = "async notices => (await import('/static/notices.js')).showNotices(notices)"

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

"""The live page's JSON and files over a real socket; batches are told by hand. With servers: `test_live_page.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from stream_app.core.effects import DeadLetter
from stream_app.histogram import HistogramSeries
from stream_app.settings import Settings
from stream_app.web import live_feed
from stream_app.web.health import Health
from stream_app.web.live_feed import LiveFeed
from stream_app.web.live_routes import LiveRoutes
from stream_app.web.server import WebServer
from tests.live.batches import batch, closed, score


class _Page:
    """A web port over an aggregate; Redis and Kafka are away."""

    def __init__(self, **settings: Any) -> None:
        away = {"redis_url": "redis://127.0.0.1:1/0", "kafka_bootstrap": "127.0.0.1:1", "redis_timeout_ms": 50}
        self.settings = Settings(**{"web_port": 0, **away, **settings})
        self.health = Health()
        self.health.register("worker", ready=lambda: (False, "partition 3 is restoring"))
        self.waited_s = 0.0
        self.feed = LiveFeed(
            self.settings,
            self.health,
            worker=None,
            trainer=None,
            latency=HistogramSeries((0.1, 1.0)),
            longest_wait=lambda: self.waited_s,
        )
        pages = LiveRoutes(self.settings, self.feed)
        self.server = WebServer(self.settings, CollectorRegistry(), self.health, pages)

    async def get(self, path: str) -> tuple[int, Mapping[str, str], Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.server.url}{path}") as response:
            text = await response.text()
            body = json.loads(text) if response.content_type == "application/json" else text
            return response.status, response.headers, body


@pytest.fixture
async def page() -> AsyncIterator[_Page]:
    page = _Page(web_show_visitors=True)
    await page.server.start()
    yield page
    await page.server.stop()


async def test_stats_are_what_the_batches_told(page: _Page) -> None:
    page.feed.take(batch([score("ann", 1, 0.02), score("bob", 1, 0.5)], open_visitors=2), 0)
    status, headers, stats = await page.get("/api/stats")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert stats["events"]["scored"] == 2
    assert stats["bands"] == {"unlikely": 1, "on_the_fence": 0, "likely": 1}
    assert stats["sessions"]["open_visitors"] == stats["sessions"]["followed"] == 2
    assert sum(stats["histogram"]["counts"]) == 2
    assert len(stats["histogram"]["counts"]) == len(stats["histogram"]["bounds"]) + 1
    assert (stats["ready"], stats["components"]["worker"]["is"]) == (False, "partition 3 is restoring")
    assert stats["scope"] == {"worker": False, "partitions": [], "of": 4}
    assert (stats["model"], stats["lag_records"], stats["latency"]["p50_seconds"]) == (None, None, None)


async def test_what_is_wrong_is_told_by_notices_in_stats_and_stream_and_no_longer_when_it_is_not(page: _Page) -> None:
    _, _, stats = await page.get("/api/stats")
    (notice,) = stats["notices"]
    assert (notice["kind"], notice["of"], notice["alert"]) == ("not_ready", "worker", "NotReady")
    assert notice["detail"] == "It says: partition 3 is restoring."
    page.waited_s = 12.0
    async with aiohttp.ClientSession() as session, session.get(f"{page.server.url}/api/live") as response:
        told = (await _message(response))["stats"]
        behind = {notice["kind"]: notice for notice in told["notices"]}["behind"]
        assert set(behind) == {"kind", "of", "severity", "title", "detail", "alert", "since"}
        assert behind["since"] == pytest.approx(told["now"] - 12_000, abs=5)
        page.waited_s = 0.0
        async with asyncio.timeout(5):
            while [notice["kind"] for notice in told["notices"]] != ["not_ready"]:
                told = (await _message(response))["stats"]


async def test_batches_are_looked_at_for_signs_of_faults_although_nobody_watches(page: _Page) -> None:
    letter = DeadLetter(b"", b"{", "not_json", "", "clickstream.events.v1", 0, 1)
    page.feed.take(batch([score("ann", 1, 0.02)], dead_letters=[letter] * 9), 0)
    _, _, stats = await page.get("/api/stats")
    assert "9 records" in {notice["kind"]: notice for notice in stats["notices"]}["records_rejected"]["detail"]


async def test_sessions_are_listed_in_the_order_and_band_asked_for(page: _Page) -> None:
    page.feed.take(batch([score("ann", 1, 0.02), score("bob", 1, 0.5), score("cid", 1, 0.7)]), 0)
    _, _, found = await page.get("/api/sessions")
    assert [row["visitor"] for row in found["sessions"]] == ["cid", "bob", "ann"]
    _, _, found = await page.get("/api/sessions?band=likely&order=events&limit=1")
    assert len(found["sessions"]) == 1
    assert found["sessions"][0]["band"] == "likely"


@pytest.mark.parametrize(
    ("path", "got"),
    [
        ("/api/sessions?order=luck", "order='luck'"),
        ("/api/sessions?band=maybe", "band='maybe'"),
        ("/api/sessions?limit=0", "limit='0'"),
        ("/api/sessions?limit=1e9", "limit='1e9'"),
        ("/api/live?order=luck", "order='luck'"),
    ],
)
async def test_a_wrong_parameter_is_400_with_what_was_expected(page: _Page, path: str, got: str) -> None:
    status, headers, body = await page.get(path)
    assert status == 400
    assert body["error"]["got"] == got
    assert body["error"]["expected"]
    assert body["error"]["do"]
    assert headers["Cache-Control"] == "no-store"


async def test_a_session_is_told_although_redis_is_away_and_that_it_is_away(page: _Page) -> None:
    page.feed.take(batch([score("ann", 1, 0.02), score("ann", 2, 0.5)], closed=[closed("ann")]), 0)
    status, _, found = await page.get("/api/sessions/ann")
    assert status == 200
    session = found["session"]
    assert [event["score"] for event in session["events"]] == [0.02, 0.5]
    assert (session["open"], session["events_in_all"], session["not_shown"]) == (False, 2, 0)
    assert found["state"] is None
    assert "Redis" in found["problem"]


async def test_a_visitor_nobody_knows_is_404_with_what_to_do(page: _Page) -> None:
    status, _, body = await page.get("/api/sessions/nobody")
    assert status == 404
    assert body["error"]["got"] == "visitor nobody"
    status, _, body = await page.get("/api/anything")
    assert (status, body["error"]["got"]) == (404, "/api/anything")


async def test_without_ids_a_visitor_is_asked_for_by_the_hash_and_no_answer_has_an_id() -> None:
    page = _Page()
    await page.server.start()
    try:
        page.feed.take(batch([score("the-visitor", 1, 0.02), score("the-visitor", 2, 0.9, "purchase")]), 0)
        _, _, found = await page.get("/api/sessions")
        name = found["sessions"][0]["visitor"]
        assert len(name) == 10
        status, _, session = await page.get(f"/api/sessions/{name}")
        assert status == 200
        (checkout,) = page.feed.checkouts(5)
        assert checkout["visitor"] == name
        for told in (found, session, checkout):
            assert "the-visitor" not in json.dumps(told)
        for refused in ("the-visitor", name.upper() + "x", "..%2fstats"):
            assert (await page.get(f"/api/sessions/{refused}"))[0] in (400, 404)
        assert (await page.get("/api/sessions/the-visitor"))[0] == 400
    finally:
        await page.server.stop()


async def test_the_model_is_a_problem_in_words_where_kafka_is_away(page: _Page) -> None:
    # The second waits for what the first is being told.
    for status, _, body in await asyncio.gather(page.get("/api/model"), page.get("/api/model")):
        assert status == 200
        assert body["served"] is None
        assert body["learner"] is None
        assert "Kafka" in body["problem"]


async def test_offers_are_a_problem_in_words_where_kafka_is_away(page: _Page) -> None:
    status, _, body = await page.get("/api/offers?limit=5")
    assert (status, body["offers"]) == (200, [])
    assert body["problem"].startswith("reading offers: ")


async def test_pages_come_under_a_policy_that_lets_them_ask_nobody_else(page: _Page) -> None:
    for path in ("/", "/sessions/ann", "/static/live.js", "/api/stats", "/api/nothing"):
        _, headers, _ = await page.get(path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


async def test_files_are_those_of_the_page_alone_and_known_ones_are_not_sent_again(page: _Page) -> None:
    status, headers, _ = await page.get("/static/live.js")
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    async with (
        aiohttp.ClientSession(headers={"If-None-Match": headers["ETag"]}) as session,
        session.get(f"{page.server.url}/static/live.js") as response,
    ):
        assert response.status == 304
    for path in ("/static/server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static/"):
        assert (await page.get(path))[0] == 404
    assert "MIT License" in (await page.get("/static/uPlot-LICENSE.txt"))[2]


# ---- the stream ------------------------------------------------------------------------------------------------------


async def _message(response: aiohttp.ClientResponse) -> dict[str, Any]:
    while True:
        line = await asyncio.wait_for(response.content.readline(), 5.0)
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found = json.loads(line[6:])
            assert isinstance(found, dict)
            return found


async def test_a_stream_tells_every_second_what_is_new(page: _Page) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{page.server.url}/api/live?order=events") as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (await _message(response))["sessions"] == []
        page.feed.take(batch([score("ann", 1, 0.02)]), 0)
        started = asyncio.get_running_loop().time()
        found = [await _message(response) for _ in range(3)]
        assert 1.0 < asyncio.get_running_loop().time() - started < 4.5
        assert found[-1]["sessions"][0]["visitor"] == "ann"
        assert found[-1]["stats"]["events"]["scored"] == 1


async def test_more_viewers_than_allowed_are_told_so_and_one_that_leaves_makes_room() -> None:
    page = _Page(web_viewers_max=2)
    await page.server.start()
    try:
        async with aiohttp.ClientSession() as session:
            url = f"{page.server.url}/api/live"
            async with session.get(url) as first, session.get(url) as second:
                await _message(first)
                await _message(second)
                status, headers, body = await page.get("/api/live")
                assert (status, headers["Retry-After"]) == (503, "5")
                assert body["error"]["expected"] == "at most 2 open live pages"
        async with asyncio.timeout(5):
            while True:
                async with aiohttp.ClientSession() as session, session.get(url) as third:
                    if third.status == 200:
                        await _message(third)
                        break
                await asyncio.sleep(0.1)
    finally:
        await page.server.stop()


async def test_a_viewer_that_takes_nothing_is_dropped_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "MESSAGE_S", 0.01)
    monkeypatch.setattr(live_feed, "_TURN_S", 0.005)
    page = _Page(web_show_visitors=True)
    page.server._pages = LiveRoutes(page.settings, page.feed, slow_s=0.3)
    # Names as long as ids may be make messages of 20 kB.
    page.feed.take(batch([score(f"{n:02}" * 128, e, 0.5) for n in range(12) for e in range(1, 25)]), 0)
    await page.server.start()
    try:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", page.server.port))
            await loop.sock_sendall(lazy, b"GET /api/live HTTP/1.1\r\nHost: here\r\n\r\n")
            async with aiohttp.ClientSession() as session, session.get(f"{page.server.url}/api/live") as diligent:
                async with asyncio.timeout(10):
                    await _message(diligent)
                    while len(page.server._pages._streams) == 2:
                        await _message(diligent)
                assert len(page.server._pages._streams) == 1
                await _message(diligent)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    while await loop.sock_recv(lazy, 65536):
                        pass
    finally:
        await page.server.stop()


async def test_stopping_ends_open_streams_at_once() -> None:
    page = _Page()
    await page.server.start()
    async with aiohttp.ClientSession() as session, session.get(f"{page.server.url}/api/live") as response:
        await _message(response)
        async with asyncio.timeout(3):
            await page.server.stop()
        async with asyncio.timeout(3):
            with contextlib.suppress(aiohttp.ClientError):
                while await response.content.readline():
                    pass


async def test_a_failure_of_the_page_is_told_and_does_not_end_it(
    page: _Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_feed, "_AGAIN_S", 0.1)
    page.feed.shop.look(page.feed._monotonic())
    broken = batch([])
    broken.scores = [(b"ann", b"no JSON")]
    page.feed.take(broken, 0)
    async with asyncio.timeout(5):
        while "event=live_page_failed" not in caplog.text:  # noqa: ASYNC110 (a log line tells nobody)
            await asyncio.sleep(0.05)
    page.feed.take(batch([score("bob", 1, 0.5)]), 0)
    _, _, found = await page.get("/api/sessions")
    assert [row["visitor"] for row in found["sessions"]] == ["bob"]

"""The live page of a worker on a real Kafka and Redis: committed offers only, and numbers that are the topics'."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.core.events import Event
from stream_app.discounts.core.records import Offer, encode
from stream_app.settings import Settings
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers
from tests.web.browser import Visit, chromium

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

EVENTS = 600


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _offer(number: int) -> Offer:
    now_ms = int(time.time() * 1000)
    return Offer(
        offer_id=f"offer-{number}", visitor_id=f"v{number}", session_id=f"s{number}", percent=5.0 + number,
        reason="quiet", score=0.15, arm="treatment", issued_at=now_ms + number, expires_at=now_ms + 600_000,
        experiment="e", policy="p",
    )  # fmt: skip


async def _tell(settings: Settings) -> None:
    """An offer that is committed, one whose transaction is given up, and one that is committed."""
    producer = KafkaClients(settings).transactional_producer(f"{settings.namespace}-page", client_id="page")
    async with producer:
        for number in range(3):
            await producer.begin_transaction()
            await producer.send_and_wait(settings.topic(topics.OFFERS), encode(_offer(number)), key=b"v")
            await (producer.abort_transaction() if number == 1 else producer.commit_transaction())


def test_the_page_of_a_worker_on_real_servers_shows_what_the_topics_have(real_servers: Servers, names: Names) -> None:
    start_ms = (int(time.time()) // 86_400 - 20) * 86_400_000
    shop = Shop(seed=5, start_ms=start_ms, sessions_per_hour=300.0)
    events = [fact for fact in islice(shop, EVENTS) if isinstance(fact, Event)]
    deployment = Deployment(real_servers, names, session_gap_ms=1_800_000)
    _run(deployment.__aenter__())
    try:
        process = deployment.start("run")
        wait_for("readiness", lambda: process.ready()[0], seconds=60)
        with chromium() as browser:
            visit = Visit(browser, f"http://127.0.0.1:{process.port}/")
            visit.after_messages(1)
            _run(deployment.send(events))
            _run(_tell(deployment.settings))
            visit.page.wait_for_function(
                "(wanted) => document.querySelector('#scored').innerText.startsWith(wanted)", arg=str(len(events)),
                timeout=30_000,
            )  # fmt: skip
            visit.page.wait_for_function("() => document.querySelectorAll('#offers li').length", timeout=60_000)
            visit.after_messages(2)
            scores = [value for _, value, _ in _run(deployment.read(topics.SCORES))]
            closed = {value["session_id"] for _, value, _ in _run(deployment.read(topics.CLOSED))}
            followed = {score["session_id"] for score in scores} - closed
            assert len(scores) == len(events)
            assert visit.text("#followed").startswith(f"{len(followed)} sessions")
            assert [text.split("%")[0] for text in visit.page.locator("#offers strong").all_inner_texts()] == ["7", "5"]
            row = json.loads(process.get("/api/sessions?order=events&limit=1")[1])["sessions"][0]
            told = json.loads(process.get(f"/api/sessions/{row['visitor']}")[1])
            # From Redis, and with the whole session on the page.
            assert (told["problem"], len(told["session"]["events"])) == (None, row["events"])
            assert visit.text("#status-text") == "live"
            assert visit.errors == []
            visit.close()
    finally:
        _run(deployment.__aexit__(None, None, None))

"""Bots among a shop's visitors, by real processes: scored like anybody, and nothing is learned or told of them."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec
import pytest

from stream_app import topics
from stream_app.core.events import Event
from stream_app.core.native import native
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import wait_for
from tests.scenarios.test_nothing_lost import SHOP
from tests.support.fixtures import Names, Servers

EVENTS = 3_000


def is_bot(visitor_id: str) -> bool:
    return crc32(visitor_id.encode()) % 3 == 0


def with_bots(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, bot=True) if is_bot(event.visitor_id) else event for event in events]


@pytest.mark.parametrize("engine", ["python", *(["compiled"] if native is not None else [])])
async def test_bots_are_scored_and_neither_learned_from_nor_told_of(
    embedded_servers: Servers, names: Names, engine: str
) -> None:
    # The shop's quarter of an hour passes in seconds: sessions are over soon enough to teach, by event time.
    flags: dict[str, Any] = {"session_gap_ms": 120_000, "trend_turn": 0.2, "engine": engine}
    sent = with_bots(SHOP[:EVENTS])
    bots = {event.event_id for event in sent if event.bot}
    assert 500 < len(bots) < 1_500
    assert any(event.event_type == "purchase" for event in sent if event.bot)
    async with Deployment(embedded_servers, names, **flags) as deployment:
        process = deployment.start("run")
        await deployment.send(sent)
        await deployment.until_all_scored(EVENTS)
        await deployment.until_caught_up()
        scores = {record["event_id"]: record for _, record, _ in await deployment.read(topics.SCORES)}
        examples = [record for _, record, _ in await deployment.read(topics.EXAMPLES)]
        moments = [record for _, record, _ in await deployment.read(topics.MOMENTS)]
        closed = [record for _, record, _ in await deployment.read(topics.CLOSED)]
        assert process.metric("intent_bot_events_total") == len(bots)
        assert process.metric("intent_bot_sessions_total") == sum(record["bot"] for record in closed)
        wait_for("something learned", lambda: process.metric("intent_examples_learned_total"), seconds=60)
        assert process.metric("intent_examples_learned_total") <= len(examples)
        assert process.terminate() == 0
    assert {event_id for event_id, score in scores.items() if score.get("bot")} == bots
    assert all(record["bot"] == is_bot(record["visitor_id"]) for record in closed)
    assert {record["bot"] for record in closed} == {True, False}
    for told in (examples, moments):
        assert told
        assert not any(is_bot(record["visitor_id"]) for record in told)

"""Moments on a real Kafka: all kinds come, by a model that learns meanwhile, and say what their scores say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stream_app import topics
from stream_app.core.moments import KINDS
from tests.scenarios.deployment import Deployment
from tests.scenarios.test_nothing_lost import SHOP
from tests.support.fixtures import Names, Servers

#: So many of the shop's 12,000 events at once.
PART = 3_000


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("guarantee", [pytest.param("at_least_once", marks=pytest.mark.long), "exactly_once"])
async def test_every_kind_of_moment_comes_once_and_is_of_a_score_that_was_served(
    real_servers: Servers, names: Names, guarantee: str
) -> None:
    # The shop's hour passes in seconds: sessions are quiet, and over soon enough to teach, by event time.
    flags: dict[str, Any] = {"processing_guarantee": guarantee, "trend_turn": 0.2, "session_gap_ms": 240_000}
    async with Deployment(real_servers, names, **flags) as deployment:
        deployment.start("trainer")
        deployment.start("worker")
        for sent in range(PART, len(SHOP) + 1, PART):
            # A cold model says the same of everyone: the next part is scored by one that has learned this one.
            await deployment.send(SHOP[sent - PART : sent])
            await deployment.until_all_scored(sent)
            await deployment.until_caught_up()
        scores = {record["event_id"]: record for _, record, _ in await deployment.read(topics.SCORES)}
        features = {record["event_id"]: record["features"] for _, record, _ in await deployment.read(topics.FEATURES)}
        moments = [record for _, record, _ in await deployment.read(topics.MOMENTS)]
    kinds = Counter(moment["kind"] for moment in moments)
    assert set(kinds) == set(KINDS), kinds
    ids = [(moment["visitor_id"], moment["session_id"], moment["moment_id"]) for moment in moments]
    assert len(set(ids)) == len(ids)
    told = ("visitor_id", "session_id", "event_time", "events", "score", "band", "model_version", "cold")
    for moment in moments:
        score = scores[moment["event_id"]]
        assert {name: moment[name] for name in told} == {name: score[name] for name in told}
        assert moment["features"] == features[moment["event_id"]]
    bought = {score["event_id"] for score in scores.values() if score["event_type"] == "purchase"}
    assert {moment["event_id"] for moment in moments if moment["kind"] == "bought"} == bought
    quiet = [moment for moment in moments if moment["kind"] == "quiet"]
    assert all(moment["features"]["has_cart"] == 1.0 for moment in quiet)

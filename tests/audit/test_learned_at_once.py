"""A checkout that the order system tells is learned while its session is open, in both guarantees; the audit agrees.

Sessions last 30 minutes here and nothing ends them: what is learned, a label has taught at once. In the midst the
worker is killed, and the next one goes on with events and labels of the same sessions.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import pytest

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.audit import audit
from stream_app.core.batch import BY_LABEL
from stream_app.core.events import CheckoutLabel, Event
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

EVENTS = 600

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


def _events() -> list[Event]:
    """Two minutes of a shop, without what it sells by itself."""
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    facts = (fact for fact in Shop(seed=11, start_ms=start_ms, sessions_per_hour=3_000.0) if isinstance(fact, Event))
    return list(islice((event for event in facts if event.event_type != "purchase"), EVENTS))


def _orders(events: list[Event], told: str) -> list[CheckoutLabel]:
    """Every third session's order, at the time of its newest event."""
    newest = {event.session_id: event for event in events}
    return [
        CheckoutLabel(event.visitor_id, f"{told}-{session_id}", event.event_time, session_id=session_id)
        for n, (session_id, event) in enumerate(newest.items())
        if n % 3 == 0
    ]


async def _tell(deployment: Deployment, labels: list[CheckoutLabel]) -> None:
    settings = deployment.settings
    async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
        for label in labels:
            await sink.send_label(label)
        await sink.flush()


async def _learned(deployment: Deployment) -> list[dict[str, Any]]:
    return [example for _, example, _ in await deployment.read(topics.EXAMPLES)]


@pytest.mark.parametrize("guarantee", [pytest.param("at_least_once", marks=pytest.mark.long), "exactly_once"])
async def test_a_told_checkout_is_learned_while_its_session_is_open_and_the_audit_agrees(
    real_servers: Servers, names: Names, guarantee: str
) -> None:
    events = _events()
    half = EVENTS // 2
    async with Deployment(real_servers, names, processing_guarantee=guarantee) as deployment:
        trainer, worker = deployment.start("trainer"), deployment.start("worker")
        await deployment.send(events[:half])
        await deployment.until(topics.SCORES, half)
        await deployment.until_caught_up()
        first = _orders(events[:half], "first")
        await _tell(deployment, first)
        await deployment.until(topics.EXAMPLES, len(first))
        worker.kill()
        worker = deployment.start("worker")
        await deployment.send(events[half:])
        await deployment.until_caught_up()
        second = _orders(events, "second")
        before = await deployment.count(topics.EXAMPLES)
        await _tell(deployment, second)
        await deployment.until(topics.EXAMPLES, before + len(second) // 3)
        for process in (worker, trainer):
            assert process.terminate() == 0
        examples = await _learned(deployment)
        assert await deployment.count(topics.CLOSED) == 0
        assert {(example["position"][0], example["label"], example["label_source"]) for example in examples} == {
            (BY_LABEL, 1, "label")
        }
        assert {label.session_id for label in first} <= {example["session_id"] for example in examples}
        report = await audit(deployment.settings)
        assert report.clean, "\n".join(map(str, report.violations))
        assert sum(check.found for check in report.checks if check.name == "examples") > len(first)

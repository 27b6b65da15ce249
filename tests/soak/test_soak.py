"""A soak in short: every kind of fault once, then nothing lost, nothing doubled, nothing ended."""

from __future__ import annotations

import json

import pytest

from tests.soak.soak import Orders, soak
from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError

pytestmark = [
    # A hundred seconds for faults that CI makes one by one.
    pytest.mark.long,
    pytest.mark.real_kafka,
    pytest.mark.real_redis,
    pytest.mark.timeout(420),
    # aiokafka leaves a connection to the collector if it is cancelled while it makes one: the gauges look at a broker
    # that goes away under them.
    pytest.mark.filterwarnings("ignore:.*AIOKafkaConnection:pytest.PytestUnraisableExceptionWarning"),
]

#: Of the round of eight that every kind comes in.
FAULTS_AT_LEAST = 6


@pytest.mark.parametrize(("guarantee", "seed"), [("exactly_once", 11), ("at_least_once", 12)])
async def test_a_short_soak_ends_with_a_clean_audit(guarantee: str, seed: int) -> None:
    orders = Orders(minutes=0.5, guarantee=guarantee, seed=seed, rate=200.0, pause_s=(1.5, 3.5))
    try:
        outcome = await soak(orders)
    except UnavailableError as reason:
        skip_or_fail(reason)
    print(json.dumps(outcome.summary))
    assert outcome.problems == []
    assert sum(outcome.summary["faults"].values()) >= FAULTS_AT_LEAST
    assert outcome.summary["events"] > 0.9 * outcome.summary["sent"] > 0
    assert outcome.summary["audited"]["closed sessions"] > 0
    assert guarantee == "at_least_once" or outcome.summary["repeated"] == {}

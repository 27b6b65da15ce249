"""Killed without warning, and a Kafka that goes away: nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from stream_app.collect.delivery import ACKNOWLEDGE_S_MAX
from tests.collect.collector import Collector, deployed, event
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, UnavailableError

#: Events that each sender gets rid of, whatever happens.
EACH, SENDERS = 100, 4


class Sender(threading.Thread):
    """Sends events one by one, each again with the same id until it is accepted, as senders are told to."""

    def __init__(self, collector: Collector, name: str) -> None:
        super().__init__(daemon=True)  # a test that fails must not be held up by it
        self.collector = collector
        self.ids = [f"{name}-{n}" for n in range(EACH)]
        self.accepted: list[str] = []
        self.refused: Counter[int] = Counter()

    def run(self) -> None:
        for event_id in self.ids:
            while not self._accepted(event_id):
                time.sleep(0.1)
            self.accepted.append(event_id)

    def _accepted(self, event_id: str) -> bool:
        try:
            reply = self.collector.post(event(event_id))
        except (OSError, http.client.HTTPException):
            self.refused[0] += 1
            return False
        self.refused[reply.status] += reply.status != 200
        return reply.status == 200


def test_a_killed_collector_has_lost_nothing_that_it_acknowledged(embedded_servers: Servers, names: Names) -> None:
    with deployed(embedded_servers, names) as deployment:
        collector = Collector(deployment, collect_address_rate=0, collect_key_rate=0).until_ready()
        senders = [Sender(collector, f"k{n}") for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        wait_for("some", lambda: sum(len(sender.accepted) for sender in senders) > 100, seconds=30)
        collector.process.kill()
        told = {event_id for sender in senders for event_id in list(sender.accepted)}
        found = Counter(value["event_id"] for _, value in collector.events())
        assert 100 < len(told) < EACH * SENDERS
        assert told <= set(found)
        collector.again()
        for sender in senders:
            sender.join()
        found = Counter(value["event_id"] for _, value in collector.events())
        assert set(found) == {event_id for sender in senders for event_id in sender.ids}
        # Repeated is what was in Kafka when its answer was lost: one event of each sender at most.
        assert found.total() - len(found) <= SENDERS


@pytest.fixture
def own_kafka() -> Iterator[RealKafka]:
    """A broker that may be killed."""
    try:
        kafka = RealKafka().start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    with kafka:
        yield kafka


@pytest.mark.real_kafka
def test_while_kafka_is_away_senders_are_told_to_come_again_and_then_all_is_there(
    own_kafka: RealKafka, names: Names
) -> None:
    with deployed(Servers(own_kafka.bootstrap, "redis://127.0.0.1:1/0", "real"), names) as deployment:
        collector = Collector(deployment, collect_address_rate=0, collect_key_rate=0).until_ready()
        senders = [Sender(collector, f"b{n}") for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        wait_for("some", lambda: sum(len(sender.accepted) for sender in senders) > 100, seconds=30)
        os.kill(own_kafka.pid, signal.SIGSTOP)  # it still takes connections, and says nothing
        began = time.monotonic()
        reply = collector.post(event("while it stands still"))
        assert reply.status == 503
        assert time.monotonic() - began < ACKNOWLEDGE_S_MAX + 2.0
        own_kafka.kill()
        wait_for("not ready", lambda: not collector.process.ready()[0], seconds=60)
        # It is known now: the answer comes at once, and says nothing of where Kafka is.
        began = time.monotonic()
        reply = collector.post(event("while it is dead"))
        assert time.monotonic() - began < 1.0
        assert (reply.status, reply.json["error"]["got"]) == (503, "no acknowledgement from Kafka")
        assert int(reply.headers["Retry-After"]) >= 1
        assert own_kafka.bootstrap not in reply.body.decode()
        own_kafka.restart()
        for sender in senders:
            sender.join()
        wait_for("readiness", lambda: collector.process.ready()[0], seconds=60)
        found = {value["event_id"] for _, value in collector.events() if not value["event_id"].startswith("while")}
        assert found == {event_id for sender in senders for event_id in sender.ids}
        assert collector.process.metric("intent_collect_requests_total", outcome="unavailable") > 0
        assert collector.process.metric("intent_kafka_errors_total", op="collect") > 0
        assert "kafka_error op=collect" in collector.process.said()
        assert "back server=kafka" in collector.process.said()

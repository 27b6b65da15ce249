"""`produce synthetic --answer-offers` beside a subscriber that offers something: over Kafka, to the last count."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading

import msgspec
from click.testing import CliRunner, Result

from producers.cli import produce
from stream_app import topics
from stream_app.admin import create_topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.newest import assign_newest
from stream_app.core.events import CheckoutLabel
from stream_app.discounts.core.records import Offer, encode
from stream_app.settings import Settings
from tests.support.fixtures import Names, Servers

PERCENT = 15.0


class _Event(msgspec.Struct):
    event_id: str
    event_type: str
    event_time: int
    visitor_id: str
    session_id: str


class Subscriber:
    """Offers something at each add_to_cart; every tenth offer is given up by an aborted transaction, none is late."""

    def __init__(self, settings: Settings) -> None:
        self._clients, self._settings = KafkaClients(settings), settings
        self.offered = self.given_up = 0
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Subscriber:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        consumer = self._clients.reader(fetch_wait_ms=20)
        producer = self._clients.transactional_producer(f"{self._settings.namespace}-offers", client_id="offers")
        async with consumer, producer:
            await assign_newest(consumer, self._settings.topic(topics.EVENTS), 0)
            # Of another time: nobody who begins to listen now is told of it.
            await self._offer(producer, _Event("before", "add_to_cart", 0, "v2-1", "v2-1.1"))
            self.offered = 0
            self._ready.set()
            while not self._stop.is_set():
                for records in (await consumer.getmany(timeout_ms=20)).values():
                    for record in records:
                        event = msgspec.json.decode(record.value, type=_Event)
                        if event.event_type == "add_to_cart":
                            await self._offer(producer, event)

    async def _offer(self, producer: object, event: _Event) -> None:
        offer = Offer(
            offer_id=event.event_id, visitor_id=event.visitor_id, session_id=event.session_id, percent=PERCENT,
            reason="band", score=0.2, arm="treatment", issued_at=event.event_time,
            expires_at=event.event_time + 1_800_000, experiment="first", policy="p",
        )  # fmt: skip
        topic = self._settings.topic(topics.OFFERS)
        given_up = (self.offered + self.given_up) % 10 == 9
        with contextlib.suppress(_GivenUpError):
            async with producer.transaction():  # type: ignore[attr-defined]
                await producer.send_and_wait(topic, encode(offer), key=event.visitor_id.encode())  # type: ignore[attr-defined]
                if given_up:
                    raise _GivenUpError
        self.given_up += given_up
        self.offered += not given_up


class _GivenUpError(Exception):
    pass


def produced(settings: Settings, *arguments: object) -> Result:
    return CliRunner().invoke(
        produce,
        [
            "synthetic", *(str(argument) for argument in arguments),
            "--kafka-bootstrap", settings.kafka_bootstrap, "--topic-prefix", settings.topic_prefix,
        ],
        env={"STREAM_APP_CHECK_CRCS": "no"},
    )  # fmt: skip


def labels(settings: Settings) -> list[CheckoutLabel]:
    """All that were told."""

    async def read() -> list[CheckoutLabel]:
        found: list[CheckoutLabel] = []
        async with KafkaClients(settings).reader() as consumer:
            ends = await assign_newest(consumer, settings.topic(topics.LABELS), 10**6)
            while sum(await asyncio.gather(*(consumer.position(place) for place in ends))) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += (msgspec.json.decode(record.value, type=CheckoutLabel) for record in records)
        return found

    return asyncio.run(read())


def counts(text: str) -> tuple[int, int, int]:
    """Made, found nobody, taken."""
    found = re.search(r"offers: ([\d,]+) made, ([\d,]+) found nobody, ([\d,]+) taken", text)
    assert found is not None, text
    made, missed, taken = (int(number.replace(",", "")) for number in found.groups())
    return made, missed, taken


def test_offers_over_kafka_reach_the_shop_and_what_was_taken_comes_back_as_labels(
    servers: Servers, names: Names
) -> None:
    settings = Settings(
        kafka_bootstrap=servers.bootstrap, topic_prefix=names.topic_prefix, check_crcs=servers.kind == "real"
    )
    asyncio.run(create_topics(settings))
    with Subscriber(settings) as subscriber:
        result = produced(
            settings, "--answer-offers", "--seed", 2, "--rate", 1500, "--sessions-per-hour", 40_000, "--events", 9000
        )
    assert result.exit_code == 0, result.output
    assert sum(counts(result.stderr)) < 100  # the first line of progress, after a quarter of a second
    made, missed, taken = counts(result.stdout)
    assert 0 < taken <= made
    # What was offered while the last events were sent came after the end. The embedded Kafka hides nothing given up.
    seen = subscriber.offered + (subscriber.given_up if servers.kind == "embedded" else 0)
    assert 0.5 * seen < made + missed <= seen
    assert subscriber.given_up > 0
    redeemed = [label for label in labels(settings) if label.discount_percent is not None]
    assert len(redeemed) == taken
    assert {label.discount_percent for label in redeemed} == {PERCENT}


def test_offers_that_mostly_find_nobody_are_explained_and_counted_for_programs(
    embedded_servers: Servers, names: Names
) -> None:
    settings = Settings(kafka_bootstrap=embedded_servers.bootstrap, topic_prefix=names.topic_prefix, check_crcs=False)
    asyncio.run(create_topics(settings))
    with Subscriber(settings):
        # An hour of the shop's time in a second: nobody is there any more.
        result = produced(
            settings, "--answer-offers", "--rate", 1500, "--sessions-per-hour", 300, "--events", 4000, "--json"
        )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert list(told["offers"]) == ["made", "found_nobody", "taken"]
    assert told["offers"]["found_nobody"] > told["offers"]["made"]
    # A busy machine also sends late, and says so.
    (note,) = [note for note in told["notes"] if "after they were due" not in note]
    assert re.match(r"most offers found nobody: the shop's time ran \d+,\d\d\d times as fast", note)

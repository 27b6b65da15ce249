"""One contract, two sinks: what was sent arrives unchanged, in order per visitor, or somebody is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from producers.memory_sink import MemorySink, SentRecord
from producers.sink import GATE_RECORDS, KafkaSink, SinkError, partition_of
from stream_app import topics
from stream_app.admin import create_topics
from stream_app.backends.child_process import free_port
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.events import CheckoutLabel, Event
from stream_app.settings import Settings
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka


class Bench(NamedTuple):
    """A sink under test and the broker behind it; no bootstrap means memory."""

    sink: KafkaSink | MemorySink
    bootstrap: str | None
    prefix: str

    async def read(self, name: str) -> list[SentRecord]:
        """Everything on a topic, partition by partition."""
        topic = f"{self.prefix}{name}"
        if isinstance(self.sink, MemorySink):
            return sorted((r for r in self.sink.records if r.topic == topic), key=lambda r: r.partition)
        return await read_topic(str(self.bootstrap), topic)


async def read_topic(bootstrap: str, topic: str) -> list[SentRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        found = await consumer._client._wait_on_metadata(topic)
        partitions = [TopicPartition(topic, n) for n in sorted(found)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        records = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += [SentRecord(topic, r.partition, r.key, r.value, list(r.headers), r.timestamp) for r in batch]
        return sorted(records, key=lambda record: record.partition)
    finally:
        await consumer.stop()


@pytest.fixture(params=["memory", "embedded", pytest.param("real", marks=pytest.mark.real_kafka)])
async def bench(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield Bench(MemorySink(topic_prefix=names.topic_prefix), None, names.topic_prefix)
        return
    if request.param == "real":
        bootstrap = request.getfixturevalue("real_kafka").bootstrap
        await create_topics(Settings(kafka_bootstrap=bootstrap, topic_prefix=names.topic_prefix))
    else:
        pytest.importorskip("confluent_kafka", reason="the embedded Kafka comes with stream-app[demo]")
        bootstrap = request.getfixturevalue("embedded_servers").bootstrap
    async with KafkaSink(bootstrap, topic_prefix=names.topic_prefix) as sink:
        yield Bench(sink, bootstrap, names.topic_prefix)


def event_of(number: int, visitor: str) -> Event:
    return Event(
        event_id=f"e{number}", event_type="view_item", event_time=1_600_000_000_000 + number, visitor_id=visitor
    )


async def test_events_arrive_whole_in_order_and_in_their_visitors_partition(bench: Bench) -> None:
    sent = [event_of(n, f"visitor-{n % 37}") for n in range(5_000)]
    before_ms = time.time_ns() // 1_000_000
    for event in sent:
        await bench.sink.send_event(event)
    await bench.sink.flush()
    assert bench.sink.delivered == bench.sink.accepted == 5_000
    records = await bench.read(topics.EVENTS)
    arrived: dict[str, list[Event]] = {}
    for record in records:
        event = codec.decode_event(record.value, record_time_ms=record.timestamp_ms)
        assert isinstance(event, Event)
        assert record.key == event.visitor_id.encode()
        assert record.partition == partition_of(record.key, 4)
        assert record.timestamp_ms >= before_ms
        arrived.setdefault(event.visitor_id, []).append(event)
    assert arrived == {visitor: [e for e in sent if e.visitor_id == visitor] for visitor in arrived}
    assert len(records) == 5_000


async def test_a_label_shares_the_partition_of_its_visitors_events(bench: Bench) -> None:
    label = CheckoutLabel(visitor_id="v-ü", order_id="o1", checkout_time=1_600_000_000_000)
    await bench.sink.send_label(label)
    await bench.sink.send_event(event_of(1, "v-ü"))
    await bench.sink.flush()
    (record,) = await bench.read(topics.LABELS)
    (event,) = await bench.read(topics.EVENTS)
    assert codec.decode_label(record.value, record_time_ms=record.timestamp_ms) == label
    assert (record.key, record.partition) == (event.key, event.partition)


async def test_broken_bytes_go_to_the_events_topic_as_they_are(bench: Bench) -> None:
    await bench.sink.send_raw(b'{"event_id":', key="v1")
    await bench.sink.flush()
    (record,) = await bench.read(topics.EVENTS)
    assert (record.key, record.value) == (b"v1", b'{"event_id":')


async def test_a_dead_letter_keeps_its_bytes_and_says_why_and_where_from(bench: Bench) -> None:
    rejected = Rejected("bad_row", "got 3 fields, expected 5 – naïve")
    await bench.sink.send_dead_letter(b"a,b,\xff", rejected, source="f.csv", row=17)
    await bench.sink.flush()
    (record,) = await bench.read(topics.DEAD_LETTERS)
    assert (record.key, record.value) == (None, b"a,b,\xff")
    assert [(name, (value or b"").decode()) for name, value in record.headers] == [
        ("reason", "bad_row"),
        ("detail", "got 3 fields, expected 5 – naïve"),
        ("source", "f.csv"),
        ("row", "17"),
    ]


async def test_a_record_larger_than_a_batch_arrives(bench: Bench) -> None:
    await bench.sink.send_raw(b"x" * 300_000, key="v1")
    await bench.sink.flush()
    (record,) = await bench.read(topics.EVENTS)
    assert len(record.value) == 300_000


async def test_without_a_flush_records_arrive_after_the_linger(bench: Bench) -> None:
    await bench.sink.send_event(event_of(1, "v1"))
    async with asyncio.timeout(20):
        while bench.sink.delivered < 1:  # noqa: ASYNC110 - the sink tells nobody when a record has arrived
            await asyncio.sleep(0.005)
    assert len(await bench.read(topics.EVENTS)) == 1


async def test_flushing_nothing_returns(bench: Bench) -> None:
    await bench.sink.flush()
    assert bench.sink.delivered == 0


async def test_a_closed_gate_holds_the_sender_and_an_open_one_lets_it_go() -> None:
    gate = asyncio.Event()
    asked = 0

    async def wait_for_room() -> None:
        nonlocal asked
        asked += 1
        await gate.wait()

    sink = MemorySink(gate=wait_for_room)

    async def send() -> None:
        for number in range(2 * GATE_RECORDS):
            await sink.send_event(event_of(number, "v1"))

    sending = asyncio.create_task(send())
    for _ in range(10):
        await asyncio.sleep(0)
    assert sink.accepted == 0
    gate.set()
    await sending
    assert (sink.accepted, asked) == (2 * GATE_RECORDS, 2)


async def test_the_gate_of_the_kafka_sink_is_asked_as_often(embedded_servers: Servers, names: Names) -> None:
    asked = 0

    async def open_gate() -> None:
        nonlocal asked
        asked += 1

    bootstrap = embedded_servers.bootstrap
    async with KafkaSink(bootstrap, topic_prefix=names.topic_prefix, gate=open_gate) as sink:
        for number in range(2 * GATE_RECORDS):
            await sink.send_event(event_of(number, "v1"))
        await sink.flush()
    assert asked == 2


async def test_a_failed_delivery_is_raised_by_the_next_call_and_by_every_one_after(
    embedded_servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap = embedded_servers.bootstrap
    async with KafkaSink(bootstrap, topic_prefix=names.topic_prefix) as sink:
        await sink.send_event(event_of(1, "v1"))
        await sink.flush()

        async def refuse(*_: object, **__: object) -> asyncio.Future[object]:
            future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            future.set_exception(KafkaError("refused"))
            return future

        monkeypatch.setattr(sink._producer, "send_batch", refuse)
        await sink.send_event(event_of(2, "v1"))
        with pytest.raises(SinkError, match=r"1 records for .* were not acknowledged .*refused.*; 1 records before"):
            await sink.flush()
        with pytest.raises(SinkError):
            await sink.send_event(event_of(3, "v1"))
        assert (sink.accepted, sink.delivered) == (2, 1)


@pytest.mark.real_kafka
async def test_a_missing_topic_is_named_with_what_to_do(
    real_kafka: RealKafka, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.sink.START_SECONDS_MAX", 3.0)
    with pytest.raises(SinkError, match=r"has no topic .*clickstream\.events\.v1; .*stream-app topics create"):
        async with KafkaSink(real_kafka.bootstrap, topic_prefix=names.topic_prefix):
            pass


async def test_no_kafka_is_one_clear_line() -> None:
    with pytest.raises(SinkError) as error:
        async with KafkaSink(f"127.0.0.1:{free_port()}"):
            pass
    assert "does not answer" in str(error.value)
    assert "--kafka-bootstrap" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "partition"),
    # Java's own test vectors (Kafka UtilsTest.testMurmur2), taken modulo 5 after the sign bit is cleared.
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_partitions_are_those_of_java_clients(key: bytes, partition: int) -> None:
    assert partition_of(key, 5) == (partition & 0x7FFFFFFF) % 5

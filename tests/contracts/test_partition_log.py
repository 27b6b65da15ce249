"""One partition's side of the log behaves the same in memory, on the embedded Kafka and on a real one."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream_app import topics
from stream_app.admin import create_topics, topic_facts
from stream_app.backends.child_process import free_port
from stream_app.backends.kafka import KafkaPartitionLog, SharedProducer
from stream_app.backends.memory import MemoryBroker, MemoryLog
from stream_app.backends.ports import Committed, LogError, PartitionLog, Polled, UnusableError
from stream_app.core.effects import DeadLetter, Effects, Position
from stream_app.core.processor import Record
from stream_app.core.watermark import Watermark
from stream_app.settings import Settings, load
from tests.support.fixtures import Names, Servers

#: Not 0: a partition number that is forgotten somewhere shows.
P = 2
STAMP = 1_700_000_000_000


class Memory:
    """A partition in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    async def open(self) -> PartitionLog:
        """A new owner's log."""
        return MemoryLog(self.broker)

    async def append(self, *values: str, labels: bool = False) -> None:
        append = self.broker.append_label if labels else self.broker.append_event
        for value in values:
            append(value.encode(), timestamp=STAMP, key=b"v")

    async def outputs(self) -> dict[str, list[tuple[bytes, bytes]]]:
        return {name: records for name, records in self.broker.outputs.items() if records}


class Kafka:
    """Partition 2 of real topics. Each owner's log has a consumer of its own, as in another process."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self.settings, self._stack = settings, stack
        self.topic_ids: list[str] = []

    async def start(self) -> None:
        await create_topics(self.settings)
        facts = await topic_facts(self.settings)
        self.topic_ids = [facts[self.settings.topic(name)].topic_id or "" for name in (topics.EVENTS, topics.LABELS)]
        self.producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap)
        await self._stack.enter_async_context(self.producer)
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap)
        await self.admin.start()
        self._stack.push_async_callback(self.admin.close)
        async with asyncio.timeout(10):  # a broker makes its groups' topic when it is first asked
            while True:
                try:
                    await self.admin.find_coordinator(self.settings.group_id)
                    return
                except GroupCoordinatorNotAvailableError:
                    await asyncio.sleep(0.1)

    def place(self, topic: str) -> TopicPartition:
        return TopicPartition(self.settings.topic(topic), P)

    async def open(self, *, partitions: int = 4, topic_ids: list[str] | None = None) -> KafkaPartitionLog:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap,
            group_id=self.settings.group_id,
            enable_auto_commit=False,
            check_crcs=self.settings.check_crcs,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
        )
        await self._stack.enter_async_context(consumer)
        consumer.assign([self.place(topics.EVENTS), self.place(topics.LABELS)])
        consumer.pause(*consumer.assignment())
        producer = SharedProducer(self.settings)
        self._stack.push_async_callback(producer.close)
        return KafkaPartitionLog(
            self.settings,
            P,
            consumer=consumer,
            producer=producer,
            admin=self.admin,
            partitions=partitions,
            topic_ids=self.topic_ids if topic_ids is None else topic_ids,
        )

    async def append(self, *values: str, labels: bool = False) -> None:
        topic = self.settings.topic(topics.LABELS if labels else topics.EVENTS)
        for value in values:
            await self.producer.send(topic, value.encode(), key=b"v", partition=P, timestamp_ms=STAMP)
        await self.producer.flush()

    async def outputs(self) -> dict[str, list[tuple[bytes, bytes]]]:
        found = {}
        names = {"scores": topics.SCORES, "features": topics.FEATURES}
        for name, topic in {**names, "examples": topics.EXAMPLES, "closed": topics.CLOSED}.items():
            if records := await self.read(self.place(topic)):
                found[name] = [(record.key, record.value) for record in records]
        return found

    async def read(self, place: TopicPartition) -> list[Any]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        found: list[Any] = []
        async with consumer:
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        return found

    async def forget(self, *, events_before: int) -> None:
        await self.admin.delete_records({self.place(topics.EVENTS): RecordsToDelete(events_before)})


Bench = Memory | Kafka


def _settings(servers: Servers, names: Names) -> Settings:
    return load(
        flags={
            "kafka_bootstrap": servers.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            # The embedded Kafka's commit markers carry no checksum.
            "check_crcs": servers.kind == "real",
        }
    )


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_kafka)])
async def kafka(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Kafka]:
    async with AsyncExitStack() as stack:
        servers = (
            Servers(request.getfixturevalue("real_kafka").bootstrap, "", "real")
            if request.param == "real"
            else request.getfixturevalue("embedded_servers")
        )
        bench = Kafka(_settings(servers, names), stack)
        await bench.start()
        yield bench


@pytest.fixture(params=["memory", "embedded", pytest.param("real", marks=pytest.mark.real_kafka)])
async def bench(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield Memory()
        return
    async with AsyncExitStack() as stack:
        servers = (
            Servers(request.getfixturevalue("real_kafka").bootstrap, "", "real")
            if request.param == "real"
            else request.getfixturevalue("embedded_servers")
        )
        found = Kafka(_settings(servers, names), stack)
        await found.start()
        yield found


def at(seq: int, *, events: int = 0, labels: int = 0) -> Position:
    return Position(
        seq=seq,
        events_offset=events,
        labels_offset=labels,
        watermark=Watermark(STAMP, False, STAMP + 5, {4_000_000_000: STAMP - 90_000, 7: 0}),
        changelog_end=17,
        wall_time=STAMP,
    )


async def poll(log: PartitionLog, *, records: int, records_max: int = 100) -> tuple[list[Record], list[Record]]:
    """Polls until so many records have come, as a Kafka consumer may give them in pieces."""
    events: list[Record] = []
    labels: list[Record] = []
    async with asyncio.timeout(10):
        while len(events) + len(labels) < records:
            polled = await log.poll(timeout_ms=200, records_max=records_max)
            assert len(polled.events) + len(polled.labels) <= records_max
            events += polled.events
            labels += polled.labels
    return events, labels


async def poll_end(log: PartitionLog) -> Polled:
    async with asyncio.timeout(10):
        while not (polled := await log.poll(timeout_ms=100, records_max=10)).at_end:
            assert not polled.events
            assert not polled.labels
    return polled


async def changelog(log: PartitionLog, start: int, end: int) -> list[tuple[str, bytes | None]]:
    return [entry async for chunk in log.changelog(start=start, end=end) for entry in chunk]


# ---- taking over ----------------------------------------------------------------------------------------------------


async def test_with_nothing_committed_the_log_is_read_from_its_start(bench: Bench) -> None:
    assert await (await bench.open()).take_over() == Committed(0, 0, None)
    await bench.append("one", "two")
    log = await bench.open()
    committed = await log.take_over()
    assert committed == Committed(0, 0, None)
    await log.seek(events_offset=committed.events_offset, labels_offset=committed.labels_offset)
    events, _ = await poll(log, records=2)
    assert [record.value for record in events] == [b"one", b"two"]


async def test_what_one_owner_commits_the_next_one_finds_with_its_position(bench: Bench) -> None:
    await bench.append("one", "two", "three")
    await bench.append("label", labels=True)
    first = await bench.open()
    await first.take_over()
    await first.seek(events_offset=0, labels_offset=0)
    await first.commit(at(1, events=1))
    await first.commit(at(2, events=2, labels=1))
    second = await bench.open()
    events_offset, labels_offset, position = await second.take_over()
    assert (events_offset, labels_offset) == (2, 1)
    assert position is not None
    position.partitions, position.topic_ids = 0, []
    assert position == at(2, events=2, labels=1)
    await second.seek(events_offset=events_offset, labels_offset=labels_offset)
    events, labels = await poll(second, records=1)
    assert [(record.offset, record.value) for record in events] == [(2, b"three")]
    assert labels == []


async def test_a_committed_offset_beyond_the_log_needs_a_person(bench: Bench) -> None:
    await bench.append("one")
    log = await bench.open()
    await log.take_over()
    await log.commit(at(1, events=99))
    with pytest.raises(UnusableError, match="got committed offset 99, expected 0 to 1"):
        await (await bench.open()).take_over()


@pytest.mark.real_kafka
@pytest.mark.parametrize("kafka", ["real"], indirect=True)
async def test_records_that_were_deleted_before_they_were_read_need_a_person(kafka: Kafka) -> None:
    await kafka.append(*"abcdef")
    log = await kafka.open()
    await log.take_over()
    await log.commit(at(1, events=2))
    await kafka.forget(events_before=2)
    assert (await (await kafka.open()).take_over()).events_offset == 2
    await kafka.forget(events_before=4)
    with pytest.raises(UnusableError, match=r"-2: got committed offset 2, expected 4 to 6: records were deleted"):
        await (await kafka.open()).take_over()


@pytest.mark.real_kafka
@pytest.mark.parametrize("kafka", ["real"], indirect=True)
async def test_with_nothing_committed_deleted_records_are_nobodys_loss(kafka: Kafka) -> None:
    await kafka.append(*"abcdef")
    await kafka.forget(events_before=4)
    assert await (await kafka.open()).take_over() == Committed(4, 0, None)


async def test_a_commit_made_with_another_partition_count_is_refused(kafka: Kafka) -> None:
    await (await kafka.open()).commit(at(1))
    with pytest.raises(UnusableError, match="got 5 partitions, expected the 4 that the states were made with"):
        await (await kafka.open(partitions=5)).take_over()


async def test_a_commit_made_for_topics_that_were_made_again_is_refused(kafka: Kafka) -> None:
    await (await kafka.open()).commit(at(1))
    with pytest.raises(UnusableError, match="a topic was deleted and made again") as refused:
        await (await kafka.open(topic_ids=[kafka.topic_ids[0], "another"])).take_over()
    # The examples' topic and the model go on under the prefix: they know positions of the former topic.
    assert "new group id and topic prefix" in str(refused.value)


async def test_metadata_that_is_not_ours_is_no_position(kafka: Kafka) -> None:
    # Offsets reset by hand carry none.
    await kafka.append("one", "two")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.settings.kafka_bootstrap, group_id=kafka.settings.group_id, enable_auto_commit=False
    )
    async with consumer:
        consumer.assign([kafka.place(topics.EVENTS)])
        await consumer.commit({kafka.place(topics.EVENTS): 1})
    assert await (await kafka.open()).take_over() == Committed(1, 0, None)


# ---- reading --------------------------------------------------------------------------------------------------------


async def test_records_come_in_offset_order_with_all_that_the_core_reads(bench: Bench) -> None:
    await bench.append(*(f"event {n}" for n in range(25)))
    await bench.append("label 0", "label 1", labels=True)
    log = await bench.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    events, labels = await poll(log, records=27, records_max=10)
    assert [(r.offset, r.value) for r in events] == [(n, f"event {n}".encode()) for n in range(25)]
    assert [(r.offset, r.value) for r in labels] == [(0, b"label 0"), (1, b"label 1")]
    assert {(r.key, r.timestamp) for r in (*events, *labels)} == {(b"v", STAMP)}
    assert all(r.topic.endswith(("events", topics.EVENTS)) for r in events)


async def test_the_end_of_the_log_is_told_and_left_again(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    assert await poll_end(log) == Polled((), (), True) or not (await poll_end(log)).events
    assert log.lag() == 0
    await bench.append("one", "two")
    events, _ = await poll(log, records=2)
    assert len(events) == 2
    await poll_end(log)


async def test_seeking_back_reads_again(bench: Bench) -> None:
    await bench.append("one", "two", "three")
    log = await bench.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    await poll(log, records=3)
    await log.seek(events_offset=1, labels_offset=0)
    events, _ = await poll(log, records=2)
    assert [record.value for record in events] == [b"two", b"three"]


# ---- writing --------------------------------------------------------------------------------------------------------


def effects(states: dict[str, bytes], **outputs: list[tuple[bytes, bytes]]) -> Effects:
    return Effects(at(1), states=states, **outputs)  # type: ignore[arg-type]


async def test_what_is_published_is_read_by_others_in_order_and_the_changelogs_end_is_told(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    assert await log.changelog_end() == 0
    scores = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    end = await log.publish(effects({"a": b"A", "b": b"B"}, scores=scores, features=scores[:1], examples=scores[1:]))
    assert end == await log.changelog_end() == 2
    assert await log.publish(effects({"ä": b"C"}, closed=[(b"a", b"{}")], scores=[(b"c", b"4")])) == 3
    assert await bench.outputs() == {
        "scores": [*scores, (b"c", b"4")],
        "features": scores[:1],
        "examples": scores[1:],
        "closed": [(b"a", b"{}")],
    }
    assert await changelog(log, 0, 3) == [("a", b"A"), ("b", b"B"), ("ä", b"C")]


async def test_without_states_the_changelogs_end_is_not_known(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    assert await log.publish(effects({}, scores=[(b"a", b"1")])) == -1
    assert await log.publish(effects({})) == -1
    assert await log.changelog_end() == 0


async def test_more_than_one_batch_of_states_is_acknowledged_to_the_last(bench: Bench) -> None:
    # Of what does not compress: three record batches.
    log = await bench.open()
    await log.take_over()
    states = {f"v{n}": os.urandom(1_000) for n in range(2_500)}
    assert await log.publish(effects(states)) == 2_500 == await log.changelog_end()
    assert dict(await changelog(log, 0, 2_500)) == states


# ---- the changelog --------------------------------------------------------------------------------------------------


async def test_the_changelog_is_read_between_any_two_offsets(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    entries = [(f"v{n % 7}", f"{n}".encode()) for n in range(30)]
    for visitor, blob in entries:
        await log.publish(effects({visitor: blob}))
    assert await changelog(log, 0, 30) == entries
    assert await changelog(log, 12, 30) == entries[12:]
    assert await changelog(log, 3, 9) == entries[3:9]
    assert await changelog(log, 29, 30) == entries[29:]
    assert await changelog(log, 30, 30) == []
    assert await changelog(log, 0, 0) == []


@pytest.mark.real_kafka
@pytest.mark.parametrize("kafka", ["real"], indirect=True)
async def test_a_changelog_whose_start_was_deleted_is_read_from_what_is_kept(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
    for n in range(6):
        await log.publish(effects({f"v{n}": b"x"}))
    await kafka.admin.delete_records({kafka.place(topics.CHANGELOG): RecordsToDelete(4)})
    assert [visitor for visitor, _ in await changelog(log, 0, 6)] == ["v4", "v5"]
    await kafka.admin.delete_records({kafka.place(topics.CHANGELOG): RecordsToDelete(6)})
    assert await changelog(log, 0, 6) == []


# ---- only Kafka -----------------------------------------------------------------------------------------------------


async def test_a_dead_letter_keeps_its_bytes_and_says_why_and_where(kafka: Kafka) -> None:
    log = await kafka.open()
    letters = [
        DeadLetter(b"k\xff", b"\x00not JSON", "not_json", "detail ü", "some.events", 3, 41),
        DeadLetter(None, None, "empty", "", "some.labels", 0, 0),
    ]
    await log.publish(Effects(at(1), dead_letters=letters))
    found = []
    for partition in range(4 if not kafka.settings.check_crcs else 1):
        found += await kafka.read(TopicPartition(kafka.settings.topic(topics.DEAD_LETTERS), partition))
    by_reason = {dict(record.headers)["reason"]: record for record in found}
    assert len(found) == 2
    assert (by_reason[b"not_json"].key, by_reason[b"not_json"].value) == (b"k\xff", b"\x00not JSON")
    assert dict(by_reason[b"not_json"].headers) == {
        "reason": b"not_json",
        "detail": "detail ü".encode(),
        "source_topic": b"some.events",
        "source_partition": b"3",
        "source_offset": b"41",
    }
    assert (by_reason[b"empty"].key, by_reason[b"empty"].value) == (None, b"")


@pytest.mark.real_kafka
@pytest.mark.parametrize("kafka", ["real"], indirect=True)
async def test_the_largest_record_that_a_broker_takes_is_a_whole_dead_letter_and_a_larger_one_is_cut(
    kafka: Kafka,
) -> None:
    # Of what does not compress; with the reasons in its headers it is larger than it came.
    value = os.urandom(1_048_588 - 200)
    big = AIOKafkaProducer(bootstrap_servers=kafka.settings.kafka_bootstrap, max_request_size=2_000_000)
    async with big:
        await big.send_and_wait(kafka.settings.topic(topics.EVENTS), value, partition=P)
    log = await kafka.open()
    large = os.urandom(10_000_000)
    limit = 2_000_000
    letters = [
        DeadLetter(None, value, "too_large", "d" * 500, "t", P, 0),
        DeadLetter(value, value[:900_000], "too_large", "d" * 500, "t", P, 1),
        DeadLetter(None, large, "too_large", "d" * 500, "t", P, 2),
        DeadLetter(large, None, "too_large", "d" * 500, "t", P, 3),
        DeadLetter(large[:1_500_000], large, "too_large", "d" * 500, "t", P, 4),
    ]
    await log.publish(Effects(at(1), dead_letters=letters))
    found = await kafka.read(TopicPartition(kafka.settings.topic(topics.DEAD_LETTERS), 0))
    kept = {int(dict(record.headers)["source_offset"]): (record.key, record.value) for record in found}
    assert kept == {
        0: (None, value),
        1: (value, value[:900_000]),
        2: (None, large[:limit]),
        3: (large[:limit], None),
        4: (large[:1_500_000], large[: limit - 1_500_000]),
    }
    cut = {int(dict(record.headers)["source_offset"]): dict(record.headers).get("cut_from_bytes") for record in found}
    assert cut == {0: None, 1: None, 2: b"10000000", 3: b"10000000", 4: b"11500000"}


async def test_a_broker_that_is_away_is_a_log_error_and_leaves_nothing_behind(names: Names) -> None:
    settings = load(flags={"kafka_bootstrap": f"127.0.0.1:{free_port()}", "topic_prefix": names.topic_prefix})
    producer = SharedProducer(settings)
    with pytest.raises(LogError, match="starting the producer"):
        await producer.get()
    await producer.close()
    gc.collect()  # a client that was left open complains here


async def test_a_producer_that_failed_is_replaced(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stopped by another partition: the client would wait for it for ever.
    monkeypatch.setattr("stream_app.backends.kafka.PUBLISH_S_MAX", 0.5)
    log = await kafka.open()
    failed = await log._shared.get()
    await failed.stop()
    with pytest.raises(LogError, match="writing"):
        await log.publish(effects({"a": b"1"}))
    assert await log.publish(effects({"a": b"1"})) == 1
    assert await log._shared.get() is not failed


async def test_a_partition_that_was_taken_away_can_still_be_asked_for_its_lag(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    log._consumer.assign([TopicPartition(kafka.settings.topic(topics.EVENTS), 0)])
    assert log.lag() == -1
    assert await log.poll(timeout_ms=0, records_max=1) == Polled((), (), False)
    with pytest.raises(LogError):
        await log.commit(at(1))
    with pytest.raises(LogError):
        await log.seek(events_offset=0, labels_offset=0)

"""One partition's side of the log behaves the same in memory, on the embedded Kafka and on a real one."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError, RequestTimedOutError
from aiokafka.structs import OffsetAndMetadata

from stream_app import topics
from stream_app.admin import create_topics, topic_facts
from stream_app.backends.changelog_reading import ChangelogReading
from stream_app.backends.child_process import free_port
from stream_app.backends.clients import KafkaClients, is_told_elsewhere
from stream_app.backends.group_commits import GroupCommits
from stream_app.backends.kafka import KafkaPartitionLog
from stream_app.backends.memory import MemoryBroker, MemoryLog
from stream_app.backends.ports import Committed, FencedError, LogError, PartitionLog, Polled, UnusableError
from stream_app.backends.writers import AtLeastOnceWriter, ExactlyOnceWriter, PartitionWriter, SharedProducer
from stream_app.core.effects import DeadLetter, Effects, Planned, Position
from stream_app.core.processor import Record
from stream_app.core.watermark import Watermark
from stream_app.settings import Settings, load
from tests.support.fixtures import Names, Servers

_OURS = (topics.EVENTS, topics.LABELS, topics.CHANGELOG)
#: Not 0: a partition number that is forgotten somewhere shows.
P = 2
STAMP = 1_700_000_000_000


class Memory:
    """A partition in memory."""

    def __init__(self, guarantee: str) -> None:
        self.broker = MemoryBroker()
        self.guarantee = guarantee

    async def open(self) -> PartitionLog:
        """A new owner's log."""
        return MemoryLog(self.broker, exactly_once=self.guarantee == "exactly_once")

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
        self.guarantee = settings.processing_guarantee
        self.clients = KafkaClients(settings)
        self.topic_ids: list[str] = []

    async def start(self) -> None:
        await create_topics(self.settings)
        facts = await topic_facts(self.settings)
        self.topic_ids = [facts[self.settings.topic(name)].topic_id or "" for name in _OURS]
        self.producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap)
        await self._stack.enter_async_context(self.producer)
        self.admin = self.clients.admin()
        await self.admin.start()
        self._stack.push_async_callback(self.admin.close)
        self.reading = ChangelogReading(self.clients)
        self._stack.push_async_callback(self.reading.close)
        places = [self.place(topics.EVENTS)]
        async with asyncio.timeout(10):  # a broker makes its groups' topic when it is first asked
            while True:
                try:
                    if await self.admin.list_consumer_group_offsets(self.settings.group_id, partitions=places):
                        return
                except KafkaError:
                    pass
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
        writer: PartitionWriter
        if self.guarantee == "exactly_once":
            writer = ExactlyOnceWriter(self.settings, P, clients=self.clients)
        else:
            producer = SharedProducer(self.clients, client_id="test")
            self._stack.push_async_callback(producer.close)
            writer = AtLeastOnceWriter(self.settings, P, commits=GroupCommits(consumer), producer=producer)
        self._stack.push_async_callback(writer.close)
        return KafkaPartitionLog(
            self.settings,
            P,
            reading=self.reading,
            consumer=consumer,
            admin=self.admin,
            writer=writer,
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
        names = {"scores": topics.SCORES, "features": topics.FEATURES, "moments": topics.MOMENTS}
        for name, topic in {**names, "examples": topics.EXAMPLES, "closed": topics.CLOSED}.items():
            if records := await self.read(self.place(topic)):
                found[name] = [(record.key, record.value) for record in records]
        return found

    async def read(self, place: TopicPartition) -> list[Any]:
        consumer = self.clients.reader()
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


def _settings(servers: Servers, names: Names, guarantee: str) -> Settings:
    return load(
        flags={
            "processing_guarantee": guarantee,
            "kafka_bootstrap": servers.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            # The embedded Kafka's commit markers carry no checksum.
            "check_crcs": servers.kind == "real",
        }
    )


#: The embedded Kafka's transactions leave the group's offsets where they were.
_KAFKAS = [
    "embedded at_least_once",
    pytest.param("real at_least_once", marks=pytest.mark.real_kafka),
    pytest.param("real exactly_once", marks=pytest.mark.real_kafka),
]
real = pytest.mark.parametrize("kafka", _KAFKAS[1:], indirect=True)
real_exactly_once = pytest.mark.parametrize("kafka", _KAFKAS[2:], indirect=True)


async def _kafka(request: pytest.FixtureRequest, names: Names, stack: AsyncExitStack) -> Kafka:
    which, guarantee = request.param.split()
    servers = (
        Servers(request.getfixturevalue("real_kafka").bootstrap, "", "real")
        if which == "real"
        else request.getfixturevalue("embedded_servers")
    )
    bench = Kafka(_settings(servers, names, guarantee), stack)
    await bench.start()
    return bench


@pytest.fixture(params=_KAFKAS)
async def kafka(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Kafka]:
    async with AsyncExitStack() as stack:
        yield await _kafka(request, names, stack)


@pytest.fixture(params=["memory at_least_once", "memory exactly_once", *_KAFKAS])
async def bench(request: pytest.FixtureRequest, names: Names) -> AsyncIterator[Bench]:
    if request.param.startswith("memory"):
        yield Memory(request.param.split()[1])
        return
    async with AsyncExitStack() as stack:
        yield await _kafka(request, names, stack)


def at(seq: int, *, events: int = 0, labels: int = 0) -> Position:
    return Position(
        seq=seq,
        events_offset=events,
        labels_offset=labels,
        watermark=Watermark(STAMP),
        changelog_end=17,
        wall_time=STAMP,
    )


async def poll(log: PartitionLog, *, records: int, records_max: int = 100) -> tuple[list[Record], list[Record]]:
    """Polls until so many records have come, as a Kafka consumer may give them in pieces."""
    events: list[Record] = []
    labels: list[Record] = []
    async with asyncio.timeout(40):
        while len(events) + len(labels) < records:
            polled = await log.poll(timeout_ms=200, records_max=records_max)
            assert len(polled.events) + len(polled.labels) <= records_max
            events += polled.events
            labels += polled.labels
    return events, labels


async def commit(log: PartitionLog, position: Position) -> None:
    """An owner carries out a batch that has nothing to write."""
    await log.publish(Effects(position))
    await log.commit(position)


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
    assert await (await bench.open()).take_over() == Committed(0, 0, None, 0, begun=False)
    await bench.append("one", "two")
    log = await bench.open()
    committed = await log.take_over()
    assert committed == Committed(0, 0, None, 2, begun=False)
    await log.seek(events_offset=committed.events_offset, labels_offset=committed.labels_offset)
    events, _ = await poll(log, records=2)
    assert [record.value for record in events] == [b"one", b"two"]


async def test_what_one_owner_commits_the_next_one_finds_with_its_position(bench: Bench) -> None:
    await bench.append("one", "two", "three")
    await bench.append("label", labels=True)
    first = await bench.open()
    await first.take_over()
    await first.seek(events_offset=0, labels_offset=0)
    await commit(first, at(1, events=1))
    await commit(first, at(2, events=2, labels=1))
    second = await bench.open()
    events_offset, labels_offset, position, _, begun = await second.take_over()
    assert begun
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
    await commit(log, at(1, events=99))
    with pytest.raises(UnusableError, match="got committed offset 99, expected 0 to 1"):
        await (await bench.open()).take_over()


@real
async def test_records_that_were_deleted_before_they_were_read_need_a_person(kafka: Kafka) -> None:
    await kafka.append(*"abcdef")
    log = await kafka.open()
    await log.take_over()
    await commit(log, at(1, events=2))
    await kafka.forget(events_before=2)
    assert (await (await kafka.open()).take_over()).events_offset == 2
    await kafka.forget(events_before=4)
    with pytest.raises(UnusableError, match=r"-2: got committed offset 2, expected 4 to 6: records were deleted"):
        await (await kafka.open()).take_over()


@real
async def test_with_nothing_committed_deleted_records_are_nobodys_loss(kafka: Kafka) -> None:
    await kafka.append(*"abcdef")
    await kafka.forget(events_before=4)
    assert await (await kafka.open()).take_over() == Committed(4, 0, None, 6, begun=False)


async def test_a_commit_made_with_another_partition_count_is_refused(kafka: Kafka) -> None:
    former = await kafka.open()
    await former.take_over()
    await commit(former, at(1))
    with pytest.raises(UnusableError, match="got 5 partitions, expected the 4 that the states were made with"):
        await (await kafka.open(partitions=5)).take_over()


async def test_a_commit_made_for_topics_that_were_made_again_is_refused(kafka: Kafka) -> None:
    former = await kafka.open()
    await former.take_over()
    await commit(former, at(1))
    with pytest.raises(UnusableError, match="a topic was deleted and made again") as refused:
        await (await kafka.open(topic_ids=[kafka.topic_ids[0], "another", kafka.topic_ids[2]])).take_over()
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
    assert await (await kafka.open()).take_over() == Committed(1, 0, None, 2)


@real_exactly_once
async def test_offsets_of_a_transaction_that_is_still_open_are_waited_for(kafka: Kafka) -> None:
    # Without `require_stable` the coordinator tells the ones before; and old ones in the second after a restart.
    log = await kafka.open()
    await log.take_over()
    await kafka.append("one", "two")
    await commit(log, at(1, events=1))
    other = kafka.clients.transactional_producer("a-strangers", client_id="test")
    await other.start()
    await other.begin_transaction()
    await other.send_offsets_to_transaction(
        {kafka.place(topics.EVENTS): OffsetAndMetadata(2, "")}, kafka.settings.group_id
    )
    with pytest.raises(LogError, match="reading the committed offsets"):
        await (await kafka.open()).take_over()
    await other.abort_transaction()
    await other.stop()
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await (await kafka.open()).take_over()).events_offset == 1
                return
            except LogError:
                await asyncio.sleep(0.1)


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


@real
async def test_records_that_vanish_while_they_are_waited_for_need_a_person(kafka: Kafka) -> None:
    await kafka.append(*"abc")
    log = await kafka.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    await poll(log, records=3)
    log._consumer.pause(kafka.place(topics.EVENTS))
    await kafka.append(*"defg")
    await kafka.forget(events_before=5)
    log._consumer.resume(kafka.place(topics.EVENTS))
    with pytest.raises(UnusableError, match=r"got offset 5, expected 3: records were deleted"):
        await poll(log, records=1)


# ---- writing --------------------------------------------------------------------------------------------------------


def effects(states: dict[str, bytes], **outputs: list[tuple[bytes, bytes]]) -> Effects:
    return Effects(at(1), states=states, **outputs)  # type: ignore[arg-type]


async def test_what_is_published_is_read_by_others_in_order_and_the_changelogs_end_is_told(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    assert await log.changelog_end() == 0
    scores = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    end = await log.publish(effects({"a": b"A", "b": b"B"}, scores=scores, features=scores[:1], examples=scores[1:]))
    assert end == 2
    # A transaction's end takes an offset of its own, and is settled at the latest when another owner takes over.
    successor = await bench.open()
    await successor.take_over()
    assert await successor.changelog_end() in (2, 3)
    await log.take_over()
    end = await log.publish(effects({"ä": b"C"}, closed=[(b"a", b"{}")], moments=[(b"a", b"m")], scores=[(b"c", b"4")]))
    assert end in (3, 4)
    await successor.take_over()
    assert await bench.outputs() == {
        "scores": [*scores, (b"c", b"4")],
        "features": scores[:1],
        "examples": scores[1:],
        "closed": [(b"a", b"{}")],
        "moments": [(b"a", b"m")],
    }
    assert await changelog(successor, 0, end) == [("a", b"A"), ("b", b"B"), ("ä", b"C")]


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
    assert await log.publish(effects(states)) == 2_500
    await log.take_over()
    assert await log.changelog_end() in (2_500, 2_501)
    assert dict(await changelog(log, 0, 2_500)) == states


# ---- the changelog --------------------------------------------------------------------------------------------------


async def test_the_changelog_is_read_between_any_two_offsets(bench: Bench) -> None:
    log = await bench.open()
    await log.take_over()
    entries = [(f"v{n % 7}", f"{n}".encode()) for n in range(30)]
    ends: list[int] = []
    for visitor, blob in entries:
        ends.append(await log.publish(effects({visitor: blob})))
    await log.take_over()
    end = await log.changelog_end()
    assert await changelog(log, 0, end) == entries
    assert await changelog(log, ends[11], end) == entries[12:]
    assert await changelog(log, ends[2], ends[8]) == entries[3:9]
    assert await changelog(log, ends[28], end) == entries[29:]
    assert await changelog(log, ends[29], end) == []
    assert await changelog(log, 0, 0) == []


@real
async def test_a_changelog_whose_start_was_deleted_is_read_from_what_is_kept(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
    ends = [await log.publish(effects({f"v{n}": b"x"})) for n in range(6)]
    await log.take_over()
    end = await log.changelog_end()
    await kafka.admin.delete_records({kafka.place(topics.CHANGELOG): RecordsToDelete(ends[3])})
    assert [visitor for visitor, _ in await changelog(log, 0, end)] == ["v4", "v5"]
    await kafka.admin.delete_records({kafka.place(topics.CHANGELOG): RecordsToDelete(ends[5])})
    assert await changelog(log, 0, end) == []


@real
async def test_an_open_transaction_hides_no_state_from_who_takes_over(kafka: Kafka) -> None:
    # A consumer of committed records is told that the log ends where it begins.
    other = kafka.clients.transactional_producer("a-strangers", client_id="test")
    await other.start()
    log = await kafka.open()
    await log.take_over()
    await log.publish(effects({"a": b"1"}))
    await other.begin_transaction()
    await other.send_and_wait(kafka.settings.topic(topics.CHANGELOG), b"open", key=b"x", partition=P)
    await log.publish(effects({"b": b"2"}))
    end = await log.changelog_end()
    waiting = asyncio.create_task(changelog(log, 0, end))
    await asyncio.sleep(0.5)
    assert not waiting.done(), waiting
    await other.abort_transaction()
    assert await asyncio.wait_for(waiting, 10) == [("a", b"1"), ("b", b"2")]
    await other.stop()


# ---- only Kafka -----------------------------------------------------------------------------------------------------


async def test_a_dead_letter_keeps_its_bytes_and_says_why_and_where(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
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


@real
async def test_the_largest_record_that_a_broker_takes_is_a_whole_dead_letter_and_a_larger_one_is_cut(
    kafka: Kafka,
) -> None:
    # Of what does not compress; with the reasons in its headers it is larger than it came.
    value = os.urandom(1_048_588 - 200)
    big = AIOKafkaProducer(bootstrap_servers=kafka.settings.kafka_bootstrap, max_request_size=2_000_000)
    async with big:
        await big.send_and_wait(kafka.settings.topic(topics.EVENTS), value, partition=P)
    log = await kafka.open()
    await log.take_over()
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
    producer = SharedProducer(KafkaClients(settings), client_id="test")
    with pytest.raises(LogError, match="starting the producer"):
        await producer.get()
    await producer.close()
    gc.collect()  # a client that was left open complains here


@pytest.mark.parametrize("kafka", _KAFKAS[:2], indirect=True)
async def test_a_producer_that_failed_is_replaced(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stopped by another partition: the client would wait for it for ever.
    monkeypatch.setattr("stream_app.backends.writers.PUBLISH_S_MAX", 0.5)
    log = await kafka.open()
    await log.take_over()
    writer = log._writer
    assert isinstance(writer, AtLeastOnceWriter)
    failed = await writer._shared.get()
    await failed.stop()
    with pytest.raises(LogError, match="writing"):
        await log.publish(effects({"a": b"1"}))
    assert await log.publish(effects({"a": b"1"})) == 1
    assert await writer._shared.get() is not failed


@real_exactly_once
async def test_a_transaction_that_failed_leaves_nothing_and_its_producer_is_given_up(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await kafka.open()
    await log.take_over()
    await commit(log, at(1, events=0))
    monkeypatch.setattr("stream_app.backends.clients.TRANSACTION_S_MAX", 0.0)
    with pytest.raises(LogError, match="writing: TimeoutError"):
        await log.publish(effects({"a": b"1"}, scores=[(b"a", b"1")]))
    monkeypatch.undo()
    with pytest.raises(LogError, match="take the partition over again"):
        await log.publish(effects({"a": b"1"}, scores=[(b"a", b"1")]))
    assert await kafka.outputs() == {}
    await log.take_over()
    assert await log.publish(effects({"a": b"1"}, scores=[(b"a", b"1")])) > 0


@real_exactly_once
async def test_an_owner_that_another_one_has_followed_writes_and_commits_nothing(kafka: Kafka) -> None:
    await kafka.append("one", "two")
    former = await kafka.open()
    await former.take_over()
    await commit(former, at(1, events=1))
    successor = await kafka.open()
    assert (await successor.take_over()).events_offset == 1
    with pytest.raises(FencedError, match="another owner writes"):
        await former.publish(Effects(at(2, events=2), states={"a": b"1"}, scores=[(b"a", b"1")]))
    assert await kafka.outputs() == {}
    assert await changelog(successor, 0, await successor.changelog_end()) == []
    assert (await successor.take_over()).events_offset == 1


@real_exactly_once
async def test_a_record_that_no_broker_takes_commits_nothing_of_its_batch(kafka: Kafka) -> None:
    # aiokafka itself would commit the rest (RELIABILITY 2.1).
    log = await kafka.open()
    await log.take_over()
    with pytest.raises(LogError, match="MessageSizeTooLarge"):
        await log.publish(Effects(at(1, events=0), scores=[(b"a", b"1"), (b"b", os.urandom(1_500_000))]))
    assert await kafka.outputs() == {}
    assert (await log.take_over()).position is None


@real_exactly_once
async def test_a_producer_with_an_unanswered_request_begins_no_other_transaction(kafka: Kafka) -> None:
    # The broker may still get the first one's end, and take it for the next one's (KAFKA-17754).
    log = await kafka.open()
    await log.take_over()
    writer = log._writer
    assert isinstance(writer, ExactlyOnceWriter)
    producer = writer._producer
    assert producer is not None
    send, lost = producer.client.send, ["the answer to the transaction's end"]

    async def lossy(node: int, request: Any, **options: Any) -> Any:
        answer = await send(node, request, **options)
        if type(request).__name__.startswith("EndTxn") and lost:
            producer.unanswered = True
            lost.clear()
            raise RequestTimedOutError
        return answer

    producer.client.send = lossy  # type: ignore[method-assign]
    await commit(log, at(1, events=0))
    assert not lost
    with pytest.raises(LogError, match="went unanswered"):
        await log.publish(Effects(at(2, events=0)))
    assert writer._producer is None


async def test_what_is_announced_is_found_by_the_next_owner_until_it_is_committed(bench: Bench) -> None:
    log = await bench.open()
    if log.atomic:
        return
    await bench.append("one", "two")
    await log.take_over()
    planned = Planned(0, 0, 2, 0, at(1).watermark, 7)
    await log.commit(msgspec.structs.replace(at(1), planned=planned))
    found = (await (await bench.open()).take_over()).position
    assert found is not None
    assert found.planned == planned
    await log.commit(at(2, events=2))
    found = (await (await bench.open()).take_over()).position
    assert found is not None
    assert found.planned is None


async def test_a_partition_that_was_taken_away_can_still_be_asked_for_its_lag(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
    await log.seek(events_offset=0, labels_offset=0)
    log._consumer.assign([TopicPartition(kafka.settings.topic(topics.EVENTS), 0)])
    assert log.lag() == -1
    assert await log.poll(timeout_ms=0, records_max=1) == Polled((), (), False)
    if not log.atomic:
        with pytest.raises(LogError):
            await log.commit(at(1))
    with pytest.raises(LogError):
        await log.seek(events_offset=0, labels_offset=0)


@real_exactly_once
async def test_what_the_client_leaves_behind_of_a_fenced_transaction_is_known_as_such(kafka: Kafka) -> None:
    # Our own line tells it; asyncio's about a future that nobody looked at would say ERROR where nothing is lost.
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    former, successor = await kafka.open(), await kafka.open()
    await former.take_over()
    await successor.take_over()
    with pytest.raises(FencedError):
        await former.publish(Effects(at(1, events=0), states={"a": b"1"}, scores=[(b"a", b"1")]))
    gc.collect()
    await asyncio.sleep(0.05)
    assert all(is_told_elsewhere(complaint) for complaint in complaints)


async def test_a_key_that_somebody_elses_hand_wrote_into_the_changelog_is_nobodys_state(kafka: Kafka) -> None:
    log = await kafka.open()
    await log.take_over()
    await log.publish(effects({"a": b"A"}))
    await kafka.producer.send_and_wait(kafka.settings.topic(topics.CHANGELOG), b"B", key=b"\xff\xfe", partition=P)
    await log.take_over()
    assert await changelog(log, 0, await log.changelog_end()) == [("a", b"A")]

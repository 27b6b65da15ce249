"""The trainer's side of Kafka, and its election, on the embedded Kafka and on a real one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream_app import topics
from stream_app.admin import create_topics
from stream_app.backends.child_process import free_port
from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import FencedError, LogError
from stream_app.backends.training_log import ExampleLog, SnapshotTail, SnapshotWriter, TrainerElection
from stream_app.core.processor import Record
from stream_app.core.snapshots import FROZEN_BYTES, HEAD_KEY, RECORD_BYTES_MAX, SIGNATURE_HEADER, Signed
from stream_app.settings import Settings, load
from tests.support.fixtures import Names, Servers


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_kafka)])
async def settings(request: pytest.FixtureRequest, names: Names) -> Settings:
    real = request.param == "real"
    servers = Servers(request.getfixturevalue("real_kafka").bootstrap, "", "real") if real else None
    found = servers or request.getfixturevalue("embedded_servers")
    made = load(
        flags={
            "kafka_bootstrap": found.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            # The embedded Kafka lets a group's first members wait for 3 s, and forgets them when they last less.
            "session_timeout_ms": 2_000 if real else 6_000,
            # The embedded Kafka's commit markers carry no checksum.
            "check_crcs": real,
        }
    )
    await create_topics(made)
    return made


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def tail_of(settings: Settings, stack: AsyncExitStack) -> SnapshotTail:
    tail = SnapshotTail(settings, KafkaClients(settings))
    stack.push_async_callback(tail.stop)
    await tail.start()
    return tail


async def writer_of(settings: Settings, stack: AsyncExitStack) -> SnapshotWriter:
    writer = SnapshotWriter(settings, KafkaClients(settings))
    stack.push_async_callback(writer.stop)
    await writer.start()
    return writer


def snapshot(version: int, entries: int = 3) -> list[Signed]:
    """Entries, then the head."""
    some = [(f"prior/item/{n}".encode(), b"v%d" % version, b"signed %d" % n) for n in range(entries)]
    return [*some, (HEAD_KEY, b"v%d" % version, b"signed head")]


Read = list[tuple[bytes | None, bytes | None, bytes | None]]


async def read(tail: SnapshotTail, count: int) -> Read:
    """So many records; a commit shows a moment after it was acknowledged."""
    found: Read = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await tail.poll(timeout_ms=100)
    return found + await tail.poll(timeout_ms=100)


# ---- snapshots ------------------------------------------------------------------------------------------------------


async def test_an_empty_topic_is_read_to_its_end_at_once(settings: Settings, stack: AsyncExitStack) -> None:
    tail = await tail_of(settings, stack)
    assert await tail.end() == 0
    assert await tail.position() == 0
    assert await tail.poll(timeout_ms=10) == []


async def test_a_snapshot_is_read_whole_and_in_order_with_its_signatures(
    settings: Settings, stack: AsyncExitStack
) -> None:
    follower = await tail_of(settings, stack)
    writer = await writer_of(settings, stack)
    await writer.write(snapshot(1))
    await writer.write(snapshot(2, entries=0))
    expected = [*snapshot(1), *snapshot(2, entries=0)]
    assert await read(follower, len(expected)) == expected
    assert await read(await tail_of(settings, stack), len(expected)) == expected


async def test_thousands_of_entries_are_one_snapshot(settings: Settings, stack: AsyncExitStack) -> None:
    writer = await writer_of(settings, stack)
    await writer.write(snapshot(1, entries=5_000))
    expected = snapshot(1, entries=5_000)
    assert await read(await tail_of(settings, stack), len(expected)) == expected


async def test_the_largest_record_that_a_model_may_have_is_taken_also_where_it_does_not_compress(
    settings: Settings, stack: AsyncExitStack
) -> None:
    writer = await writer_of(settings, stack)
    large = random.Random(1).randbytes(RECORD_BYTES_MAX + FROZEN_BYTES)
    records = [(b"challenger/forest", large, b"signed"), (HEAD_KEY, large[::-1], b"signed head")]
    await writer.write(records)
    assert await read(await tail_of(settings, stack), 2) == records


@pytest.mark.real_kafka
@pytest.mark.parametrize("settings", ["real"], indirect=True)
async def test_a_snapshot_that_was_never_finished_is_never_read(settings: Settings, stack: AsyncExitStack) -> None:
    # The first writer dies between two records; the next one's start gives its transaction up.
    dying = await writer_of(settings, stack)
    await dying.write(snapshot(1))
    producer = dying._producer
    assert producer is not None
    await producer.begin_transaction()
    for key, value, _ in snapshot(2)[:2]:
        await producer.send_and_wait(settings.topic(topics.SNAPSHOTS), value, key=key, partition=0)
    expected = snapshot(1)
    assert await read(await tail_of(settings, stack), len(expected)) == expected
    writer = await writer_of(settings, stack)
    await writer.write(snapshot(3))
    expected = [*snapshot(1), *snapshot(3)]
    assert await read(await tail_of(settings, stack), len(expected)) == expected


@pytest.mark.real_kafka
@pytest.mark.parametrize("settings", ["real"], indirect=True)
async def test_a_second_writer_fences_the_first(settings: Settings, stack: AsyncExitStack) -> None:
    # The embedded Kafka knows transactions but fences nobody.
    first = await writer_of(settings, stack)
    await first.write(snapshot(1))
    second = await writer_of(settings, stack)
    with pytest.raises(FencedError, match="another trainer writes the snapshots"):
        await first.write(snapshot(2))
    await second.write(snapshot(3))
    expected = [*snapshot(1), *snapshot(3)]
    assert await read(await tail_of(settings, stack), len(expected)) == expected


@pytest.mark.real_kafka
@pytest.mark.parametrize("settings", ["real"], indirect=True)
async def test_a_writer_that_was_fenced_stays_so(settings: Settings, stack: AsyncExitStack) -> None:
    first = await writer_of(settings, stack)
    await writer_of(settings, stack)
    for _ in range(2):
        with pytest.raises((FencedError, LogError)):
            await first.write(snapshot(1))
    assert await read(await tail_of(settings, stack), 0) == []


async def test_writers_of_different_groups_do_not_fence_each_other(settings: Settings, stack: AsyncExitStack) -> None:
    one = await writer_of(settings, stack)
    other = await writer_of(settings.model_copy(update={"group_id": f"{settings.group_id}-other"}), stack)
    await one.write(snapshot(1))
    await other.write(snapshot(2))
    await one.write(snapshot(3))


async def test_a_record_without_a_signature_is_read_as_one(settings: Settings, stack: AsyncExitStack) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        topic = settings.topic(topics.SNAPSHOTS)
        await producer.send_and_wait(topic, b"forged", key=HEAD_KEY, partition=0)
        await producer.send_and_wait(topic, None, key=HEAD_KEY, headers=[(SIGNATURE_HEADER, b"s")], partition=0)
    assert await read(await tail_of(settings, stack), 2) == [
        (HEAD_KEY, b"forged", None),
        (HEAD_KEY, None, b"s"),
    ]


# ---- examples -------------------------------------------------------------------------------------------------------


async def send_examples(settings: Settings, per_partition: int, *, first: int = 0) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for n in range(first, first + per_partition):
            for partition in range(4):
                await producer.send(settings.topic(topics.EXAMPLES), b"%d-%d" % (partition, n), partition=partition)
        await producer.flush()


async def examples_of(settings: Settings, stack: AsyncExitStack, offsets: dict[int, int]) -> ExampleLog:
    examples = ExampleLog(settings, KafkaClients(settings))
    stack.push_async_callback(examples.stop)
    await examples.start(offsets)
    return examples


async def poll(examples: ExampleLog, count: int) -> dict[int, list[tuple[int, bytes | None]]]:
    """So many records by partition, as (offset, value)."""
    found: list[tuple[int, Record]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            some = await examples.poll(timeout_ms=100, records_max=7)
            assert len(some) <= 7
            found += some
    assert len(found) == count
    by_partition: dict[int, list[tuple[int, bytes | None]]] = {}
    for partition, record in found:
        by_partition.setdefault(partition, []).append((record.offset, record.value))
    return by_partition


async def test_every_partition_is_read_in_order_from_where_it_was_left(
    settings: Settings, stack: AsyncExitStack
) -> None:
    await send_examples(settings, 5)
    whole = await poll(await examples_of(settings, stack, {}), 20)
    assert whole == {p: [(n, b"%d-%d" % (p, n)) for n in range(5)] for p in range(4)}
    later = await examples_of(settings, stack, {0: 5, 1: 3, 2: 0})
    assert await poll(later, 12) == {p: whole[p][start:] for p, start in ((1, 3), (2, 0), (3, 0))}
    await send_examples(settings, 1, first=5)
    assert await poll(later, 4) == {p: [(5, b"%d-5" % p)] for p in range(4)}


@pytest.mark.real_kafka
@pytest.mark.parametrize("settings", ["real"], indirect=True)
async def test_examples_that_were_deleted_are_passed_over(settings: Settings, stack: AsyncExitStack) -> None:
    await send_examples(settings, 5)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    stack.push_async_callback(admin.close)
    await admin.delete_records({TopicPartition(settings.topic(topics.EXAMPLES), 1): RecordsToDelete(3)})
    found = await poll(await examples_of(settings, stack, {1: 1}), 17)
    assert [offset for offset, _ in found[1]] == [3, 4]


async def test_a_missing_topic_is_said_with_what_to_do(settings: Settings, stack: AsyncExitStack) -> None:
    other = settings.model_copy(update={"topic_prefix": "nobody-made-these."})
    with pytest.raises(LogError, match=r"examples\.v1 does not exist: run `stream-app topics create`"):
        await examples_of(other, stack, {})


# ---- the election ---------------------------------------------------------------------------------------------------


class Candidates:
    """Keeps every candidate alive, as a standing-by trainer does."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._touching: dict[TrainerElection, asyncio.Task[None]] = {}

    async def add(self, settings: Settings) -> TrainerElection:
        election = TrainerElection(settings, KafkaClients(settings))
        self._stack.push_async_callback(election.stop)
        await election.start()
        assert election.started
        self._touching[election] = asyncio.create_task(self._touch(election))
        self._stack.push_async_callback(self.silence, election)
        return election

    async def silence(self, election: TrainerElection) -> None:
        touching = self._touching.pop(election, None)
        if touching is not None:
            touching.cancel()
            await asyncio.gather(touching, return_exceptions=True)

    async def _touch(self, election: TrainerElection) -> None:
        while True:
            await election.touch()
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool], patience_s: float = 15.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.real_kafka
@pytest.mark.parametrize("settings", ["real"], indirect=True)
async def test_of_two_candidates_one_is_elected_and_the_other_when_it_leaves(
    settings: Settings, stack: AsyncExitStack
) -> None:
    # The embedded Kafka refuses a second member while it rebalances.
    candidates = Candidates(stack)
    one = await candidates.add(settings)
    other = await candidates.add(settings)
    await until(lambda: one.elected.is_set() != other.elected.is_set())
    first, second = (one, other) if one.elected.is_set() else (other, one)
    assert not first.lost.is_set()
    await candidates.silence(first)
    await first.stop()
    assert not first.started
    await until(second.elected.is_set)
    assert not second.lost.is_set()


async def test_nothing_is_read_or_committed_by_standing_for_election(settings: Settings, stack: AsyncExitStack) -> None:
    writer = await writer_of(settings, stack)
    election = await Candidates(stack).add(settings)
    await until(election.elected.is_set)
    await writer.write(snapshot(1))
    expected = snapshot(1)
    assert await read(await tail_of(settings, stack), len(expected)) == expected
    consumer = election._consumer
    assert consumer is not None
    assert await consumer.getmany(timeout_ms=200) == {}


async def test_no_broker_is_a_log_error_and_leaves_nothing_behind(names: Names) -> None:
    settings = load(flags={"kafka_bootstrap": f"127.0.0.1:{free_port()}", "topic_prefix": names.topic_prefix})
    clients = KafkaClients(settings)
    election, examples = TrainerElection(settings, clients), ExampleLog(settings, clients)
    tail, writer = SnapshotTail(settings, clients), SnapshotWriter(settings, clients)
    for start in (election.start, tail.start, writer.start, lambda: examples.start({})):
        with pytest.raises(LogError):
            await start()
    assert not election.started
    for part in (election, tail, writer, examples):
        await part.stop()


async def test_a_second_start_after_a_failed_one_works(settings: Settings, stack: AsyncExitStack) -> None:
    elsewhere = settings.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{free_port()}"})
    election = TrainerElection(elsewhere, KafkaClients(elsewhere))
    with pytest.raises(LogError):
        await election.start()
    election._clients = KafkaClients(settings)
    stack.push_async_callback(election.stop)
    await election.start()
    async with asyncio.timeout(15):
        while not election.elected.is_set():
            await election.touch()
            await asyncio.sleep(0.05)
    assert isinstance(election._consumer, AIOKafkaConsumer)


async def test_a_client_whose_reader_ended_is_noticed(settings: Settings, stack: AsyncExitStack) -> None:
    # It would give nothing for ever: the end of a log looks the same. The names are aiokafka's own.
    clients = KafkaClients(settings)
    examples, election = ExampleLog(settings, clients), TrainerElection(settings, clients)
    stack.push_async_callback(examples.stop)
    stack.push_async_callback(election.stop)
    await examples.start({})
    await election.start()
    await examples.poll(timeout_ms=0, records_max=1)
    await election.touch()
    assert examples._consumer is not None
    examples._consumer._fetcher._fetch_task.cancel()
    assert election._consumer is not None
    election._consumer._coordinator._coordination_task.cancel()
    await asyncio.sleep(0.05)
    with pytest.raises(LogError, match="_fetch_task ended"):
        await examples.poll(timeout_ms=0, records_max=1)
    with pytest.raises(LogError, match="_coordination_task ended"):
        await election.touch()
    assert not election.started

"""The simulated broker behaves as the real one does where the product relies on it (RELIABILITY's measurements)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError, OutOfOrderSequenceNumber, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.simulation.broker import Broker
from tests.simulation.consumer import SimulatedConsumer
from tests.simulation.log import Log, Message
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import Faults, Network
from tests.simulation.producer import SimulatedProducer

PLACE = TopicPartition("out", 0)
OFFSETS = {TopicPartition("in", 0): OffsetAndMetadata(7, "seven")}


class World:
    def __init__(self) -> None:
        self.loop = SimulatedLoop()
        self.network = Network(
            self.loop, random.Random(1), Faults(), note=lambda *said: None, crash=_never, stop=_never
        )
        self.broker = Broker(self.network, random.Random(1), {"in": 2, "out": 1})

    def run(self, story: Callable[[], Awaitable[Any]]) -> Any:
        with self.loop.clocks():
            return self.loop.run_until_complete(story())  # type: ignore[arg-type]

    def producer(self, name: str | None = None) -> SimulatedProducer:
        return SimulatedProducer(self.broker, request_timeout_s=30.0, batch_records_max=100, transactional_id=name)

    def member(self) -> SimulatedConsumer:
        return SimulatedConsumer(
            self.broker, group_id="g", session_timeout_s=2.0, heartbeat_s=0.4, request_timeout_s=3.0
        )


def _never(process: Process, where: str) -> None:
    raise AssertionError("nothing goes wrong here")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.dispose()


def message(text: str) -> Message:
    return Message(b"k", text.encode(), 1)


def values(log: Log) -> list[bytes | None]:
    return [record.value for record in log.read(0, 100)[0]]


def test_a_marker_takes_an_offset_and_an_open_transaction_holds_readers_back(world: World) -> None:
    async def story() -> tuple[int, int, int]:
        producer = world.producer("t")
        await producer.start()
        await producer.begin_transaction()
        await (await producer.send("out", b"a", key=b"k", partition=0))
        log = world.broker.log(PLACE)
        held = log.stable_end
        await producer.commit_transaction()
        await asyncio.sleep(1)
        return held, log.stable_end, log.read(0, 10)[1]

    assert world.run(story) == (0, 2, 2)
    assert values(world.broker.log(PLACE)) == [b"a"]


def test_starting_a_producer_aborts_what_the_former_one_left_open_and_fences_it(world: World) -> None:
    async def story() -> None:
        first, second = world.producer("t"), world.producer("t")
        await first.start()
        await first.begin_transaction()
        await (await first.send("out", b"lost", key=b"k", partition=0))
        await second.start()
        with pytest.raises(ProducerFenced):
            await first.send_offsets_to_transaction(OFFSETS, "g")
        with pytest.raises(AssertionError):
            await first.commit_transaction()

    world.run(story)
    assert values(world.broker.log(PLACE)) == []
    assert world.broker.log(PLACE).stable_end == 2


def test_committed_offsets_are_stale_until_the_marker_is_written_and_fencing_waits_for_it(world: World) -> None:
    async def story() -> list[int]:
        world.network.faults = Faults(slow_markers=1.0)
        producer, group = world.producer("t"), world.broker.group("g")
        await producer.start()
        await producer.begin_transaction()
        await producer.send_offsets_to_transaction(OFFSETS, "g")
        await producer.commit_transaction()
        before = group.fetch(list(OFFSETS))[TopicPartition("in", 0)].offset
        await world.producer("t").start()
        return [before, group.fetch(list(OFFSETS))[TopicPartition("in", 0)].offset]

    assert world.run(story) == [-1, 7]


def test_a_late_end_of_one_transaction_ends_the_next_one_of_the_same_producer(world: World) -> None:
    # KAFKA-17754: why a producer with an unanswered request is never used again.
    async def story() -> None:
        producer = world.producer("t")
        await producer.start()
        producer_id, epoch = producer._producer, producer._epoch
        coordinator = world.broker.transactions
        coordinator.add_partitions("t", producer_id, epoch, [PLACE])
        coordinator.end("t", producer_id, epoch, commit=True)
        await asyncio.sleep(1)
        coordinator.add_partitions("t", producer_id, epoch, [PLACE])
        world.broker.produce({PLACE: (0, [message("half")])}, producer_id, epoch, "t")
        coordinator.end("t", producer_id, epoch, commit=True)
        await asyncio.sleep(1)

    world.run(story)
    assert values(world.broker.log(PLACE)) == [b"half"]


async def test_a_batch_that_is_sent_again_is_written_once_and_a_gap_is_refused() -> None:
    log = Log("out", 0)
    assert log.produce(1, 0, 0, [message("a"), message("b")], transactional=False) == 0
    assert log.produce(1, 0, 0, [message("a"), message("b")], transactional=False) == 0
    with pytest.raises(OutOfOrderSequenceNumber):
        log.produce(1, 0, 3, [message("d")], transactional=False)
    assert values(log) == [b"a", b"b"]


def test_the_commit_of_a_member_that_overslept_its_session_fails(world: World) -> None:
    async def story() -> str:
        sleeper, other = world.member(), world.member()
        process = Process(world.loop, "sleeper")
        sleeper.subscribe(["in"])
        other.subscribe(["in"])
        told: asyncio.Future[str] = world.loop.create_future()

        async def oversleep() -> None:
            await sleeper.start()
            process.stop()
            await asyncio.sleep(0)
            try:
                await sleeper.commit(OFFSETS)
            except CommitFailedError:
                told.set_result("refused")
            else:
                told.set_result("taken")

        process.start(oversleep())
        await asyncio.sleep(1.0)
        await other.start()
        world.network.later(5.0, process.go_on)
        return await told

    assert world.run(story) == "refused"


def test_a_killed_process_runs_nothing_more_and_what_it_sent_arrives(world: World) -> None:
    ended: list[str] = []

    async def story() -> None:
        process = Process(world.loop, "victim")

        async def send() -> None:
            try:
                log = world.broker.log(PLACE)
                await world.network.call("append", lambda: log.append([message("sent")]), timeout_s=1)
                ended.append("answered")
            finally:
                ended.append("finally")

        process.start(send())
        await asyncio.sleep(0)
        process.kill()
        await asyncio.sleep(5)

    world.run(story)
    assert values(world.broker.log(PLACE)) == [b"sent"]
    assert ended == []

"""Producers that expire, time out, or are succeeded before their markers are written (matrix rows 6, 12, 13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownError

from stream_app import admin, topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.writers import ExactlyOnceWriter
from stream_app.core.effects import Effects, Position
from stream_app.settings import Settings, load
from tests.faults.conftest import Victims
from tests.faults.launcher import Fault, Plan
from tests.faults.run import Run
from tests.support.fixtures import Names, skip_or_fail
from tests.support.kafka_proxy import KafkaProxy
from tests.support.servers import RealKafka, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: What Kafka keeps for a week or looks at every ten seconds happens within three here.
_SHORT_LIVED = {
    "transactional.id.expiration.ms": "3000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "producer.id.expiration.ms": "3000",
    "producer.id.expiration.check.interval.ms": "1000",
}


@pytest.fixture(scope="module")
def forgetful() -> Iterator[RealKafka]:
    """A broker that forgets producers soon, and whose transaction markers pass through its proxy."""
    try:
        broker = RealKafka(inter_broker_proxied=True, settings=_SHORT_LIVED).start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    yield broker
    broker.stop()


@pytest.fixture
def markers(forgetful: RealKafka) -> Iterator[KafkaProxy]:
    """The way that transaction markers take."""
    assert forgetful.proxy is not None
    yield forgetful.proxy
    forgetful.proxy.heal()
    forgetful.proxy.delay(0)


@pytest.mark.long
async def test_an_owner_whose_producer_was_forgotten_is_not_locked_out(
    forgetful: RealKafka, victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run(kafka_bootstrap=forgetful.bootstrap) as run:
        worker = run.start("worker")
        await run.send(0.5)
        await run.scored()
        await asyncio.sleep(8)
        await run.send()
        await run.scored()
        await run.finish("12 producer and transactional ids expired")
        await run.scoring(worker)


@pytest.mark.long
async def test_a_batch_that_outlasts_its_transaction_is_done_again(
    forgetful: RealKafka, victims: Victims, fault_run: Callable[..., Run]
) -> None:
    pause = Fault("aiokafka:AIOKafkaProducer.send_batch", "pause", when="after", call=21)
    async with fault_run(kafka_bootstrap=forgetful.bootstrap, session_timeout_ms=30_000) as run:
        slow = run.start("worker", plan=Plan([pause]))
        await run.scoring(slow)
        await run.send(0.6)
        # Beyond the transaction's ten seconds: the broker has given it up.
        await asyncio.sleep(13)
        slow.resume()
        await run.send()
        await run.finish("13 a batch stalled beyond its transaction's time")
        await run.scoring(slow)


def _settings(broker: RealKafka, names: Names) -> Settings:
    return load(
        flags={
            "kafka_bootstrap": broker.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "processing_guarantee": "exactly_once",
        }
    )


async def _stable_offset(asking: AIOKafkaAdminClient, group_id: str, place: TopicPartition) -> int:
    """What is committed, asked for until no transaction is under way; taking over does the same."""
    async with asyncio.timeout(10):
        while True:
            try:
                return int((await asking.list_consumer_group_offsets(group_id, partitions=[place]))[place].offset)
            except UnknownError:  # "unstable offset commit", which the client has no name for
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("handovers", "marker_delay_ms"), [(60, 0), (8, 200), pytest.param(1_000, 0, marks=pytest.mark.long)]
)
async def test_a_successor_sees_the_last_commit_although_its_markers_are_still_under_way(
    forgetful: RealKafka, markers: KafkaProxy, names: Names, handovers: int, marker_delay_ms: int
) -> None:
    settings = _settings(forgetful, names)
    assert all(status.fine for status in await admin.create_topics(settings))
    clients = KafkaClients(settings)
    place = TopicPartition(settings.topic(topics.EVENTS), 0)
    # One that takes what it is told, as the client's own does, and ours.
    careless = AIOKafkaAdminClient(bootstrap_servers=forgetful.bootstrap)
    asking = clients.admin()
    await careless.start()
    await asking.start()
    markers.delay(marker_delay_ms)
    former: ExactlyOnceWriter | None = None
    stale = 0
    try:
        for number in range(handovers):
            owner = ExactlyOnceWriter(settings, 0, clients=clients)
            if former is not None:
                before = await careless.list_consumer_group_offsets(settings.group_id, partitions=[place])
                stale += before[place].offset != number
            await owner.fence()
            if former is not None:
                assert await _stable_offset(asking, settings.group_id, place) == number
                await former.close()
            await owner.publish(Effects(Position(seq=number + 1, events_offset=number + 1)))
            former = owner
    finally:
        if former is not None:
            await former.close()
        await asking.close()
        await careless.close()
    print(
        f"\nfault 6 {handovers} handovers, markers {marker_delay_ms} ms late: commit stale {stale} times before "
        "fencing, never after | exactly_once"
    )
    if marker_delay_ms:
        assert stale > 0

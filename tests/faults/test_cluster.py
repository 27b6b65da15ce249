"""Three brokers, of which one dies (matrix rows 9, 10): leaders and coordinators move, nothing is lost or repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from stream_app import topics
from stream_app.settings import Settings
from tests.faults.conftest import Victims
from tests.faults.run import Run
from tests.support.cluster import KafkaCluster
from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: A dead broker is noticed after its session (3 s); the clients look for new leaders after that.
_SILENCE_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers for this file."""
    try:
        running = KafkaCluster().start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    yield running
    running.stop()


@pytest.fixture
def cluster_run(cluster: KafkaCluster, victims: Victims, fault_run: Callable[..., Run]) -> Iterator[Callable[..., Run]]:
    """A run on the cluster; dead brokers come back for the next one."""
    yield lambda **flags: fault_run(kafka_bootstrap=cluster.bootstrap, topic_replication=3, **flags)
    for broker in (1, 2, 3):
        cluster.restart(broker)


async def _coordinator(settings: Settings, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        return int(await admin.find_coordinator(group))
    finally:
        await admin.close()


@pytest.mark.long
async def test_a_dead_leader_or_coordinator_is_replaced_and_nothing_is_lost(
    cluster: KafkaCluster, cluster_run: Callable[..., Run]
) -> None:
    async with cluster_run() as run:
        worker = run.start("worker")
        await run.scoring(worker)
        await run.send(0.1)
        await run.scored()
        silences = []
        for turn in (1, 2):
            coordinator = await _coordinator(run.deployment.settings, run.deployment.settings.group_id)
            # First who coordinates the group and leads a third of the partitions; then one of the others.
            broker = coordinator if turn == 1 else coordinator % 3 + 1
            begun = time.monotonic()
            flowing = asyncio.create_task(run.trickle(0.1 + 0.4 * turn, seconds=5))
            await asyncio.sleep(1)
            cluster.kill(broker)
            await flowing
            await run.scored()
            silences.append(run.watcher.longest_silence(topics.SCORES, since=begun))
            cluster.restart(broker)
            await asyncio.sleep(3)  # until its copies are in sync, or the next loss would be one too many
        await run.send()
        told = " and ".join(f"{silence:.1f}" for silence in silences)
        await run.finish(f"9, 10 group coordinator killed, then another broker: silences of {told} s")
        assert max(silences) < _SILENCE_S

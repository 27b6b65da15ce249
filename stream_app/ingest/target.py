"""Where a raw topic is written to: whether it and ours are there, and how many partitions ours have."""

from __future__ import annotations

from typing import NamedTuple

from stream_app import topics
from stream_app.backends.clients import KafkaClients, kafka_call
from stream_app.backends.cluster_metadata import describe
from stream_app.backends.embedded import EMBEDDED_CLUSTER_PREFIX
from stream_app.backends.ports import UnusableError
from stream_app.settings import Settings


class Target(NamedTuple):
    """Where all of a process's partitions write, and how many partitions there are.

    `forgets_offsets`: the broker takes transactions but not the offsets sent in them, as the embedded one.
    """

    events_partitions: int
    letters_partitions: int
    forgets_offsets: bool


async def find_target(settings: Settings, topic: str, clients: KafkaClients) -> Target:
    """Look at the cluster.

    Raises
    ------
    LogError
        If Kafka does not answer.
    UnusableError
        If the raw topic, or one of ours, does not exist.
    """
    asking = clients.admin()
    names = [settings.topic(topics.EVENTS), settings.topic(topics.DEAD_LETTERS), topic]
    try:
        await kafka_call("connecting", asking.start())
        facts = await kafka_call("looking at the topics", describe(asking._client, names))
    finally:
        await asking.close()
    for name in names:
        if not facts.topics[name].exists:
            raise UnusableError(f"topic {name} does not exist on {settings.kafka_bootstrap}: create it first")
    events, letters, _ = (facts.topics[name].partitions for name in names)
    return Target(events, letters, facts.cluster_id.startswith(EMBEDDED_CLUSTER_PREFIX))

"""What a Kafka cluster says about itself and some topics, topic ids included, without creating any by asking.

aiokafka 0.14 stops at version 5 of the Metadata request, topic ids began with version 10: a topic deleted and made
again under its old name looks the same to it. This is version 12 (Kafka 3.1 and later) beside its version 5, which an
older broker gets; then the ids are None. Format: https://kafka.apache.org/protocol#The_Messages_Metadata
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ID = bytes(16)


class TopicFacts(NamedTuple):
    """One topic as the cluster has it.

    `topic_id` is written the way Kafka's own tools write it; None where the broker is too old to tell. `error` is None,
    or the name of what the broker said instead, such as `UnknownTopicOrPartitionError`.
    """

    name: str
    topic_id: str | None
    partitions: int
    replication: int
    error: str | None

    @property
    def exists(self) -> bool:
        """Whether the topic is there; one that we may not look at is not counted."""
        return self.error is None and self.partitions > 0


class ClusterFacts(NamedTuple):
    """The cluster's id, its brokers as `host:port`, and the topics asked for by name."""

    cluster_id: str
    brokers: tuple[str, ...]
    topics: dict[str, TopicFacts]


async def describe(client: AIOKafkaClient, names: Sequence[str], *, create: bool = False) -> ClusterFacts:
    """Ask any broker about the topics named.

    Parameters
    ----------
    client
        A bootstrapped client: `AIOKafkaAdminClient`, consumers and producers have theirs as `_client`.
    names
        Full topic names; none asks about the cluster only.
    create
        Let the broker create missing topics, where it is set to: only the embedded Kafka should be asked this way.

    Raises
    ------
    aiokafka.errors.KafkaError
        If no broker answers.
    """
    response = await client.send(client.get_random_node(), _MetadataRequest(list(names), create=create))
    answer = response.to_object()
    topics = {topic["topic"]: _facts(topic) for topic in answer["topics"]}
    return ClusterFacts(
        cluster_id=answer["cluster_id"] or "",
        brokers=tuple(f"{broker['host']}:{broker['port']}" for broker in answer["brokers"]),
        topics=topics,
    )


def _facts(topic: dict[str, Any]) -> TopicFacts:
    raw = topic.get("topic_id", _NO_ID)
    partitions = topic["partitions"]
    return TopicFacts(
        name=topic["topic"],
        topic_id=None if raw == _NO_ID else base64.urlsafe_b64encode(raw).decode().rstrip("="),
        partitions=len(partitions),
        replication=min((len(partition["replicas"]) for partition in partitions), default=0),
        error=for_code(topic["error_code"]).__name__ if topic["error_code"] else None,
    )


class _Uuid(AbstractType[bytes]):
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponseV12(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[MetadataRequest_v5 | _MetadataRequestV12]):
    API_KEY = 3

    def __init__(self, names: list[str], *, create: bool) -> None:
        self._names = names
        self._create = create

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is _MetadataRequestV12:
            return _MetadataRequestV12([(_NO_ID, name, {}) for name in self._names], self._create, False, {})
        return request_struct_class(self._names, self._create)

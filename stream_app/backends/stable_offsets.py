"""What a group has committed, asked with `require_stable`: not while a transaction's offsets are open (KIP-447).

It does not help against a coordinator whose broker has just been restarted: for some seconds that one tells what it has
read of its log so far, old offsets or none, and no error. `taking_over.py` compares them with what is known.

aiokafka 0.14 stops at version 3 of the request; this is version 7 (Kafka 2.5 and later). Format:
https://kafka.apache.org/protocol#The_Messages_OffsetFetch
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.structs import OffsetAndMetadata


class StableAdminClient(AIOKafkaAdminClient):
    """The client's own, but for how it reads what a group has committed."""

    async def list_consumer_group_offsets(
        self,
        group_id: str,
        group_coordinator_id: int | None = None,
        partitions: list[TopicPartition] | None = None,
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Offset and metadata of each place; offset −1 where the group never committed one.

        A broker that is too old for it is asked as aiokafka does.

        Raises
        ------
        aiokafka.errors.KafkaError
            If the coordinator is loading, has moved, or a transaction with offsets of these places is still open: try
            again.
        """
        coordinator = await self.find_coordinator(group_id) if group_coordinator_id is None else group_coordinator_id
        try:
            answer = await self._send_request(_Request(group_id, partitions or ()), coordinator)
        except NotImplementedError:
            found: dict[TopicPartition, OffsetAndMetadata] = await super().list_consumer_group_offsets(
                group_id, coordinator, partitions
            )
            return found
        return _offsets(answer.to_object())


def _offsets(answer: dict[str, Any]) -> dict[TopicPartition, OffsetAndMetadata]:
    _refuse(answer["error_code"])
    found = {}
    for topic in answer["topics"]:
        for partition in topic["partitions"]:
            _refuse(partition["error_code"])
            place = TopicPartition(topic["topic"], partition["partition"])
            found[place] = OffsetAndMetadata(partition["offset"], partition["metadata"] or "")
    return found


def _refuse(code: int) -> None:
    if code:
        raise for_code(code)()


class _Response(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Struct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _Request(Request[_Struct]):
    API_KEY = 9

    def __init__(self, group_id: str, places: Collection[TopicPartition]) -> None:
        topics: dict[str, list[int]] = {}
        for place in places:
            topics.setdefault(place.topic, []).append(place.partition)
        self._group_id = group_id
        self._topics: list[Any] = [(topic, partitions, {}) for topic, partitions in topics.items()]

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        return request_struct_class(self._group_id, self._topics, True, {})

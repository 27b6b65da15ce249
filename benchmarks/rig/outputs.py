"""The outputs read back, and what of them is missing, doubled, out of order or under another key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from benchmarks.contenders.contract import PARTITIONS
from benchmarks.rig.stream import Given

_EVENT_ID = re.compile(rb'"event_id": ?"([^"]+)"')
_FETCHED = 10_000


class Written(NamedTuple):
    """One record of an output topic."""

    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes

    @property
    def event_id(self) -> str:
        """Whose output it is."""
        found = _EVENT_ID.search(self.value)
        assert found is not None, self.value[:200]
        return found[1].decode()


class Completeness(NamedTuple):
    """Of one output topic against the input: counts of events, and of records beyond each event's first."""

    records: int
    lost: int
    repeated: int
    wrong_key: int
    out_of_order: int
    unknown: int

    @property
    def exact(self) -> bool:
        """Every event once, under its visitor's key, in the visitor's order."""
        return not any(self[1:])


def read(bootstrap: str, topic: str) -> Iterator[Written]:
    """All committed records of a topic, in the order of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads-back",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    try:
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
        # A partition that is written meanwhile ends more than once.
        ended: set[int] = set()
        while len(ended) < PARTITIONS:
            for message in consumer.consume(_FETCHED, timeout=0.5):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                elif error is not None:
                    raise KafkaException(error)
                else:
                    yield Written(
                        message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value()
                    )
    finally:
        consumer.close()


def completeness(given: Sequence[Given], written: Sequence[Written]) -> Completeness:
    """Compare an output with the input by event id, key and order; values are the oracle's business."""
    visitor_of = {record.event_id: record.visitor_id for record in given}
    place_of = {record.event_id: n for n, record in enumerate(given)}
    seen: Counter[str] = Counter()
    newest: dict[str, int] = {}
    wrong_key = out_of_order = unknown = 0
    for record in written:
        event_id = record.event_id
        visitor = visitor_of.get(event_id)
        if visitor is None:
            unknown += 1
            continue
        seen[event_id] += 1
        wrong_key += record.key != visitor.encode()
        if seen[event_id] == 1:
            out_of_order += place_of[event_id] < newest.get(visitor, -1)
            newest[visitor] = place_of[event_id]
    repeated = sum(seen.values()) - len(seen)
    return Completeness(len(written), len(visitor_of) - len(seen), repeated, wrong_key, out_of_order, unknown)

"""What an audit asks of Kafka and Redis: bounded reads of committed records, offsets, blobs. Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from stream_app.admin import KafkaUnreachableError, quiet, topic_facts
from stream_app.backends.cluster_metadata import TopicFacts
from stream_app.backends.kafka_access import access, denied_hint
from stream_app.backends.ports import ViewError
from stream_app.backends.redis import FAILURES, KEYS_PER_CALL, RedisView, connect_by, hash_tag
from stream_app.core.effects import Position, decode_position
from stream_app.settings import Settings

#: Per partition and request: an audit reads everything once, in large steps.
_FETCH_BYTES: Final = 8 * 1024 * 1024

#: A read that brings nothing for this long will not finish: the partition's leader is gone.
_PROGRESS_S_MAX: Final = 30.0

#: Of one Redis call: an audit is in no hurry.
_REDIS_TIMEOUT_MS: Final = 10_000


class NotPossibleError(Exception):
    """The audit could not be made; the text says why, in one line, and what to do."""


class Span(NamedTuple):
    """The first kept and the next offset of a partition."""

    start: int
    end: int


class KafkaReading:
    """Reads single partitions from here to there. An async context manager; NotPossibleError when Kafka is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            **access(settings),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            check_crcs=settings.check_crcs,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )

    async def __aenter__(self) -> Self:
        try:
            with quiet("aiokafka"):
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._consumer.stop()
            raise NotPossibleError(
                f"Kafka at {self._settings.kafka_bootstrap} does not answer ({_one_line(error)}); is it running, and "
                "is --kafka-bootstrap right?"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def topics(self) -> dict[str, TopicFacts]:
        """Every topic of the deployment, by full name."""
        try:
            return await topic_facts(self._settings)
        except KafkaUnreachableError as error:
            raise NotPossibleError(str(error)) from None

    async def spans(self, topic: str, partitions: int) -> dict[int, Span]:
        """First kept and next offset of each partition."""
        places = [TopicPartition(topic, number) for number in range(partitions)]
        with _kafka_errors(f"reading the offsets of {topic}"):
            starts = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        return {place.partition: Span(starts[place], ends[place]) for place in places}

    async def committed(self, topics: Sequence[str], partitions: int) -> dict[TopicPartition, tuple[int, str]]:
        """Offset and metadata that the workers' group has committed; −1 without one."""
        places = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        admin = AIOKafkaAdminClient(**access(self._settings))
        with _kafka_errors("reading the committed offsets"):
            await admin.start()
            try:
                stored = await admin.list_consumer_group_offsets(self._settings.group_id, partitions=places)
            finally:
                await admin.close()
        if not all(place in stored for place in places):
            raise NotPossibleError("the group's coordinator is not ready; try again in a few seconds")
        return {place: (stored[place].offset, stored[place].metadata or "") for place in places}

    async def records(self, topic: str, partition: int, span: Span) -> AsyncIterator[ConsumerRecord[Any, Any]]:
        """The committed records of a span, in offset order."""
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, span.start)
        progress = time.monotonic()
        reached = span.start
        # By position: transaction markers and compaction leave offsets without records.
        while reached < span.end:
            with _kafka_errors(f"reading {topic}-{partition}"):
                found = await self._consumer.getmany(timeout_ms=500)
                position = await self._consumer.position(place)
            for records in found.values():
                for record in records:
                    if record.offset < span.end:
                        yield record
            if position > reached:
                reached, progress = position, time.monotonic()
            elif time.monotonic() - progress > _PROGRESS_S_MAX:
                raise NotPossibleError(
                    f"{topic}-{partition} stands still at offset {reached} of {span.end} for {_PROGRESS_S_MAX:g} s: is "
                    "a transaction open, or a broker away?"
                )


class ViewReading:
    """Reads the view in Redis. An async context manager; NotPossibleError when Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._client: Redis = connect_by(settings, timeout_ms=_REDIS_TIMEOUT_MS)
        self._prefix = settings.namespace
        self._view = RedisView(self._client, prefix=self._prefix, ttl_ms=settings.history_ttl_ms)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def position(self, partition: int) -> Position | None:
        """What the view says how far it is; None if it says nothing."""
        with _redis_errors():
            return decode_position(await self._client.get(f"{hash_tag(self._prefix, partition)}:position"))

    async def deadlines(self, partition: int) -> dict[str, int]:
        """Visitor → deadline of those with an open session."""
        with _redis_errors():
            return await self._view.open_visitors(partition)

    async def blobs(self, partition: int, visitors: Sequence[str]) -> AsyncIterator[tuple[Sequence[str], list[Any]]]:
        """The visitors' blobs, in chunks."""
        for start in range(0, len(visitors), KEYS_PER_CALL):
            chunk = visitors[start : start + KEYS_PER_CALL]
            with _redis_errors():
                _, blobs = await self._view.load(partition, chunk)
            yield chunk, blobs

    async def visitors(self, partition: int) -> list[str]:
        """Everybody who has a blob in the view."""
        tag = f"{hash_tag(self._prefix, partition)}:v:"
        with _redis_errors():
            keys = [key async for key in self._client.scan_iter(match=f"{tag}*", count=KEYS_PER_CALL)]
        return sorted({key.decode(errors="backslashreplace").removeprefix(tag) for key in keys})


class _Translated:
    """Turns a client's errors into NotPossibleError."""

    def __init__(self, what: str, hint: str, kinds: tuple[type[Exception], ...]) -> None:
        self._what, self._hint, self._kinds = what, hint, kinds

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, self._kinds):
            hint = denied_hint(error) or f"; {self._hint}"
            raise NotPossibleError(f"{self._what}: {_one_line(error)}{hint}") from None


def _kafka_errors(what: str) -> _Translated:
    return _Translated(what, "is Kafka running?", (KafkaError, OSError, TimeoutError, AssertionError))


def _redis_errors() -> _Translated:
    hint = "is Redis running, and is --redis-url right?"
    return _Translated("Redis does not answer", hint, (ViewError, *FAILURES))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

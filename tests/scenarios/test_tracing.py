"""A trace that an event brings along goes on in its score's record, and what lies between is a span."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from stream_app import topics
from stream_app.admin import create_topics
from stream_app.core.events import Event
from stream_app.observe import Observer
from stream_app.settings import Settings, load
from stream_app.tracing import Tracing
from stream_app.worker import Worker
from tests.support.fixtures import Names, Servers

T0 = 1_700_000_000_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """What was exported."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    """To memory instead of over the net."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider.get_tracer("test"))


def event(number: int) -> bytes:
    return msgspec.json.encode(
        Event(
            event_id=f"e{number}", event_type="view_item", visitor_id=f"v{number}", event_time=T0 + number, item_id="i1"
        )
    )


async def scored(settings: Settings, count: int) -> dict[str, dict[str, str]]:
    """Event id → the headers of its score's record."""
    place = settings.topic(topics.SCORES)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        check_crcs=settings.check_crcs,
    )
    found: dict[str, dict[str, str]] = {}
    async with consumer, asyncio.timeout(60):
        consumer.assign([TopicPartition(place, partition) for partition in range(settings.topic_partitions)])
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    event_id = msgspec.json.decode(record.value)["event_id"]
                    found[event_id] = {name: value.decode() for name, value in record.headers}
    return found


@pytest.mark.parametrize("engine", ["auto", "python"])
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_a_traced_event_s_score_carries_its_trace_on(
    servers: Servers, names: Names, spans: InMemorySpanExporter, tracing: Tracing, guarantee: str, engine: str
) -> None:
    if guarantee == "exactly_once" and servers.kind == "embedded":
        pytest.skip("the embedded Kafka has no transactions")
    settings = load(
        flags={
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": servers.redis_url,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "check_crcs": servers.kind != "embedded",
            "processing_guarantee": guarantee,
            "engine": engine,
        }
    )
    await create_topics(settings)
    worker = Worker(settings, Observer(CollectorRegistry()), tracing=tracing)
    running = asyncio.create_task(worker.run())
    try:
        carried = {1: SAMPLED, 3: NOT_SAMPLED}
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
            for number in range(5):
                traced = number in carried
                headers = [("traceparent", carried[number].encode()), ("tracestate", b"shop=1")] if traced else None
                await producer.send_and_wait(
                    settings.topic(topics.EVENTS),
                    event(number),
                    key=f"v{number}".encode(),
                    headers=headers,
                )
        found = await scored(settings, 5)
    finally:
        worker.stop()
        await running
    assert [found[f"e{number}"] for number in (0, 2, 4)] == [{}, {}, {}]
    [span] = spans.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert found["e1"] == {"traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01", "tracestate": "shop=1"}
    assert found["e3"]["traceparent"].startswith(f"00-{TRACE}-")
    assert found["e3"]["traceparent"].endswith("-00")
    assert span.attributes is not None
    assert span.attributes["messaging.destination.name"] == settings.topic(topics.EVENTS)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time > span.start_time


def test_a_batch_that_fails_ends_its_spans_as_failed(spans: InMemorySpanExporter, tracing: Tracing) -> None:
    class Record:
        topic, partition, offset, timestamp = "events", 0, 7, T0
        key, value = b"v1", event(1)
        headers = (("traceparent", SAMPLED.encode()),)

    with pytest.raises(OSError, match="away"), tracing.batch([Record()]):
        raise OSError("away")
    [span] = spans.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].name == "exception"

"""Raw topics of Avro on a real Kafka with a real registry, taken in by real processes: what is broken, what is away."""

from __future__ import annotations

import asyncio
import datetime
import json
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.avro.wire import frame
from stream_app import topics
from stream_app.core.events import Event
from stream_app.schema_registry import SchemaRegistry
from stream_app.schemas.avro import as_avro, avro_schema
from stream_app.settings import Settings
from tests.ingest.raw import TIME_MS
from tests.ingest.running import Message, create, read, read_events, send, start, until_taken_in
from tests.producers.avro.written import KIOSK, SEGMENT, body
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers
from tests.support.registry import RealRegistry
from tests.support.servers import RealKafka

pytestmark = [pytest.mark.real_kafka]

_PARTITIONS = 2
_SECONDS = 60.0
_MOMENT = datetime.datetime.fromtimestamp(TIME_MS / 1000, datetime.UTC)
_MAPPING = """\
event_type = "what"
event_time = "at"
visitor_id = "who.cookie"
time = { unit = "seconds" }
types = { looked = "view_item" }
"""


@pytest.fixture
def servers_of_kafka(real_kafka: RealKafka) -> Servers:
    return Servers(real_kafka.bootstrap, "redis://127.0.0.1:1/0", "real")


async def registered(registry: RealRegistry, subject: str, schema: dict[str, Any]) -> int:
    async with SchemaRegistry(Settings(schema_registry_url=registry.url)) as asked:
        return await asked.register(f"{subject}-value", json.dumps(schema))


def canonical(number: int) -> dict[str, Any]:
    return as_avro(  # type: ignore[no-any-return]
        avro_schema(Event),
        {
            "event_id": f"e-{number}",
            "event_type": "view_item",
            "event_time": TIME_MS + number,
            "visitor_id": f"c-{number % 40}",
        },
    )


def call(number: int) -> dict[str, Any]:
    product = {"product_id": "tea", "price": Decimal("4.50"), "quantity": 2}
    return {
        "type": "track", "event": "Product Viewed", "messageId": f"m-{number}", "anonymousId": uuid.UUID(int=number),
        "timestamp": _MOMENT, "properties": {"products": [product]},
    }  # fmt: skip


def spread(values: list[bytes]) -> list[Message]:
    return [Message(value, key=b"k", partition=number % _PARTITIONS) for number, value in enumerate(values)]


async def until(what: str, process: Process, condition: Any) -> None:
    await asyncio.to_thread(wait_for, f"{process.name}: {what}", condition, seconds=_SECONDS)


async def test_topics_of_avro_are_taken_in_and_what_is_broken_says_why(
    registry: RealRegistry, servers_of_kafka: Servers, names: Names, tmp_path: Path
) -> None:
    events, kiosk = f"{names.topic_prefix}raw.events", f"{names.topic_prefix}raw.kiosk"
    (tmp_path / "kiosk.toml").write_text(_MAPPING)
    async with Deployment(servers_of_kafka, names) as deployment:
        settings = deployment.settings
        await create(settings, events, _PARTITIONS)
        await create(settings, kiosk, _PARTITIONS)
        ours = await registered(registry, events, avro_schema(Event))
        theirs = await registered(registry, f"{events}-segment", SEGMENT)
        of_kiosk = await registered(registry, kiosk, KIOSK)
        broken = [
            b'{"event_id":"e"}', frame(2_000_000_000, b"\x02"), frame(ours, b"\xff"), b"\x00\x01", b"",
            frame(theirs, body(SEGMENT, call(0))) + b"more",
        ]  # fmt: skip
        good = [frame(ours, body(avro_schema(Event), canonical(number))) for number in range(200)]
        good += [frame(theirs, body(SEGMENT, call(number))) for number in range(200, 300)]
        await send(settings, events, spread([*broken[:3], *good, *broken[3:]]))
        looks = [{"what": "looked", "at": TIME_MS / 1000 + n, "who": {"cookie": f"k-{n}"}} for n in range(20)]
        await send(settings, kiosk, spread([frame(of_kiosk, body(KIOSK, look)) for look in looks]))
        avro = ("--format", "avro", "--schema-registry-url", registry.url)
        first = start(deployment, events, *avro, logs=tmp_path)
        second = start(deployment, kiosk, *avro, "--mapping", str(tmp_path / "kiosk.toml"), logs=tmp_path)
        for topic in (events, kiosk):
            await until_taken_in(settings, topic)
        await until("told", first, lambda: first.metric("intent_ingest_events_total") == 300)
        found = Counter((event["visitor_id"], event["event_id"]) for _, event in await read_events(settings))
        assert found == Counter(
            [(f"c-{number % 40}", f"e-{number}") for number in range(200)]
            + [(str(uuid.UUID(int=number)), f"m-{number}") for number in range(200, 300)]
            + [key for key in found if key[0].startswith("k-")]
        )
        assert sum(visitor.startswith("k-") for visitor, _ in found) == 20
        letters = await read(settings, topics.DEAD_LETTERS)
        assert Counter(letter.value for letter in letters) == Counter(broken)
        told = {letter.value: (letter.headers["reason"], letter.headers["detail"].decode()) for letter in letters}
        for value, reason, words in (
            (broken[0], b"not_avro", "as JSON has, expected a zero byte, the schema's number in 4 bytes"),
            (broken[1], b"unknown_schema", "schema 2000000000, which the registry does not know"),
            (broken[2], b"not_avro", "got bytes that are no stream_app.Event"),
            (broken[3], b"not_avro", "got 2 bytes"),
            (broken[4], b"empty_value", "format avro"),
            (broken[5], b"not_avro", "got 4 bytes behind a shop.Track"),
        ):
            assert told[value][0] == reason
            assert words in told[value][1]
        assert first.metric("intent_ingest_schemas_total", outcome="found") == 2
        assert first.metric("intent_ingest_schemas_total", outcome="unknown") == 1
        assert f"ingest_schema id={ours} what=stream_app.Event" in first.said()
        assert second.metric("intent_ingest_events_total") == 20
        assert [process.terminate() for process in (first, second)] == [0, 0]
        assert "Traceback" not in deployment.said()


async def test_a_registry_that_dies_in_mid_stream_is_waited_for_and_nothing_is_lost(
    registry: RealRegistry, servers_of_kafka: Servers, names: Names, tmp_path: Path
) -> None:
    topic = f"{names.topic_prefix}raw"
    schema = avro_schema(Event)
    grown = {**schema, "fields": [*schema["fields"], {"name": "shelf", "type": ["null", "string"], "default": None}]}
    async with Deployment(servers_of_kafka, names) as deployment:
        settings = deployment.settings
        await create(settings, topic, _PARTITIONS)
        first, second = await registered(registry, topic, schema), await registered(registry, topic, grown)
        process = start(
            deployment, topic, "--format", "avro", "--schema-registry-url", registry.url,
            logs=tmp_path, batch_records_max=50,
        )  # fmt: skip
        await send(settings, topic, spread([frame(first, body(schema, canonical(n))) for n in range(300)]))
        await until_taken_in(settings, topic)
        registry.kill()
        try:
            # What is known goes on; what is new waits, behind it, and is no dead letter.
            await send(settings, topic, spread([frame(first, body(schema, canonical(n))) for n in range(300, 400)]))
            await until_taken_in(settings, topic)
            new = [frame(second, body(grown, {**canonical(n), "shelf": "a"})) for n in range(400, 600)]
            await send(settings, topic, spread(new))
            await until("waits", process, lambda: "the schema registry at" in process.ready()[1])
            assert process.ready()[0] is False
            assert process.get("/healthz")[0] == 200
        finally:
            registry.restart()
        await until_taken_in(settings, topic)
        await until("ready", process, lambda: process.ready()[0])
        found = Counter(event["event_id"] for _, event in await read_events(settings))
        assert found == Counter(f"e-{number}" for number in range(600))
        assert await read(settings, topics.DEAD_LETTERS) == []
        assert process.metric("intent_ingest_schemas_total", outcome="away") > 0
        said = process.said()
        assert "schema_registry_error" in said
        assert 'back server="schema registry"' in said
        assert process.terminate() == 0
        assert "Traceback" not in process.said()

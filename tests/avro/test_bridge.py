"""The example that writes our records as Avro: killed in mid-stream, on real servers, each record is there to read."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from producers.avro.decoder import Decoder
from producers.avro.wire import framed
from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.core.codec import Rejected
from stream_app.schema_registry import SchemaRegistry
from stream_app.settings import Settings
from tests.ingest.running import Message, create, read, send
from tests.scenarios.process import Process
from tests.support.fixtures import Names
from tests.support.registry import RealRegistry
from tests.support.servers import RealKafka

pytestmark = [pytest.mark.real_kafka, pytest.mark.long]

_BRIDGE = Path(__file__).parents[2] / "examples" / "avro_bridge" / "bridge.py"
_RECORDS = 4_000
_SECONDS = 60.0


def score(number: int) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}", "visitor_id": f"v-{number % 50}", "session_id": "s", "event_time": number,
        "event_type": "view_item", "events": 1, "score": 0.25, "band": "on_the_fence", "model": "newton",
        "model_version": 1, "model_updates": 2, "cold": False, "late": False, "scored_at": number, "watermark": -1,
        "reasons": [["cart", 1.5], ["gap", -0.5]],
    }  # fmt: skip


async def test_each_record_is_there_as_avro_at_least_once_and_in_order(
    registry: RealRegistry, real_kafka: RealKafka, names: Names, tmp_path: Path
) -> None:
    settings = Settings(kafka_bootstrap=real_kafka.bootstrap, topic_prefix=names.topic_prefix)
    for topic in (topics.SCORES, topics.OFFERS):
        for name in (settings.topic(topic), f"{settings.topic(topic)}.avro"):
            await create(settings, name, 2)
    values = [json.dumps(score(number)).encode() for number in range(_RECORDS)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
    environment |= {
        "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
        "STREAM_APP_SCHEMA_REGISTRY_URL": registry.url, "GROUP": names.group_id,
        "PYTHONPATH": str(_BRIDGE.parents[2]),
    }  # fmt: skip
    source = settings.topic(topics.SCORES)
    await send(settings, source, [Message(value, key=b"v", partition=n % 2) for n, value in enumerate(values)])

    async def written() -> list[tuple[int, bytes]]:
        return [(one.partition, one.value) for one in await read(settings, f"{topics.SCORES}.avro")]

    processes = []
    try:
        for number in range(2):
            process = Process(
                f"bridge {number}", [sys.executable, str(_BRIDGE)], environment,
                port=free_port(), log=tmp_path / f"bridge-{number}.log",
            )  # fmt: skip
            processes.append(process)
            if number == 0:
                async with asyncio.timeout(_SECONDS):
                    while not await written():  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                process.kill()
        async with asyncio.timeout(_SECONDS):
            while len({value for _, value in await written()}) < _RECORDS:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert processes[1].terminate() == 0, processes[1].said()
    finally:
        for process in processes:
            if process.exit_code is None:
                process.kill()
    found = await written()
    parts = [framed(value) for _, value in found]
    numbers = {part.schema for part in parts if not isinstance(part, Rejected)}
    async with SchemaRegistry(Settings(schema_registry_url=registry.url)) as asked:
        schema = await asked.schema(numbers.pop())
    assert schema is not None
    assert not numbers
    decode = Decoder(schema)
    for partition in (0, 1):
        told = [decode(part.body) for (at, _), part in zip(found, parts, strict=True) if at == partition]  # type: ignore[union-attr]
        first = list({record["event_id"]: record for record in told}.values())
        expected = [score(number) for number in range(_RECORDS) if number % 2 == partition]
        for each in expected:
            each["reasons"] = [{"id": name, "contribution": value} for name, value in each["reasons"]]
        assert [{name: record[name] for name in each} for record, each in zip(first, expected, strict=True)] == expected

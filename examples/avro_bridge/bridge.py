"""Scores and offers as Avro, for subscribers who read nothing else: each JSON topic → a topic of yours, `….avro`."""

import asyncio
import contextlib
import io
import json
import os
import signal

import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CommitFailedError

from producers.avro.wire import frame
from stream_app.backends.kafka_access import access
from stream_app.schema_registry import SchemaRegistry
from stream_app.schemas.avro import as_avro, avro_records
from stream_app.settings import load

SETTINGS = load()  # STREAM_APP_KAFKA_BOOTSTRAP, STREAM_APP_SCHEMA_REGISTRY_URL, …
RECORDS = {
    SETTINGS.topic(record.topic): record.schema
    for record in avro_records()
    if record.topic in ("intent.scores.v1", "discount.offers.v1")
}


async def main() -> None:
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    async with SchemaRegistry(SETTINGS) as registry:
        # As `stream-app schemas register` has: the same schema has the same number.
        numbers = {
            topic: await registry.register(f"{topic}.avro-value", json.dumps(schema))
            for topic, schema in RECORDS.items()
        }
    parsed = {topic: fastavro.parse_schema(json.loads(json.dumps(schema))) for topic, schema in RECORDS.items()}
    consumer = AIOKafkaConsumer(
        *RECORDS,
        **access(SETTINGS),
        group_id=os.environ.get("GROUP", "example-avro-bridge"),
        isolation_level="read_committed",  # else records of transactions that were given up come, too
        enable_auto_commit=False,  # that would commit what is not acknowledged yet
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(**access(SETTINGS), enable_idempotence=True, acks="all")
    async with consumer, producer:
        while not stopping.is_set():
            found = await consumer.getmany(timeout_ms=500, max_records=500)
            sent = []
            for place, records in found.items():
                for record in records:
                    body = io.BytesIO()
                    datum = as_avro(RECORDS[place.topic], json.loads(record.value))
                    fastavro.schemaless_writer(body, parsed[place.topic], datum)
                    value = frame(numbers[place.topic], body.getvalue())
                    # The partition of the source: a visitor's records stay together, in their order.
                    sent.append(
                        await producer.send(f"{place.topic}.avro", value, key=record.key, partition=place.partition)
                    )
            await asyncio.gather(*sent)
            if found:
                # After the last acknowledgement: a crash repeats a batch, under the same ids, and loses none. And where
                # another member has been given a partition meanwhile, that one sends it again.
                with contextlib.suppress(CommitFailedError):
                    await consumer.commit({place: records[-1].offset + 1 for place, records in found.items()})


asyncio.run(main())

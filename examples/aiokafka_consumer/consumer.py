"""Scores and offers, read by a plain consumer: only what was committed, each once, none lost."""

import asyncio
import contextlib
import json
import os
import signal
import ssl

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError

PREFIX = os.environ.get("STREAM_APP_TOPIC_PREFIX", "")
SCORES, OFFERS = PREFIX + "intent.scores.v1", PREFIX + "discount.offers.v1"
#: A secured Kafka (docs/security.md) knows us by name, we know it by its certificate. In the clear there is no user.
SECURED = {
    "security_protocol": "SASL_SSL",
    "ssl_context": ssl.create_default_context(cafile=os.environ.get("STREAM_APP_KAFKA_CA_FILE") or None),
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": os.environ.get("STREAM_APP_KAFKA_USERNAME"),
    "sasl_plain_password": os.environ.get("STREAM_APP_KAFKA_PASSWORD"),
}
#: The field that names a record; a repetition has the same.
ID = {SCORES: "event_id", OFFERS: "offer_id"}
#: A repetition follows a crash, a batch or two later: older ids may be forgotten.
REMEMBERED = 100_000


def act(topic: str, record: dict) -> None:
    """Yours. Take the fields you know: more will be added (docs/records.md). An exception ends the program."""
    print(json.dumps({"topic": topic, "id": record[ID[topic]], "visitor_id": record["visitor_id"]}), flush=True)


async def main() -> None:
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    consumer = AIOKafkaConsumer(
        SCORES, OFFERS,
        bootstrap_servers=os.environ.get("STREAM_APP_KAFKA_BOOTSTRAP", "localhost:9092"),
        **(SECURED if SECURED["sasl_plain_username"] else {}),
        group_id=os.environ.get("GROUP", "example-aiokafka"),
        isolation_level="read_committed",  # else records of transactions that were given up come, too
        enable_auto_commit=False,  # that would commit what is still in your hands
        auto_offset_reset="earliest",
        # A visitor's scores and offers, on equal partitions of two topics, come to the same process.
        partition_assignment_strategy=[RangePartitionAssignor],
    )  # fmt: skip
    # Gone after a restart: what must never happen twice has to be idempotent beyond this.
    seen: dict[tuple[str, str, str], None] = {}
    async with consumer:
        while not stopping.is_set():
            found = await consumer.getmany(timeout_ms=500, max_records=500)
            for records in found.values():
                for record in records:
                    value = json.loads(record.value)
                    name = record.topic, value["visitor_id"], value[ID[record.topic]]
                    if name not in seen:
                        act(record.topic, value)
                        seen[name] = None
                        if len(seen) > REMEMBERED:
                            del seen[next(iter(seen))]
            if found:
                # After the work: what a crash leaves undone is read again. And where another member has been given a
                # partition meanwhile, that one reads it again.
                with contextlib.suppress(CommitFailedError):
                    await consumer.commit({place: records[-1].offset + 1 for place, records in found.items()})


asyncio.run(main())

"""The floor: each record read and written to one other topic, in batches; no decoding, no state, no model."""

from __future__ import annotations

import asyncio
import signal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contenders.contract import EVENTS, PARTITIONS, SCORES, Contract, read_arguments


async def copy(contract: Contract) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=contract.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=contract.bootstrap, acks="all", max_batch_size=900_000, compression_type="zstd"
    )
    await consumer.start()
    await producer.start()
    consumer.assign([TopicPartition(contract.topic(EVENTS), p) for p in range(PARTITIONS)])
    target = contract.topic(SCORES)
    try:
        while True:
            sent = []
            for place, records in (await consumer.getmany(timeout_ms=200, max_records=4000)).items():
                batch = producer.create_batch()
                for record in records:
                    if batch.append(key=record.key, value=record.value, timestamp=record.timestamp) is None:
                        sent.append(await producer.send_batch(batch, target, partition=place.partition))
                        batch = producer.create_batch()
                        batch.append(key=record.key, value=record.value, timestamp=record.timestamp)
                sent.append(await producer.send_batch(batch, target, partition=place.partition))
            await asyncio.gather(*sent)
    finally:
        await consumer.stop()
        await producer.stop()


async def main() -> None:
    copying = asyncio.create_task(copy(read_arguments()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, copying.cancel)
    await asyncio.wait([copying])
    if not copying.cancelled():
        copying.result()


if __name__ == "__main__":
    asyncio.run(main())

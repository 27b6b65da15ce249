"""The model as its newest snapshot has it, read once: for commands that ask what it would say."""

from __future__ import annotations

import asyncio
from typing import Final

from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import LogError
from stream_app.backends.training_log import SnapshotTail
from stream_app.core.following import follow
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import RefusedError, SnapshotReader
from stream_app.settings import Settings

#: For the whole topic, which is compacted: some ten megabytes in a large shop. A person is waiting.
_READ_S_MAX: Final = 30.0


async def newest_model(settings: Settings) -> ServingModel:
    """What a scorer would serve now: version 0 and cold if no snapshot was published yet.

    Raises
    ------
    LogError
        If Kafka does not answer.
    RefusedError
        If there are snapshots, and none can be used.
    """
    model = ServingModel(settings.model, base_rate=settings.base_rate)
    secret, *former = settings.snapshot_keys
    reader = SnapshotReader(secret=secret, former=former)
    tail = SnapshotTail(settings, KafkaClients(settings))
    refused: RefusedError | None = None
    try:
        async with asyncio.timeout(_READ_S_MAX):
            await tail.start()
            end = await tail.end()
            while await tail.position() < end:
                for key, value, signature in await tail.poll(timeout_ms=200):
                    try:
                        follow(model, reader, key, value, signature)
                    except RefusedError as error:
                        refused = error
    except TimeoutError:
        raise LogError(f"the snapshots were not read within {_READ_S_MAX:.0f} s") from None
    finally:
        await tail.stop()
    if refused is not None and not model.version:
        raise refused
    return model

"""Follows the model's snapshots for a worker: read to the end once, then switch to each new head as it comes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import LogError
from stream_app.backends.training_log import SnapshotTail
from stream_app.core.following import follow
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import RefusedError, SnapshotReader
from stream_app.observe import Observer
from stream_app.settings import Settings

#: Pause before the topic is read again after Kafka failed.
_RETRY_S = 1.0


class ModelFollower:
    """Keeps `model` at the newest good snapshot. A refused one is counted and said aloud; the former one stays."""

    def __init__(self, settings: Settings, observer: Observer, clients: KafkaClients) -> None:
        self.model = ServingModel(settings.model, base_rate=settings.base_rate)
        self.caught_up = asyncio.Event()
        #: what the newest snapshot says was the last alarm of drift; None before the first
        self.alarm: Any = None
        #: held by who scores with the model, and by who changes it
        self.in_use = asyncio.Lock()
        self._settings = settings
        self._observer = observer
        self._clients = clients

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            tail = SnapshotTail(self._settings, self._clients)
            try:
                await tail.start()
                await self._follow(tail)
            except LogError as error:
                self._observer.kafka_error("snapshots", error)
                await asyncio.sleep(_RETRY_S)
            finally:
                await tail.stop()

    async def _follow(self, tail: SnapshotTail) -> None:
        # A new reader and table contents that are written again: reading from the start twice changes nothing.
        secret, *former = self._settings.snapshot_keys
        reader = SnapshotReader(secret=secret, former=former)
        end = await tail.end()
        while True:
            if records := await tail.poll(timeout_ms=200):
                async with self.in_use:
                    for key, value, signature in records:
                        self._read(reader, key, value, signature)
            if not self.caught_up.is_set() and await tail.position() >= end:
                self.caught_up.set()

    def _read(self, reader: SnapshotReader, key: bytes | None, value: bytes | None, signature: bytes | None) -> None:
        try:
            found = follow(self.model, reader, key, value, signature)
        except RefusedError as error:
            self._observer.snapshot_refused(error.reason, str(error))
            return
        if found is not None:
            self.alarm = next(reversed(found.head.state.get("drift", {}).get("alarms", ())), None)
            self._observer.snapshot_followed(
                found.head.version,
                max(0.0, time.time() - found.head.published_at / 1000),
                len(value or b""),
                self.model.updates,
                self.model.cold,
            )

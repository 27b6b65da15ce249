"""The loop of one raw partition: take over, then poll, adapt, wait for older ones, write. Failures: docs/ingest.md.

Nothing is kept but what was read and not written yet, so whatever fails, it is dropped and the partition taken over
again: there is one way to begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from producers.door import Door
from producers.formats import Format
from stream_app.backends.ports import FencedError, LogError, UnusableError
from stream_app.beside import beside
from stream_app.ingest.adapting import Adapted, RawRecord, adapt, gather, in_order
from stream_app.ingest.alignment import Alignment
from stream_app.ingest.observe import IngestObserver
from stream_app.ingest.raw_log import RawLog
from stream_app.partition import BACKOFF_S_MAX, BACKOFF_S_MIN, POLL_MS
from stream_app.schema_registry import RegistryError


class BatchReader(Protocol):
    """Finds out what it takes to read a batch, as `avro_records.py` does."""

    async def format_of(self, records: Sequence[RawRecord]) -> Format:
        """The format by which these are read. Raises RegistryError if that cannot be told now: ask again."""

    async def close(self) -> None:
        """Give up what it holds."""


class Shared(NamedTuple):
    """What all partitions of a process use: `partition_of` a visitor's key is that of the events topic."""

    format: Format
    door: Door
    alignment: Alignment
    observer: IngestObserver
    partition_of: Callable[[bytes], int]
    records_max: int
    #: how long to wait after having been fenced, in seconds
    fenced_pause_s: float
    #: who gives each batch its format, where the records alone do not say what is in them
    reader: BatchReader | None = None


class RawPartition:
    """One owned partition. `run` ends when `stop` was called, or when a person must act.

    Attributes
    ----------
    state, problem
        `restoring`, `ready`, `fenced` or `stopped`, and why.
    caught_up
        Whether it has come to its end once since it was taken over.
    progress, failing_since
        Monotonic time, in seconds, of the last look or batch; since when nothing has worked, None if the last did.
    """

    def __init__(self, number: int, log: RawLog, shared: Shared) -> None:
        self.number, self.log = number, log
        self.state, self.problem, self.caught_up = "restoring", "", False
        self.progress = time.monotonic()
        self.failing_since: float | None = None
        self._shared = shared
        self._stopping = asyncio.Event()
        #: why the schema registry is waited for, and since when (monotonic, in seconds)
        self._without_schemas, self._without_since = "", 0.0
        self._read: Sequence[RawRecord] = ()
        self._adapted: list[Adapted] = []
        #: by which times these stand in line, never falling
        self._times: list[int] = []

    def stop(self) -> None:
        """Finish the batch that is being written, then end."""
        self._stopping.set()

    def lag(self) -> int:
        """Records that were not written yet; −1 while that is not known."""
        unread = self.log.lag()
        return unread if unread < 0 else unread + len(self._read) + len(self._adapted)

    async def run(self) -> None:
        """Own the partition until stopped."""
        try:
            await self._own()
        finally:
            self._shared.alignment.nothing(self.number)
            await asyncio.shield(self.log.close())

    async def _own(self) -> None:
        pause = BACKOFF_S_MIN
        while not self._stopping.is_set():
            started = self.progress = time.monotonic()
            self._set_state("restoring")
            try:
                await self._take_over()
                while not self._stopping.is_set():
                    await self._step()
            except LogError as error:
                self._shared.observer.kafka_error("ingest", error)
                self.failing_since = self.failing_since or time.monotonic()
            except RegistryError as error:
                # What was read is read again: no heartbeat is missed by polling, whatever the wait.
                self._shared.observer.registry_error(self.number, error)
                self._wait_for_schemas(str(error))
            except FencedError as error:
                # Long enough for the group to tell us if it has given the partition to another; else it is still ours.
                self._shared.observer.fenced(self.number, str(error))
                self._set_state("fenced", str(error))
                self._shared.alignment.nothing(self.number)
                await self._sleep(self._shared.fenced_pause_s)
            except UnusableError as error:
                self._set_state("stopped", str(error))
                self._shared.observer.unusable(self.number, str(error))
                return
            if self._stopping.is_set():
                break
            pause = BACKOFF_S_MIN if time.monotonic() - started > BACKOFF_S_MAX else min(2 * pause, BACKOFF_S_MAX)
            await self._sleep(pause)
        self._set_state("stopped", "given back")

    async def _take_over(self) -> None:
        self._read, self._adapted, self._times = (), [], []
        self.caught_up = False
        self._shared.alignment.unknown(self.number)
        await self.log.take_over()
        self._set_state("ready")

    async def _step(self) -> None:
        """One batch, or a look for records, or a wait for a partition whose events are older."""
        if not self._adapted:
            await self._look()
        if self._adapted:
            horizon_ms = self._shared.alignment.horizon_ms(self.number)
            if ready := bisect_right(self._times, horizon_ms):
                await self._write(ready)
            else:
                await self._wait()
        self.progress = time.monotonic()
        self._shared.observer.lag(self.number, self.lag(), -1, int(time.time() * 1000))

    async def _look(self) -> None:
        """Adapt what was read, or read more."""
        shared = self._shared
        if not self._read:
            self._read = await self._poll()
        if not self._read:
            if self.log.lag() == 0:
                self.caught_up = True
                self.failing_since = None
                shared.alignment.nothing(self.number)
            return
        format = await self._format()
        started = time.perf_counter()
        now_ms = int(time.time() * 1000)
        self._adapted = await beside(len(self._read), adapt, self._read, format, shared.door, now_ms=now_ms)
        self._read = self._read[len(self._adapted) :]
        # Never falling: what stands behind an event of a younger time goes with it at the earliest.
        self._times = list(accumulate(in_order(self._adapted), max))
        shared.alignment.at(self.number, self._times[0])
        shared.observer.stage("adapt", time.perf_counter() - started)

    async def _format(self) -> Format:
        """That of what was read; RegistryError while its schemas cannot be had."""
        if self._shared.reader is None:
            return self._shared.format
        format = await self._shared.reader.format_of(self._read)
        if self._without_schemas:
            waited = time.monotonic() - self._without_since
            self._shared.observer.back("schema registry", waited, partition=self.number)
            self._without_schemas = self.problem = ""
        return format

    def _wait_for_schemas(self, why: str) -> None:
        if not self._without_schemas:
            self._without_since = time.monotonic()
        self._without_schemas = why
        self.failing_since = self.failing_since or self._without_since

    async def _write(self, ready: int) -> None:
        """Write the first of what was adapted."""
        shared, started = self._shared, time.perf_counter()
        batch = gather(self._adapted[:ready], partition_of=shared.partition_of)
        await self.log.write(batch)
        del self._adapted[:ready], self._times[:ready]
        self.failing_since = None
        self.caught_up = self.caught_up or 0 <= self.lag() <= shared.records_max
        shared.observer.stage("publish", time.perf_counter() - started)
        shared.observer.written(self.number, batch, topic=self.log.topic, now_ms=int(time.time() * 1000))
        if self._times:
            shared.alignment.at(self.number, self._times[0])
        elif self.lag() == 0:
            shared.alignment.nothing(self.number)
        else:
            shared.alignment.unknown(self.number)

    async def _poll(self) -> Sequence[RawRecord]:
        """New records; none as soon as we are to stop: the poll waits for the end of a rebalance, and that for us."""
        polling: asyncio.Future[Any] = asyncio.ensure_future(
            self.log.poll(timeout_ms=POLL_MS, records_max=self._shared.records_max)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # What an unfinished one takes off the consumer is read again from the commit, by the next owner.
            return polling.result() if polling.done() else ()
        finally:
            polling.cancel()
            stopping.cancel()
            await asyncio.gather(polling, stopping, return_exceptions=True)

    async def _wait(self) -> None:
        await self._shared.alignment.moved(POLL_MS / 1000)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _set_state(self, name: str, problem: str = "") -> None:
        self.state, self.problem = name, problem or self._without_schemas
        self._shared.observer.partition_state(self.number, name)

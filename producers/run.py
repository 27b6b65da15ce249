"""One command's run: Kafka opened, signals heeded, everything closed. Where producers meet the process they live in."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from producers.sink import KafkaSink, SinkError
from producers.summary import Summary
from stream_app.backends.kafka_access import security
from stream_app.settings import Settings

#: What to do with an open sink until `stop` is set.
Job: TypeAlias = Callable[[KafkaSink, asyncio.Event], Awaitable[Summary]]

#: How long a stopped run may take to deliver what it holds: with the 3 s that closing may take it stays
#: below the 10 s after which a supervisor kills.
_STOP_SECONDS_MAX: Final = 6.0


async def run_job(job: Job, settings: Settings) -> Summary:
    """Run a job against the Kafka of the settings; Ctrl-C and SIGTERM stop it cleanly, a second one stops it at once.

    Raises
    ------
    SinkError
        If Kafka cannot be reached, a delivery fails, or a stopped run cannot deliver what it holds.
    """
    # What the client would log is said by our own errors, once and with what to do.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heed(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heed, number)
    try:
        return await _until_stopped(asyncio.create_task(_work(job, stop, settings)), stop)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _work(job: Job, stop: asyncio.Event, settings: Settings) -> Summary:
    async with KafkaSink(
        settings.kafka_bootstrap, topic_prefix=settings.topic_prefix, security=security(settings)
    ) as sink:
        return await job(sink, stop)


async def _until_stopped(working: asyncio.Task[Summary], stop: asyncio.Event) -> Summary:
    stopping = asyncio.create_task(stop.wait())
    both: set[asyncio.Task[Any]] = {working, stopping}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=_STOP_SECONDS_MAX if stop.is_set() else None)
        if working.done():
            return await working
        raise SinkError(f"Kafka did not take the last records within {_STOP_SECONDS_MAX:.0f} s of being stopped")
    finally:
        for task in both:
            task.cancel()
        await asyncio.wait(both)

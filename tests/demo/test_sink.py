"""The producer is held back when scoring lags, and lets go when it is stopped."""

from __future__ import annotations

import asyncio

from producers.memory_sink import MemorySink
from stream_app.core.codec import Rejected
from stream_app.core.events import CheckoutLabel, Event
from stream_app.demo.sink import HeldBackSink


def _event(n: int) -> Event:
    return Event(f"e{n}", "view_item", 1_750_000_000_000 + n, "v1")


async def test_no_event_passes_while_it_is_full_and_none_is_lost() -> None:
    memory, scored = MemorySink(), 0
    stop = asyncio.Event()
    sink = HeldBackSink(memory, is_full=lambda sent: sent - scored >= 10, stop=stop)

    async def send() -> None:
        for n in range(25):
            await sink.send_event(_event(n))

    sending = asyncio.create_task(send())
    await asyncio.sleep(0.05)
    assert memory.accepted == sink.events == 10
    scored = 8
    await asyncio.sleep(0.05)
    assert memory.accepted == 18
    stop.set()
    await sending
    assert memory.accepted == 25


async def test_labels_and_dead_letters_are_counted_apart_and_never_wait() -> None:
    memory = MemorySink()
    sink = HeldBackSink(memory, is_full=lambda sent: sent > 0, stop=asyncio.Event())
    await sink.send_event(_event(0))
    await sink.send_label(CheckoutLabel("v1", "o1", 1_750_000_000_000))
    await sink.send_dead_letter(b"x", Rejected("bad_row", "got x"), source="f", row=1)
    await sink.flush()
    assert (sink.events, sink.labels, sink.dead_letters, sink.delivered) == (1, 1, 1, 3)


async def test_a_rate_is_kept_on_average() -> None:
    sink = HeldBackSink(MemorySink(), is_full=lambda sent: False, stop=asyncio.Event(), rate=200.0)
    started = asyncio.get_running_loop().time()
    for n in range(41):
        await sink.send_event(_event(n))
    assert 0.15 < asyncio.get_running_loop().time() - started < 1.0

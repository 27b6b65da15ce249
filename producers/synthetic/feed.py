"""The shop on the wire: its deliveries paced by the wall clock and sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from producers.clock import Clock, SystemClock
from producers.pace import Pacer
from producers.sink import Sink
from producers.summary import Summary
from producers.synthetic.noise import Delivery, Ready
from stream_app.core.events import CheckoutLabel, Event

#: Called now and then with the events sent so far and the event time reached, in ms.
FeedProgress: TypeAlias = Callable[[int, int], None]

#: Events between two reports: a twentieth of a second at full speed.
_EVENTS_PER_REPORT: Final = 2_000
#: At low rates a report is due at least this often, in seconds.
_REPORT_SECONDS: Final = 0.25

#: The shop stops this short of the scorer's bound (24 h ahead of the wall clock), past which events are rejected.
_AHEAD_MS_MAX: Final = 12 * 3_600_000


async def feed(
    deliveries: Iterable[Delivery],
    sink: Sink,
    *,
    rate: float | None = 1_000.0,
    events: int | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    progress: FeedProgress | None = None,
) -> Summary:
    """Send what a shop delivers.

    Parameters
    ----------
    deliveries
        A `Shop`, one spoilt by `disturb`, or one in `ShopParts`.
    sink
        Where it goes; flushed before this returns.
    rate
        Events per second of wall-clock time, on a schedule fixed by the start; None is as fast as the sink takes them.
        Event time runs as fast as it must: the shop's visits per hour against this rate.
    events
        How many events to send, repeats included; labels and broken records come on top. None is without end.
    stop
        When set, the feed ends before the next delivery.
    clock
        Defaults to the real one.
    progress
        Told now and then how far the feed is.

    Raises
    ------
    SinkError
        If something could not be delivered.
    """
    stop, clock = stop or asyncio.Event(), clock or SystemClock()
    pacer = Pacer(clock, speed=rate, stop=stop)
    report = progress or _silent
    sent = rows = event_time = 0
    notes: list[str] = []
    start = reported = clock.monotonic()
    for delivery in deliveries if events != 0 else ():
        # An event's place in the stream is its timeline: number n is due n / rate seconds after the start.
        due = float(sent)
        await pacer.wait(due)
        if stop.is_set():
            break
        if isinstance(delivery, Event | Ready):
            assert isinstance(delivery.event_time, int)  # the shop's own
            event_time = delivery.event_time
            if event_time > clock.now_ms() + _AHEAD_MS_MAX:
                notes.append("the shop's time has reached tomorrow: start it earlier, or with more sessions per hour")
                break
            if isinstance(delivery, Ready):
                await sink.send_raw(delivery.value, key=delivery.visitor_id, due_ms=pacer.due_ms(due))
            else:
                await sink.send_event(delivery, due_ms=pacer.due_ms(due))
            sent += 1
            if sent % _EVENTS_PER_REPORT == 0 or clock.monotonic() - reported > _REPORT_SECONDS:
                reported = clock.monotonic()
                report(sent, event_time)
        elif isinstance(delivery, CheckoutLabel):
            await sink.send_label(delivery)
        else:
            await sink.send_raw(delivery.value, key=delivery.key)
        rows += 1
        if sent == events:
            break
    await sink.flush()
    report(sent, event_time)
    return Summary.of(
        source="synthetic shop",
        rows=rows,
        sent=sent,
        rejected={},
        seconds=clock.monotonic() - start,
        stopped=stop.is_set(),
        notes=[*notes, *pacer.notes()],
    )


def _silent(sent: int, event_time: int) -> None:
    """Report to nobody."""

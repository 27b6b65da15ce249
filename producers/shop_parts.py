"""A synthetic shop made by several processes, each with a share of its visitors, put together again in order of time.

Part k of n is a shop of its own with the whole one's catalogue and calendar, an n-th of its visits, and visitors and
randomness of its own: Poisson processes add up to one, so together they are as good a shop as one alone, though another
one. What they do depends on the seed and n alone. They send what they made, encoded, in windows of the shop's time; who
reads them waits for a window of each and sorts it, so that there is one order, one pace and one sender.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import msgspec

from producers.synthetic.noise import BrokenRecord, Delivery, Noise, Ready, disturb
from producers.synthetic.shop import Shop
from stream_app.core import codec
from stream_app.core.events import CheckoutLabel, Event

#: Events of a window, all parts together: enough that its own cost (a pipe's round trip, some 0.1 ms) vanishes, few
#: enough that a part's share of it, some 200 kB, is made in hundredths of a second.
_WINDOW_EVENTS: Final = 4_000
_EVENTS_PER_VISIT: Final = 4.5
_HOUR_MS: Final = 3_600_000

#: Windows put together that nobody has asked for yet: the parts go on meanwhile, and memory stays bounded.
_WINDOWS_AHEAD: Final = 4

_EVENT, _LABEL, _BROKEN = range(3)

#: Time of delivery, kind, visitor, bytes, and of a broken record the reason.
_Made = tuple[int, int, str, bytes, str]
_MADE: Final = msgspec.msgpack.Decoder(list[_Made])


class PartError(Exception):
    """A process that makes a part of the shop has ended."""


class ShopOrder(NamedTuple):
    """A shop to be made: the arguments of `Shop` but for `part`, and what spoils its stream."""

    arguments: dict[str, Any]
    noise: Noise

    def deliveries(self, part: int, parts: int) -> Iterator[Delivery]:
        """What one part delivers."""
        requests = self.arguments["requests"]
        if requests.change_events is not None:
            # Each part sees its own events alone.
            requests = requests._replace(change_events=max(1, requests.change_events // parts))
        shop = Shop(**{**self.arguments, "requests": requests}, part=(part, parts))
        return disturb(shop, self.noise, seed=shop.seed + (part << 32))


class ShopParts:
    """The shop by `parts` processes. Use it as a context manager; iterate once.

    Raises
    ------
    PartError
        While iterating, if one of them ends.
    """

    def __init__(self, order: ShopOrder, *, parts: int) -> None:
        self._order, self._parts = order, parts
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        self._windows: queue.Queue[list[_Made] | PartError] = queue.Queue(_WINDOWS_AHEAD)
        self._closed = threading.Event()
        self._reading = threading.Thread(target=self._read, name="shop parts", daemon=True)

    def __enter__(self) -> ShopParts:
        # Not forked: this process has threads and an event loop, of which a copy would have the locks alone.
        context = multiprocessing.get_context("spawn")
        for part in range(self._parts):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_make, args=(self._order, part, self._parts, theirs), daemon=True)
            process.start()
            theirs.close()  # else its end would not be told by an end of the pipe
            self._processes.append(process)
            self._pipes.append(ours)
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._reading.join()
        for pipe in self._pipes:
            pipe.close()

    def __iter__(self) -> Iterator[Delivery]:
        while True:
            window = self._windows.get()
            if isinstance(window, PartError):
                raise window
            for time, kind, visitor_id, value, reason in window:
                yield Ready(time, visitor_id, value) if kind == _EVENT else _delivery(kind, visitor_id, value, reason)

    def _read(self) -> None:
        """Put the parts' windows together, in a thread: to wait for a pipe holds nobody else up."""
        found: list[_Made] | PartError
        while not self._closed.is_set():
            try:
                found = [made for pipe in self._pipes for made in _MADE.decode(pipe.recv_bytes())]
                # By time, then by part: the sort is stable, and finds the runs that are sorted already.
                found.sort(key=_time_of)
            except (EOFError, OSError):
                found = PartError("a process that makes a part of the shop has ended; is there enough memory?")
            self._hand_over(found)
            if isinstance(found, PartError):
                return

    def _hand_over(self, found: list[_Made] | PartError) -> None:
        while not self._closed.is_set():
            try:
                self._windows.put(found, timeout=0.1)
                return
            except queue.Full:
                continue


def _make(order: ShopOrder, part: int, parts: int, pipe: Connection) -> None:
    """The process of one part: makes windows until nobody reads them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too; who reads says when it is over
    encode = msgspec.msgpack.Encoder().encode
    start_ms = int(order.arguments["start_ms"])
    per_hour = float(order.arguments["sessions_per_hour"]) * _EVENTS_PER_VISIT
    window_ms = max(1, int(_WINDOW_EVENTS / per_hour * _HOUR_MS))
    ends = start_ms + window_ms
    window: list[_Made] = []
    now = start_ms
    try:
        for delivery in order.deliveries(part, parts):
            # What is held back has an older time of its own: it is delivered at the shop's time, which never goes back.
            if isinstance(delivery, Event) and delivery.event_time > now:  # type: ignore[operator]  # the shop's own
                now = delivery.event_time  # type: ignore[assignment]
            while now >= ends:
                pipe.send_bytes(encode(window))
                window, ends = [], ends + window_ms
            window.append(_made(now, delivery))
    except BrokenPipeError:
        return


def _made(now: int, delivery: Delivery) -> _Made:
    if isinstance(delivery, Event):
        return now, _EVENT, delivery.visitor_id, codec.encode(delivery), ""
    if isinstance(delivery, CheckoutLabel):
        return now, _LABEL, delivery.visitor_id, codec.encode(delivery), ""
    assert isinstance(delivery, BrokenRecord)
    return now, _BROKEN, delivery.key, delivery.value, delivery.reason


def _delivery(kind: int, visitor_id: str, value: bytes, reason: str) -> Delivery:
    if kind == _LABEL:
        return msgspec.json.decode(value, type=CheckoutLabel)
    return BrokenRecord(visitor_id, value, reason)


def _time_of(made: _Made) -> int:
    return made[0]

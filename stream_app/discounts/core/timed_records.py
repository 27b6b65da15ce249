"""What closed sessions and training examples tell of time, from their bytes into a `Timing`.

A **closed session** tells its length, whether it bought, and the category last touched: the clock `age`. The length of
one that bought is taken for the time of its purchase, which is its last event but a page or two. One that a bound has
cut did not end, and is left out.

An **example** is a scored event with its outcome, and so tells of the pause before it: the clock `quiet`.

* The pause before an event ended with it, and its session bought later or did not, as the example's label says. It
  counts as often as the example does (`weight`): the examples of an episode are a uniform sample of its events.
* The first event of a session that does not buy stands for the pause that never ended: each such session has just one.
* What leads to a purchase event is that event's pause as well, told by its own example, whose label is about the next
  purchase. Further lines of an order come at once, and are no pause.
* What comes after a purchase event is not looked at; what comes after a checkout that only a label tells cannot be told
  from what comes before, and counts as pauses that lead to none, as it does for whoever decides then.
* A correction takes back what was counted, as of the time when it was told, and counts the other outcome.

A pause counts for the category of the event that ended it or, if that has none, for the one first seen last in the
episode. Numbers are as features tell them: ln(1 + seconds) to four decimals.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from stream_app.core.events import EVENT_TIME_MS_MIN
from stream_app.discounts.core.timing import Timing

#: Scored events that an example may stand for here: a reservoir of eight then holds an episode of 400. Nobody does so
#: much, and a crawler's ten thousand pauses would outweigh a thousand visitors.
WEIGHT_MAX: Final = 50.0

#: 2200-01-01. An absurd time would make everything before it fade to nothing.
_TIME_MS_MAX: Final = 7_258_118_400_000

#: `features.purchases` after a session's first checkout is ln 2, after its second ln 3; this lies between.
_ONE_PURCHASE: Final = (math.log(2.0) + math.log(3.0)) / 2.0

#: `features.gap` of fifteen years, for which there is an exponential.
_GAP_MAX: Final = 20.0

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Closed(msgspec.Struct, gc=False):
    """What is looked at of a record of `sessions.closed.v1`."""

    end: int
    duration_ms: int
    purchases: int
    reason: str
    labelled_checkouts: int = 0
    category: str | None = None
    bot: bool = False


class _Features(msgspec.Struct, gc=False):
    """ln(1 + seconds), and ln(1 + checkouts told by events so far, this one included)."""

    gap: float
    purchases: float

    @property
    def pause_s(self) -> float:
        return math.expm1(min(_GAP_MAX, self.gap))


class _Keys(msgspec.Struct, gc=False):
    category: str | None = None
    categories: list[str] = []


class _Example(msgspec.Struct, gc=False):
    """What is looked at of a record of `training.examples.v1`."""

    event_type: str
    event_time: int
    events: int
    features: _Features
    keys: _Keys
    label: int
    weight: float
    label_time: int
    previous: int = -1
    previous_time: int = -1


_CLOSED: Final = msgspec.json.Decoder(_Closed)
_EXAMPLE: Final = msgspec.json.Decoder(_Example)


def take_closed(timing: Timing, value: bytes | None) -> None:
    """Count a closed session; what is none, and a bot's, is passed over."""
    try:
        closed = _CLOSED.decode(value or b"")
    except _UNREADABLE:
        return
    if closed.reason == "gap" and not closed.bot and _is_time(closed.end):
        bought = closed.purchases + closed.labelled_checkouts > 0
        timing.session(closed.category, active_s=closed.duration_ms / 1000, bought=bought, now_ms=closed.end)


def take_example(timing: Timing, value: bytes | None) -> None:
    """Count the pause before an event; what is no example is passed over."""
    try:
        example = _EXAMPLE.decode(value or b"")
    except _UNREADABLE:
        return
    if not (0.0 < example.weight <= WEIGHT_MAX and _is_time(example.label_time) and _is_time(example.event_time)):
        return
    if example.features.purchases > 0.0:
        _purchase(timing, example)
        return
    if example.previous >= 0 and _is_time(example.previous_time):
        _count(timing, example, label=example.previous, time_ms=example.previous_time, weight=-example.weight)
    _count(timing, example, label=example.label, time_ms=example.label_time, weight=example.weight)


def _count(timing: Timing, example: _Example, *, label: int, time_ms: int, weight: float) -> None:
    bought = label == 1
    if example.events > 1:
        pause_s = example.features.pause_s
        timing.pause(_category(example), pause_s, bought=bought, now_ms=time_ms, weight=weight)
    elif not bought:
        timing.pause(_category(example), None, bought=False, now_ms=time_ms, weight=weight)


def _purchase(timing: Timing, example: _Example) -> None:
    """The pause that the session's first purchase event ended; a correction is about what comes after it."""
    features = example.features
    first = example.event_type == "purchase" and features.purchases < _ONE_PURCHASE and features.gap > 0.0
    if first and example.events > 1 and example.previous < 0:
        timing.pause(
            _category(example), features.pause_s, bought=True, now_ms=example.event_time, weight=example.weight
        )


def _category(example: _Example) -> str | None:
    keys = example.keys
    return keys.category or (keys.categories[-1] if keys.categories else None)


def _is_time(time_ms: int) -> bool:
    return EVENT_TIME_MS_MIN <= time_ms <= _TIME_MS_MAX

"""What the data is like: events and what is wrong with them, sessions and what of them comes to be known when."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.balance import COUNTED, TARGETS, Balance
from stream_app.analytics.event_counts import COLUMNS, IMPOSSIBLE, EventCounts
from stream_app.analytics.exploring import Exploring
from stream_app.analytics.table import Integers
from stream_app.core.events import EVENT_TYPES
from stream_app.report.figures.plain import Count, Figure, Number, Share, day, number, shares_of, when
from stream_app.report.figures.reading import Reading
from stream_app.report.gathering import Gathering

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Events(Figure, frozen=True):
    """What was read. `first` and `last` are UTC, of the events taken in; null without any.

    `late` came later than the grace after others, in the order of the files; where that happened the files were sorted
    first (`sorted_first`), and `left_out` is how many were late even then. `twice` were there before. `impossible`
    cannot be, or deal in goods and do not name them; `missing` is column → event type → events that leave it out.
    """

    taken_in: Count
    first: str | None
    last: str | None
    rejected: dict[str, Count]
    twice: Count
    late: Count
    sorted_first: bool
    left_out: Count
    types: dict[str, Count]
    missing: dict[str, dict[str, Count]]
    impossible: dict[str, Count]
    without_item: Count
    purchases_without_item: Count
    refunds: Count


class Came(Figure, frozen=True):
    """Sessions at one value of something, and the shares that came to a purchase and to a cart before it."""

    name: str
    sessions: Count
    purchase: Share
    cart: Share


class Signal(Figure, frozen=True):
    """After so many events: how well a simple model tells who will come to the target. Null with too few of either."""

    target: str
    after: Count
    sessions: Count
    positives: Count
    auc: Number
    low: Number
    high: Number


class Data(Figure, frozen=True):
    """Sessions whose outcome is known; those `cut_off` by the end of the data are only counted.

    `by_events` is by the events before the first purchase, its last entry all longer ones; `by_hour`, `by_weekday` and
    `by_day` are by the session's beginning in the shop's time.
    """

    events: Events
    sessions: Came
    cut_off: Count
    by_events: list[Came]
    by_hour: list[Came]
    by_weekday: list[Came]
    by_day: list[Came]
    signal: list[Signal]
    signal_sampled: Count


def make_data(gathered: Gathering, reading: Reading) -> Data:
    """From what was gathered."""
    balance = gathered.exploring.balance
    days = sorted(balance.by_day)
    last = len(balance.by_steps) - 1
    return Data(
        events=_events(gathered, reading),
        sessions=_came(["all"], balance.all)[0],
        cut_off=balance.cut_off,
        by_events=_came([*map(str, range(last)), f"{last} and more"], balance.by_steps),
        by_hour=_came([f"{hour:02d}" for hour in range(24)], balance.by_hour),
        by_weekday=_came(WEEKDAYS, balance.by_weekday),
        by_day=_came([day(n) for n in days], _stacked(balance, days)),
        signal=_signals(gathered.exploring),
        signal_sampled=gathered.exploring.sampled,
    )


def _events(gathered: Gathering, reading: Reading) -> Events:
    counts, order, episodes = gathered.exploring.events, gathered.order, gathered.episodes
    return Events(
        taken_in=order.released,
        first=when(gathered.first_ms) if order.released else None,
        last=when(gathered.last_ms) if order.released else None,
        rejected=dict(sorted(reading.rejected.items())),
        twice=order.duplicates,
        late=reading.late,
        sorted_first=reading.sorted_first,
        left_out=order.late,
        types={name: int(count) for name, count in zip(EVENT_TYPES, counts.types, strict=True) if count},
        missing=_missing(counts),
        impossible={name: int(count) for name, count in zip(IMPOSSIBLE, counts.impossible, strict=True)},
        without_item=episodes.without_item,
        purchases_without_item=episodes.purchases_without_item,
        refunds=episodes.refunds,
    )


def _missing(counts: EventCounts) -> dict[str, dict[str, Count]]:
    there = np.flatnonzero(counts.types)
    return {
        column: {EVENT_TYPES[code]: int(counts.missing[code, n]) for code in there.tolist()}
        for n, column in enumerate(COLUMNS)
    }


def _came(names: list[str] | tuple[str, ...], counts: Integers) -> list[Came]:
    sessions = counts[:, 0]
    purchase, cart = (shares_of(counts[:, COUNTED.index(target)], sessions) for target in TARGETS)
    return [
        Came(name=name, sessions=int(sessions[n]), purchase=purchase[n], cart=cart[n]) for n, name in enumerate(names)
    ]


def _stacked(balance: Balance, days: list[int]) -> Integers:
    return np.array([balance.by_day[one] for one in days], np.int64).reshape(len(days), len(COUNTED))


def _signals(exploring: Exploring) -> list[Signal]:
    return [
        Signal(
            target=target,
            after=told.after,
            sessions=told.sessions,
            positives=told.positives,
            auc=number(told.auc),
            low=number(told.low),
            high=number(told.high),
        )
        for target, found in exploring.signals().items()
        for told in found
    ]

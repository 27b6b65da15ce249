"""What networks and clients do to a clean stream: repeats, delays, garbage. Pure and seeded, apart from the shop.

The events themselves stay as they were, so what the scorer should make of them stays known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from producers.synthetic.reporting import Fact
from stream_app.core.codec import encode
from stream_app.core.events import CheckoutLabel, Event


class BrokenRecord(NamedTuple):
    """Bytes that no scorer can accept, the visitor they came from, and the reject reason to expect."""

    key: str
    value: bytes
    reason: str


class Ready(NamedTuple):
    """An event that is encoded already, by another process."""

    event_time: int
    visitor_id: str
    value: bytes


#: What a noisy shop sends.
Delivery: TypeAlias = Fact | BrokenRecord | Ready

#: A repeat follows within this time: a client's retry, in ms.
_REPEAT_WITHIN_MS: Final = 60_000

#: A late event is up to this late: half of them overstay a grace of one minute, in ms.
_LATE_WITHIN_MS: Final = 120_000


class Noise(NamedTuple):
    """Shares of the events that are repeated, delayed, and accompanied by a broken record; each from 0 to 1."""

    duplicates: float = 0.0
    late: float = 0.0
    broken: float = 0.0


def disturb(facts: Iterable[Fact], noise: Noise, *, seed: int) -> Iterator[Delivery]:
    """Spoil a stream of facts in time order; labels pass as they are.

    Delays are counted in event time: a late event is delivered after the events that happened meanwhile. Whatever is
    still held back when `facts` ends is delivered then.

    Raises
    ------
    ValueError
        If a share is not between 0 and 1.
    """
    for name, share in noise._asdict().items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"got {name} {share}, expected a share from 0 to 1")
    return _disturbed(facts, noise, random.Random(seed)) if any(noise) else iter(facts)


def _disturbed(facts: Iterable[Fact], noise: Noise, rng: random.Random) -> Iterator[Delivery]:
    held: list[tuple[int, int, Event]] = []  # (delivery time, tie-break, event)
    ties = count()
    for fact in facts:
        if isinstance(fact, CheckoutLabel):
            yield fact
            continue
        assert isinstance(fact.event_time, int)  # the shop's own
        now = fact.event_time
        while held and held[0][0] <= now:
            yield heappop(held)[2]
        if rng.random() < noise.late:
            heappush(held, (now + 1 + rng.randrange(_LATE_WITHIN_MS), next(ties), fact))
        else:
            yield fact
        if rng.random() < noise.duplicates:
            heappush(held, (now + 1 + rng.randrange(_REPEAT_WITHIN_MS), next(ties), fact))
        if rng.random() < noise.broken:
            yield _broken(fact, rng)
    while held:
        yield heappop(held)[2]


def _broken(event: Event, rng: random.Random) -> BrokenRecord:
    """Spoil a copy of an event in one of the ways seen in the wild; the event itself is delivered all the same."""
    value = encode(event)
    reason, spoilt = rng.choice(
        (
            ("not_json", value[: len(value) // 2]),  # a connection cut
            ("not_json", b"<html><body>502 Bad Gateway</body></html>"),  # a proxy's answer
            ("empty_value", b""),
            ("missing_field", value.replace(b'"visitor_id"', b'"visitorId"')),
            ("wrong_type", value.replace(b'"event_type":', b'"event_type":1,"type":')),
            ("invalid_value", value.replace(event.event_type.encode(), b"clicked", 1)),
            ("time_out_of_range", value.replace(str(event.event_time).encode(), str(event.event_time)[:-3].encode())),
        )
    )
    return BrokenRecord(event.visitor_id, spoilt, reason)

"""What is odd about what a source sends: counted, and let in all the same. Pure; nothing is refused here.

What cannot be right is refused where it is read, with a reason (docs/hostile-input.md). This is about events that can
be right one by one, and tell by their number that something at the source is not: docs/quality.md says what to do about
each. A source is whatever sends by one way: a write key of the collector, a raw topic, the files of one format.

What is compared with events before is remembered in this process only and not for long, so counts of repetitions are
lower bounds: whoever keeps the events, the worker, recognises them all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, get_args

from producers.currencies import CURRENCIES
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

Finding = Literal[
    "bot",
    "clock_ahead",
    "clock_behind",
    "unknown_type",
    "currency_unknown",
    "currency_mixed",
    "price_odd",
    "constant_id",
    "duplicate",
]

FINDINGS: Final[tuple[Finding, ...]] = get_args(Finding)

#: An event that is so much younger than its record happened by a clock that is ahead: what a network and a broker do to
#: the order of two clocks is far below, in ms.
AHEAD_MS: Final = 60_000

#: An event that is so much older than its record waited in a queue of a device that was offline, or its clock is
#: behind: for longer than this only the latter is usual, in ms.
BEHIND_MS: Final = 24 * 3600 * 1000

#: Event ids that are remembered: a client repeats within minutes, and 4,096 with what belongs to them take 2 MB.
_IDS_KEPT: Final = 4_096

#: From the third moment on that has an id it is no repetition with a new time, but a constant; later ones are not kept.
_CONSTANT_FROM: Final = 3

#: Events remembered under one id: lines of an order that share it.
_LINES_KEPT: Final = 16

#: Prices looked at before one is compared with what is usual, and after which the usual one goes with the newer ones.
_PRICES_FROM, _PRICES_TO = 100, 10_000

#: Further from the usual (geometric mean) price a price is odd: cents for units is 100, and from a phone's case to a
#: phone it is less than 1,000. Any currency has its own usual price, so that no table of magnitudes is needed.
_PRICE_FACTOR: Final = math.log(10_000.0)

#: What nobody gives away: things are looked at without a price, and bought with one.
_PRICED: Final = frozenset({"add_to_cart", "purchase"})


class Findings:
    """Looks at one source's events, in the order in which they come.

    Attributes
    ----------
    source
        Its name.
    events
        How many were looked at.
    counts
        Finding → events that have it. An event may have several.
    currency
        The one that prices came in first; those in others are `currency_mixed`.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.events = 0
        self.counts: Counter[Finding] = Counter()
        self.currency: str | None = None
        #: id → of its events: when and whose, and all that tells them apart, as hashes; oldest first
        self._ids: dict[str, list[tuple[int, int]]] = {}
        self._prices, self._log_price = 0, 0.0

    def event(self, event: Event, *, received_ms: int | None) -> list[Finding]:
        """Look at an event that was let in; `received_ms` is when it came, None if nobody has noted that."""
        self.events += 1
        found = [
            finding
            for finding in (
                "bot" if event.bot else None,
                _clock(event, received_ms),
                self._currency(event),
                self._price(event),
                self._repetition(event),
            )
            if finding is not None
        ]
        self.counts.update(found)
        return found

    def unknown_types(self, count: int) -> None:
        """Note what came of types that are none of ours, ignored or rejected."""
        self.counts["unknown_type"] += count

    def wrong_clock(self, events: int, *, behind_ms: int) -> Finding:
        """Note events whose sender has said what time it has: it is so far behind (below 0: ahead)."""
        finding: Finding = "clock_behind" if behind_ms > 0 else "clock_ahead"
        self.counts[finding] += events
        return finding

    def told(self) -> list[str]:
        """What was found, in words."""
        return [f"{self.source}: {_WORDS[name]}: {self.counts[name]:,}" for name in FINDINGS if self.counts[name]]

    # ---- one finding each -------------------------------------------------------------------------------------------

    def _currency(self, event: Event) -> Finding | None:
        currency = event.currency
        if not currency or event.price is None:
            return None
        if currency.upper() not in CURRENCIES:
            return "currency_unknown"
        if self.currency is None:
            self.currency = currency.upper()
        return "currency_mixed" if currency.upper() != self.currency else None

    def _price(self, event: Event) -> Finding | None:
        price = event.price
        if price is None:
            return None
        if price <= 0.0:
            return "price_odd" if event.event_type in _PRICED else None
        if event.currency and event.currency.upper() != self.currency:
            return None  # of another currency nothing is known
        log_price = math.log(price)
        if self._prices >= _PRICES_FROM and abs(log_price - self._log_price) > _PRICE_FACTOR:
            return "price_odd"
        self._prices = min(self._prices + 1, _PRICES_TO)
        self._log_price += (log_price - self._log_price) / self._prices
        return None

    def _repetition(self, event: Event) -> Finding | None:
        moment = hash((event.visitor_id, event.event_time))
        whole = hash((moment, event.event_type, event.item_id))
        known = self._ids.get(event.event_id)
        if known is None:
            self._ids[event.event_id] = [(moment, whole)]
            if len(self._ids) > _IDS_KEPT:
                del self._ids[next(iter(self._ids))]
            return None
        if any(whole == other for _, other in known):
            return "duplicate"
        moments = {other for other, _ in known}
        if moment not in moments and len(moments) >= _CONSTANT_FROM - 1:
            return "constant_id"
        if len(known) < _LINES_KEPT:
            known.append((moment, whole))  # also another line of what was done at that moment
        return None


_WORDS: Final[dict[Finding, str]] = {
    "bot": "events of bots",
    "clock_ahead": "events by a clock that is ahead",
    "clock_behind": "events by a clock that is behind, or held back for a day",
    "unknown_type": "rejected for a type that is not known",
    "currency_unknown": "prices in a currency that ISO 4217 does not have",
    "currency_mixed": "prices in another currency than the first one: amounts are compared as they are",
    "price_odd": "prices of nothing, or far from the usual",
    "constant_id": "event ids that several moments have",
    "duplicate": "events sent again",
}


def found_told(sources: Mapping[str, Findings]) -> list[str]:
    """What was found of all sources, in words."""
    return [told for findings in sources.values() for told in findings.told()]


def is_unknown_type(result: object) -> bool:
    """Whether a record was rejected for what it says that was done, alone."""
    return isinstance(result, Rejected) and result.field == "event_type"


def _clock(event: Event, received_ms: int | None) -> Finding | None:
    if received_ms is None:
        return None
    assert isinstance(event.event_time, int)  # adapters have made it so
    if event.event_time > received_ms + AHEAD_MS:
        return "clock_ahead"
    return "clock_behind" if event.event_time < received_ms - BEHIND_MS else None

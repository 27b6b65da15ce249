"""What the shop tells of what happened: purchases as events, by the order system alone, long after, or never."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from stream_app.core.events import CheckoutLabel, Event

#: What a shop sends.
Fact: TypeAlias = Event | CheckoutLabel


class Happening(NamedTuple):
    """An event of a visit, whether anybody is told or not.

    `shown`: it is in the clickstream. If not, it is a purchase, and `told_ms` says when the order system tells it as a
    label; None is never. `percent` of a purchase is what was off its price by an offer: a label tells it, at once where
    the purchase is shown.
    """

    event: Event
    shown: bool = True
    told_ms: int | None = None
    percent: float = 0.0


def reported(happenings: Iterable[Happening]) -> Iterator[Fact]:
    """What of it reaches the topics, in the order of time: events when they happen, labels when they are told."""
    waiting: list[tuple[int, str, CheckoutLabel]] = []
    for event, shown, told_ms, percent in happenings:
        while waiting and waiting[0][0] <= event.event_time:  # type: ignore[operator]  # the shop's own are integers
            yield heappop(waiting)[2]
        if shown:
            yield event
            if percent:
                # No event has a field for it, and without it nobody can tell what the offer has cost.
                yield _label(event, percent)
        elif told_ms is not None:
            label = _label(event, percent)
            heappush(waiting, (told_ms, label.order_id, label))


def _label(purchase: Event, percent: float) -> CheckoutLabel:
    assert purchase.order_id is not None
    return CheckoutLabel(
        visitor_id=purchase.visitor_id,
        order_id=purchase.order_id,
        checkout_time=purchase.event_time,
        session_id=purchase.session_id,
        value=purchase.price,
        currency=purchase.currency,
        discount_percent=percent or None,
    )

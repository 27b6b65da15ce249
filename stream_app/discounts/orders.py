"""Orders as the topics tell them: purchase and refund events of the clickstream, and labels of the order system.

An order that both tell is one: `core/outcomes.py` joins them by order id. Who says what:

* What was paid: an event tells a row of it, price × quantity, and the rows of one order id add up; a label's `value` is
  of the order as a whole, and overrules the rows.
* Which offer was redeemed: `discount_percent` of the label, or of the event if the shop's page knows it.
* What was taken back: a `refund` event with the order's id, a label of kind `refund` or `cancel`.

What the telling does not know is not guessed: without `discount_percent` an order counts as sold at the list price, and
what the offer took off it is missing from the discount, and from the loss of profit. A refund takes the whole order
back, of whatever part it is.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from stream_app.core.codec import RECORD_BYTES_MAX, Rejected, bounded_time_ms, check_event_time, decode_label
from stream_app.core.events import AMOUNT_MAX, CheckoutLabel, Event, TimeMs
from stream_app.discounts.core.records import Checkout

#: Only events with one of these in them are decoded: there are thirty others for each.
_TELLING: Final = (b"purchase", b"refund")


class _Told(Event, gc=False, omit_defaults=True):
    """An event, and what measuring reads besides: the engine passes over it."""

    discount_percent: Annotated[float, msgspec.Meta(ge=0.0, lt=100.0)] | None = None


class EventTime(msgspec.Struct, gc=False):
    """When, in ms, and whose: of any event."""

    event_time: int
    visitor_id: str


class _Timed(msgspec.Struct, gc=False):
    """Of any event the same, as it was told."""

    event_time: TimeMs
    visitor_id: str


_TOLD: Final = msgspec.json.Decoder(_Told)
_TIME: Final = msgspec.json.Decoder(_Timed)


def order_of_event(value: bytes | None, *, record_time_ms: int) -> Checkout | None:
    """The order that an events record tells; None if it tells none, or is not one that the engine takes.

    `record_time_ms` is the broker's timestamp.
    """
    if not value or len(value) > RECORD_BYTES_MAX or not any(word in value for word in _TELLING):
        return None
    try:
        event = _TOLD.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if event.event_type not in ("purchase", "refund"):
        return None
    if isinstance(check_event_time(event, record_time_ms=record_time_ms), Rejected):
        return None
    assert isinstance(event.event_time, int)
    back = event.event_type == "refund"
    if back and not event.order_id:
        # Of which order it is nobody can say.
        return None
    price = event.price or 0.0
    paid = min(AMOUNT_MAX, price * (1.0 if event.quantity is None else event.quantity))
    return Checkout(
        visitor_id=event.visitor_id,
        order_id=event.order_id or event.event_id,
        time=event.event_time,
        rows={} if back else {event.event_id: paid},
        percent=event.discount_percent or 0.0,
        category=event.category,
        named=bool(event.order_id),
        taken_back=back,
    )


def order_of_label(value: bytes | None, *, record_time_ms: int) -> Checkout | None:
    """The order that a labels record tells, or takes back; None if it is not one that the engine takes."""
    label = decode_label(value, record_time_ms=record_time_ms)
    if not isinstance(label, CheckoutLabel):
        return None
    assert isinstance(label.checkout_time, int)
    back = label.kind != "checkout"
    return Checkout(
        visitor_id=label.visitor_id,
        order_id=label.order_id,
        time=label.checkout_time,
        paid=0.0 if back else label.value or 0.0,
        percent=label.discount_percent or 0.0,
        taken_back=back,
    )


def time_of_event(value: bytes | None, *, record_time_ms: int) -> EventTime | None:
    """When an events record says that it happened; None if it says no time that the engine takes."""
    try:
        told = _TIME.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    time_ms = bounded_time_ms(told.event_time, record_time_ms=record_time_ms, field="event_time")
    return None if isinstance(time_ms, Rejected) else EventTime(time_ms, told.visitor_id)

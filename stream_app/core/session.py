"""The fold: a visitor's state and one event give the next state and the raw numbers of its features.

Which session an event belongs to, what it does to it, and when a checkout starts a new episode is decided here and
nowhere else. Everything is a function of the visitor's own events in offset order, so replaying them gives the same
numbers, byte for byte.

An episode ends at a checkout: what came before leads to it, what comes after belongs to the next. A purchase is
therefore folded as the first moment of a new episode, with an empty cart and no items: its score is about another
purchase, never about itself. Shops that write one purchase event per order line make one checkout of them: a purchase
right after a purchase, with the same or without order ids, adds to it.

A checkout that only a label tells starts no episode and enters no number here: labels and events come in two topics,
and features must not depend on which was read first. What becomes of it is in `checkouts.py`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from stream_app.core.events import Event
from stream_app.core.pages import ENTRY, GROUP_CODE, GROUPS, transition_code
from stream_app.core.state import (
    ORDERS_MAX,
    PARTS_MAX,
    TRACKED_CHARS_MAX,
    TRACKED_KEYS_MAX,
    TRANSITION_TIMES_MAX,
    History,
    Session,
    Visitor,
)

#: A session is split at this many events: no person makes them, and a bot's session would otherwise never end.
SESSION_EVENTS_MAX: Final = 10_000

#: … and at this age, for monitors that never pause long enough to reach the gap.
SESSION_AGE_MS_MAX: Final = 24 * 3600 * 1000

#: A person takes a second for an event, on the whole; faster ones add up (`Session.haste`), …
HASTE_STEP_MS: Final = 1_000

#: … and a session that is a minute ahead of that, 60 events, is a bot's. Of 22,981 real sessions with 717 buyers
#: (docs/quality.md) none gets beyond 2.5 s; a tab that reloads itself or a hand that hurries does not, either.
HASTE_MS_MAX: Final = 60_000

#: Share of the old value in the decayed gap; a preliminary study measured 0.6.
GAP_DECAY: Final = 0.6

#: Prior strength of the visitor's purchase rate: ten imagined sessions at 3 %.
RATE_SESSIONS: Final = 10.0
RATE_PURCHASES: Final = 0.3

_PURCHASE: Final = GROUP_CODE["purchase"]
_REFUND: Final = GROUP_CODE["refund"]
_CART: Final = GROUP_CODE["cart"]
_UNCART: Final = GROUP_CODE["uncart"]
_GROUP_COUNT: Final = len(GROUPS)


class Step(NamedTuple):
    """What the fold says of one event: the raw numbers (order of `features.RAW`), its keys' positions, its step."""

    raw: tuple[float, ...]
    item: int
    category: int
    brand: int
    step: int
    transition: int


def find_open(visitor: Visitor, event: Event, event_time: int, *, gap_ms: int) -> Session | None:
    """The open session the event belongs to, or None. Sessions that are over must have been closed before."""
    best: Session | None = None
    for session in visitor.sessions:
        if event.session_id is not None:
            if session.given_id != event.session_id:
                continue
        elif session.given_id is not None:
            continue
        if session.start - gap_ms <= event_time <= session.last + gap_ms and (best is None or session.last > best.last):
            best = session
    return best


def must_split(session: Session, event_time: int) -> bool:
    """Whether the session has reached its bound and the event starts a new one. Both are then a bot's."""
    return session.events >= SESSION_EVENTS_MAX or event_time - session.start > SESSION_AGE_MS_MAX


def open_session(visitor: Visitor, event: Event, event_time: int) -> Session:
    """Start a session for the event. An id that returns after its session ended gets a part number: `id~2`."""
    base_id = event.session_id or f"{event.visitor_id}@{event_time}"
    part = visitor.history.parts.get(base_id, 0) + 1
    session = Session(
        session_id=base_id if part == 1 else f"{base_id}~{part}",
        given_id=event.session_id,
        part=part,
        start=event_time,
        last=event_time,
        source=event.source,
        country=event.country,
        mobile=event.device is not None and event.device.lower() in ("mobile", "phone", "smartphone", "tablet"),
        episode_start=event_time,
        group_counts=[0] * _GROUP_COUNT,
    )
    visitor.sessions.append(session)
    return session


def remember_finished(history: History, session: Session) -> None:
    """Add a session that is over to the visitor's history."""
    history.sessions += 1
    history.purchases += session.purchases
    history.spend += session.spend
    history.last_seen = max(history.last_seen, session.last)
    base_id = session.session_id.removesuffix(f"~{session.part}") if session.part > 1 else session.session_id
    history.parts.pop(base_id, None)
    while len(history.parts) >= PARTS_MAX:
        del history.parts[next(iter(history.parts))]
    history.parts[base_id] = session.part


def order_of(order_id: str | None, time: int) -> str:
    """What a session remembers a checkout by: `#` and its order id, or without one `@` and its time."""
    return f"#{order_id}" if order_id else f"@{time}"


def is_same_checkout(session: Session, event: Event) -> bool:
    """Whether a purchase event is a further line of the checkout just made."""
    if session.purchases == 0 or session.episode_events > 0 or session.group_last != _PURCHASE:
        return False
    if not event.order_id or session.orders[-1].startswith("@"):
        return True
    return order_of(event.order_id, 0) in session.orders


def start_episode(session: Session, event_time: int) -> None:
    """Begin anew after a checkout. The caller has resolved the episode before."""
    session.episode += 1
    session.episode_start = event_time
    session.episode_events = 0
    session.group_counts = [0] * _GROUP_COUNT
    session.items, session.categories, session.brands = {}, {}, {}
    session.category_before = session.category_last or session.category_before
    session.item_last = session.category_last = None
    session.brand_last = -1
    session.item_events = session.item_repeats_max = 0
    session.cart_time = session.cart_count = 0
    session.cart_value = 0.0
    session.price_sum = session.price_min = session.price_max = 0.0
    session.price_count = 0
    session.steps = 0
    session.touched = [0, 0, 0, 0]
    session.transitions, session.transitions_told = {}, {}
    session.samples = []
    session.population = 0


def remember_order(session: Session, order: str) -> None:
    """Keep what `order_of` gave among the last `ORDERS_MAX` of the session."""
    if order not in session.orders:
        session.orders = [*session.orders[1 - ORDERS_MAX :], order]


def count_purchase(session: Session, event: Event, event_time: int, *, same_checkout: bool) -> None:
    """Book a purchase event into the session's own sums."""
    if not same_checkout:
        session.purchases += 1
    remember_order(session, order_of(event.order_id, event_time))
    session.spend += (event.price or 0.0) * (1.0 if event.quantity is None else event.quantity)


def fold(session: Session, event: Event, event_time: int, group: int, history: History) -> Step:
    """Apply one event to its session, in place, and take the raw numbers of its features.

    A purchase must have been resolved and booked (`start_episode`, `count_purchase`) before it is folded.
    """
    gap = event_time - session.last if session.events else 0
    if gap < 0:
        gap = 0
    else:
        session.last = max(session.last, event_time)
    if event_time < session.start:
        session.start = event_time
    # Events of one moment are one: the lines of an order, or what a page loads with.
    if gap > 0 or not session.events:
        session.haste = max(0, session.haste - gap) + HASTE_STEP_MS
        session.bot = session.bot or session.haste > HASTE_MS_MAX
    session.events += 1
    session.gap_last = gap
    session.gap_sum += gap
    if gap > session.gap_max:
        session.gap_max = gap
    session.gap_decayed = GAP_DECAY * session.gap_decayed + (1.0 - GAP_DECAY) * gap

    item = category = brand = -1
    item_seen = same_item = same_category = False
    item_dwell = 0
    transition = -1
    price = event.price or 0.0
    if group != _PURCHASE:
        before = session.group_last if session.episode_events else ENTRY
        transition = transition_code(before, group)
        session.transitions[transition] = min(TRANSITION_TIMES_MAX, session.transitions.get(transition, 0) + 1)
        session.episode_events += 1
        session.group_counts[group] += 1
        if group != _REFUND:
            if event.item_id:
                item, item_seen, item_dwell = _see_item(session, event.item_id, event_time)
                same_item = session.item_last == event.item_id
                session.item_last = event.item_id
            if event.category:
                category = _see(session.categories, event.category)
                same_category = session.category_last == event.category
                session.category_last = event.category
            if event.brand:
                brand = _see(session.brands, event.brand)
                session.brand_last = brand if brand >= 0 else session.brand_last
            if group == _CART:
                session.cart_time = event_time
                session.cart_count += 1
                session.cart_value += price * (1.0 if event.quantity is None else event.quantity)
            elif group == _UNCART and session.cart_count:
                session.cart_count -= 1
                session.cart_value = max(0.0, session.cart_value - price) if session.cart_count else 0.0
            if price > 0.0:
                _see_price(session, price)
    session.group_last = group
    step = 2 * group + same_item
    session.steps |= 1 << step
    return Step(
        _raw(session, history, event_time, group, price, item_dwell, item_seen, same_item, same_category),
        item,
        category,
        brand,
        step,
        transition,
    )


def _see_item(session: Session, item_id: str, event_time: int) -> tuple[int, bool, int]:
    """Count the item; its position among the tracked ones (−1 past the bound), whether seen before, ms since first."""
    session.item_events += 1
    items = session.items
    seen = items.get(item_id)
    if seen is None:
        if _is_full(items, item_id):
            return -1, False, 0
        items[item_id] = [1, event_time]
        if session.item_repeats_max < 1:
            session.item_repeats_max = 1
        return len(items) - 1, False, 0
    seen[0] += 1
    if seen[0] > session.item_repeats_max:
        session.item_repeats_max = seen[0]
    return _position(items, item_id), True, max(0, event_time - seen[1])


def _see(counts: dict[str, int], key: str) -> int:
    """Count the key; its position among the tracked ones, −1 past the bound."""
    if key in counts:
        counts[key] += 1
        return _position(counts, key)
    if _is_full(counts, key):
        return -1
    counts[key] = 1
    return len(counts) - 1


def _is_full(known: dict[str, list[int]] | dict[str, int], key: str) -> bool:
    """Whether one more name would be more than is tracked."""
    return len(known) >= TRACKED_KEYS_MAX or sum(map(len, known)) + len(key) > TRACKED_CHARS_MAX


def _position(keys: dict[str, list[int]] | dict[str, int], key: str) -> int:
    for position, known in enumerate(keys):
        if known == key:
            return position
    return -1


def _see_price(session: Session, price: float) -> None:
    if session.price_count == 0:
        session.price_min = session.price_max = price
    else:
        session.price_min = min(session.price_min, price)
        session.price_max = max(session.price_max, price)
    session.price_count += 1
    session.price_sum += price


def _top_share(counts: dict[str, int]) -> float:
    """Share of the most seen key; most episodes know only one."""
    if len(counts) < 2:
        return float(len(counts))
    return max(counts.values()) / sum(counts.values())


def _raw(
    session: Session,
    history: History,
    event_time: int,
    group: int,
    price: float,
    item_dwell: int,
    item_seen: bool,
    same_item: bool,
    same_category: bool,
) -> tuple[float, ...]:
    """The numbers behind the features, in the order of `features.RAW`: counts, seconds, money, shares, flags."""
    counts = session.group_counts
    categories = session.categories
    gaps = session.events - 1
    returning = history.last_seen > 0
    return (
        session.events,
        session.episode_events,
        session.purchases,
        *counts[:_PURCHASE],
        counts[_REFUND],
        len(session.items),
        len(categories),
        len(session.brands),
        session.item_repeats_max,
        (session.last - session.start) / 1000.0,
        session.gap_last / 1000.0,
        session.gap_sum / gaps / 1000.0 if gaps else 0.0,
        session.gap_max / 1000.0,
        session.gap_decayed / 1000.0,
        max(0, event_time - session.cart_time) / 1000.0 if session.cart_count else 0.0,
        item_dwell / 1000.0,
        history.sessions,
        history.purchases,
        history.spend,
        max(0, event_time - history.last_seen) / 1000.0 if returning else 0.0,
        price,
        session.cart_value,
        1.0 - len(session.items) / session.item_events if session.item_events else 0.0,
        _top_share(categories),
        session.cart_count > 0,
        same_item,
        same_category,
        item_seen,
        returning,
        (history.purchases + RATE_PURCHASES) / (history.sessions + RATE_SESSIONS),
        # Differences of logarithms: the quotient of a denormal price and a large one is 0, and has none.
        math.log(price) - math.log(session.price_sum / session.price_count)
        if price > 0.0 and session.price_count
        else 0.0,
        math.log(session.price_max) - math.log(session.price_min) if session.price_count > 1 else 0.0,
        session.mobile,
        group,
        event_time,
    )

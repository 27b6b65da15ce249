"""Checkouts that labels tell: which session each belongs to, and whether that is certain yet.

A told checkout is kept as a mark in its visitor's state. It is settled when a session ends that it belongs to, from all
that was told and seen by then, so that it makes no difference which of the two topics was read first. Before that it
may teach only the one session that it is certain to be settled with (`sure_session`). What is told after the session's
end corrects what was taught then (`corrections.py`), by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream_app.core.session import order_of
from stream_app.core.state import MARKS_MAX, Mark, Session, Taught, Visitor

#: A purchase event and a checkout label of one session are the same order when one of them has no order id and they lie
#: this close: order systems book within minutes.
ORDER_MATCH_MS: Final = 10 * 60 * 1000


def fits(session: Session | Taught, mark: Mark, *, gap_ms: int) -> bool:
    """Whether the told checkout can be this session's: by its session id, where it has one, and by its time."""
    return _may_name(mark, session) and session.start <= mark.time <= session.last + gap_ms


def saw_order(session: Session | Taught, mark: Mark, *, gap_ms: int, orders: Sequence[str] | None = None) -> bool:
    """Whether the told checkout is one of the session's purchase events: by its id, or close to one without an id.

    Of `orders`, where they are given, instead of `session.orders`.
    """
    if not _may_name(mark, session):
        return False
    for order in session.orders if orders is None else orders:
        if order == order_of(mark.order_id, mark.time):
            return True
        if order.startswith("@") and abs(mark.time - int(order[1:])) <= ORDER_MATCH_MS:
            return fits(session, mark, gap_ms=gap_ms)
    return False


def sure_session(visitor: Visitor, mark: Mark, *, gap_ms: int) -> Session | None:
    """The open session that the told checkout can be settled with alone, whatever events are yet to come; else None.

    It is the only open one of the label's session id or, of a label without one, the only open one at all and has no id
    given: another of its kind can then be opened only before it, too early for the checkout. A session that has just
    made a purchase is not sure: the next rows of that order may tell that it is the label's.
    """
    named = [s for s in visitor.sessions if _may_name(mark, s)]
    if len(named) != 1:
        return None
    (session,) = named
    if mark.session_id is None and session.given_id is not None:
        return None
    if session.purchases and not session.episode_events:
        return None
    if saw_order(session, mark, gap_ms=gap_ms) or not fits(session, mark, gap_ms=gap_ms):
        return None
    return session


def _may_name(mark: Mark, session: Session | Taught) -> bool:
    return mark.session_id is None or mark.session_id in (session.given_id, session.session_id)


class Settled(NamedTuple):
    """The marks that a session takes with it when it ends.

    `told` are the checkouts its events led to, earliest first; `all` has besides them those that say nothing new.
    """

    told: list[Mark]
    all: list[Mark]


def settle(visitor: Visitor, session: Session, *, gap_ms: int) -> Settled:
    """Decide which told checkouts are those of a session that ends now, while it is still among the visitor's.

    A purchase event has the say over its own order, and a session id over the purchases of other sessions. A checkout
    that several open sessions could claim is the newest's. Of an order told with two times the later time counts: an
    event that one of them has taught at once keeps its label.
    """
    settled: list[Mark] = []
    told: dict[str, Mark] = {}
    for mark in sorted(visitor.marks, key=lambda mark: mark.offset):
        saw = [s for s in visitor.sessions if saw_order(s, mark, gap_ms=gap_ms)]
        if saw:
            if any(s is session for s in saw):
                settled.append(mark)
            continue
        claim = [s for s in visitor.sessions if fits(s, mark, gap_ms=gap_ms)]
        if claim and max(claim, key=lambda s: (s.last, s.session_id)) is session:
            settled.append(mark)
            if mark.order_id not in told or mark.time >= told[mark.order_id].time:
                told[mark.order_id] = mark
    return Settled(sorted(told.values(), key=lambda mark: (mark.time, mark.offset)), settled)


def add(marks: list[Mark], mark: Mark) -> list[Mark]:
    """With the told checkout, unless it is there already; of more than `MARKS_MAX` the newest by checkout time stay.

    By time and not by arrival: a label that comes late must not push out one whose session is yet to end.
    """
    if any((m.order_id, m.time, m.session_id) == (mark.order_id, mark.time, mark.session_id) for m in marks):
        return marks
    kept = sorted([*marks, mark], key=lambda m: (m.time, m.offset))[-MARKS_MAX:]
    return sorted(kept, key=lambda m: m.offset)

"""Outcomes that a late word corrects: a checkout told after its session's end, an order taken back after it was taught.

What examples have told is remembered for a while in the visitor's state (`state.Taught`). A label that comes after its
session's end is held against what is remembered by the rules that hold for open sessions (`checkouts.py`), and the
events that it would have resolved in time are told again with the other label. An order that is taken back gives the
events that led to it the label 0: the sale did not last. Either is told once: what a correction has come to is
remembered in place of what it corrects.

There is no timer. What is remembered is forgotten when an event of the visitor finds it too old, so that the state is a
function of the records; a label asks besides whether the watermark has passed it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from stream_app.core.checkouts import fits, saw_order
from stream_app.core.outcomes import Outcome, part, tell, touched_by
from stream_app.core.session import order_of
from stream_app.core.state import (
    LABEL,
    ORDERS_MAX,
    PURCHASE,
    TAKEN_BACK_MAX,
    TAUGHT_KEYS_MAX,
    TAUGHT_MAX,
    Mark,
    Session,
    Taught,
    Visitor,
)
from stream_app.core.watermark import UNKNOWN


class Correction(NamedTuple):
    """An outcome as it is told now, and what was told before; `parted` says that a rest of it stays as it was."""

    now: Taught
    before: Taught
    parted: bool


class Find(Protocol):
    """`tell_checkout` or `take_back`."""

    def __call__(  # noqa: D102
        self, visitor: Visitor, mark: Mark, *, gap_ms: int, late_ms: int, watermark: int = UNKNOWN
    ) -> list[Correction]: ...


def remember(visitor: Visitor, taught: Taught, *, late_ms: int) -> None:
    """Keep an outcome that is told, unless `late_ms` is 0 or it is of too many names."""
    names = max(len(taught.items), len(taught.categories), len(taught.brands))
    if late_ms and names <= TAUGHT_KEYS_MAX:
        visitor.taught = [*visitor.taught[1 - TAUGHT_MAX :], taught]


def forget(visitor: Visitor, watermark: int, *, gap_ms: int, late_ms: int) -> None:
    """Let go of the outcomes of sessions whose ends the watermark has left behind by `late_ms`."""
    visitor.taught = [taught for taught in visitor.taught if taught.last + gap_ms + late_ms > watermark]


def with_order(taken_back: list[str], order_id: str) -> list[str]:
    """The orders taken back, with one more. Its checkout stays taken back, be it told late or once more."""
    return taken_back if order_id in taken_back else [*taken_back[1 - TAKEN_BACK_MAX :], order_id]


def add_row(visitor: Visitor, session: Session, order: str) -> None:
    """A further row of the checkout that the session has just made: the order is that one's, too."""
    for taught in reversed(visitor.taught):
        if taught.source == PURCHASE and taught.session_id == session.session_id:
            if taught.orders[-1] == session.orders[-1] and order not in taught.orders:
                taught.orders = [*taught.orders[1 - ORDERS_MAX :], order]
            return


def is_told(visitor: Visitor, mark: Mark, *, gap_ms: int) -> bool:
    """Whether the checkout is one of which an outcome is remembered."""
    return any(
        saw_order(taught, mark, gap_ms=gap_ms, orders=[*taught.orders, *taught.purchases]) for taught in visitor.taught
    )


def tell_checkout(
    visitor: Visitor, mark: Mark, *, gap_ms: int, late_ms: int, watermark: int = UNKNOWN
) -> list[Correction]:
    """Correct what was taught of a finished session that the checkout belongs to; empty where nothing is remembered.

    As if it were told before the session's end: a purchase event has the say over its own order, an open session goes
    before a finished one, and of those the newest has it. What led to a purchase stays that purchase's.
    """
    if any(fits(s, mark, gap_ms=gap_ms) or saw_order(s, mark, gap_ms=gap_ms) for s in visitor.sessions):
        return []
    if any(saw_order(taught, mark, gap_ms=gap_ms, orders=_purchases(taught)) for taught in visitor.taught):
        return []
    claim = [t for t in visitor.taught if t.source != PURCHASE and fits(t, mark, gap_ms=gap_ms)]
    if not claim:
        return []
    session_id = max(claim, key=lambda t: (t.last, t.session_id)).session_id
    told: list[Taught] = []
    found: list[Correction] = []
    for taught in visitor.taught:
        mine = taught.session_id == session_id and taught.source != PURCHASE and not taught.label
        parts = part(taught, mark.time) if mine else None
        if parts is None:
            told.append(taught)
            continue
        first, rest = parts
        orders = [order_of(mark.order_id, mark.time)]
        now = msgspec.structs.replace(
            first, label=1, source=LABEL, time=mark.time, orders=orders, purchases=_purchases(taught)
        )
        found.append(Correction(now, taught, rest is not None and touched_by(rest) is not None))
        told += [now] if rest is None else [now, rest]
    if not _are_kept(found, gap_ms + late_ms, watermark):
        return []
    visitor.taught = told[-TAUGHT_MAX:]
    return found


def take_back(visitor: Visitor, mark: Mark, *, gap_ms: int, late_ms: int, watermark: int = UNKNOWN) -> list[Correction]:
    """Correct what an order has taught that is taken back now; empty where nothing of it is remembered.

    `mark` has the order and the time of the label that takes it back.
    """
    told: list[Taught] = []
    found: list[Correction] = []
    for taught in visitor.taught:
        if taught.label and saw_order(taught, mark, gap_ms=gap_ms):
            # With the checkout's own time: what the priors have counted then, they take back of then.
            found.append(Correction(msgspec.structs.replace(taught, label=0), taught, parted=False))
            told.append(found[-1].now)
        else:
            told.append(taught)
    if not _are_kept(found, gap_ms + late_ms, watermark):
        return []
    visitor.taught = told
    return found


def tell_anew(correction: Correction, visitor_id: str, *, events_offset: int) -> list[Outcome]:
    """A correction as outcomes."""
    now, before, parted = correction
    outcomes = tell(now, visitor_id, events_offset=events_offset)
    touched = outcomes[-1].touched
    if touched is not None:
        whole = touched_by(before)
        # Whether the former outcome counted as carted, which is what has to be taken out.
        touched.carted = whole is not None and whole.carted
        touched.parted = parted
    return [outcome._replace(source="label", previous=before.label, previous_time=before.time) for outcome in outcomes]


def _purchases(taught: Taught) -> list[str]:
    """The orders of purchase events, over which they have the say."""
    return taught.purchases if taught.source == LABEL else taught.orders


def _are_kept(found: list[Correction], kept_ms: int, watermark: int) -> bool:
    """Whether the newest part is still kept: then all of them are corrected, so that an outcome stays of one piece."""
    return any(correction.before.last + kept_ms > watermark for correction in found)

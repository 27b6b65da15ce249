"""One row for each session: what it was like up to its first purchase, and whether there was one.

A session is what it is to the scorer (`core.session`): the events of one given session id, or without one a visitor's,
that are not further apart than the gap. Its counts, its path and its early events are those *before* its first
purchase: what comes after it cannot have led to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.analytics.block import Block
from stream_app.analytics.hashing import hash_texts, mix
from stream_app.analytics.stretches import NEVER, Stretch, Stretches, further_lines
from stream_app.analytics.table import Flags, Floats, Hashes, Integers, Texts, first_known, last_known
from stream_app.core.events import EVENT_CODE
from stream_app.core.pages import GROUP_CODE, GROUPS

#: Steps of a path that are kept, 4 bits each in one number; 95 of 100 sessions have no more.
PATH_STEPS: Final = 16

#: Events at a session's beginning of which time, price and item are kept.
EARLY: Final = 5

_PURCHASE: Final = GROUP_CODE["purchase"]
_BITS: Final = 4

#: What sources are compared by, as events of each; purchases are order lines here.
ACTIONS: Final = ("view", "like", "share", "cart", "purchase")


@dataclass(frozen=True, slots=True)
class SessionRows(Stretch):
    """Sessions; `key` is that of visitor and session id. Before the first purchase:

    `kinds`, shape (N, len(GROUPS)): events by kind of step; `steps` their number; `step_ms` the last one's time, 0
    without any. `path`: the kinds of the first `PATH_STEPS` of them (`steps_of`). `early_ms`, `early_price`,
    `early_item`, shape (N, EARLY): time, price (NaN: not known) and hash of the item (0: none) of the first ones.
    `price_sum` and `priced`: of the events with a price.

    Of all events: `events`, `actions` (shape (N, len(ACTIONS))), `checkouts` (one may have many lines), `spend` in the
    shop's currency, `bought_ms` of the first purchase (`NEVER` without one). `last_kind` and `order` are of the last
    event.
    """

    visitor: Texts
    source: Texts
    country: Texts
    device: Texts
    category: Texts
    events: Integers
    actions: Integers
    checkouts: Integers
    spend: Floats
    bought_ms: Integers
    last_kind: npt.NDArray[np.uint8]
    order: Hashes
    steps: Integers
    step_ms: Integers
    kinds: Integers
    path: Hashes
    price_sum: Floats
    priced: Integers
    early_ms: Integers
    early_price: Floats
    early_item: Hashes

    @property
    def bought(self) -> Flags:
        """Whether there was a purchase."""
        return self.checkouts > 0


def steps_of(path: int) -> list[int]:
    """The codes of `GROUPS` in a path, in order."""
    steps = []
    while path:
        steps.append((path & 15) - 1)
        path >>= _BITS
    return steps


class Sessions(Stretches[SessionRows]):
    """Takes events in the order of their times, and gives the sessions that are over."""

    def _singles(self, block: Block) -> SessionRows:
        purchase = block.kind == _PURCHASE
        before = ~purchase
        count = len(block)
        known = ~np.isnan(block.price)
        price = np.where(known, block.price, 0.0)
        early_ms, early_item = np.zeros((count, EARLY), np.int64), np.zeros((count, EARLY), np.uint64)
        early_price = np.full((count, EARLY), np.nan)
        early_ms[:, 0], early_item[:, 0], early_price[:, 0] = block.time_ms, block.item_hash, block.price
        kinds = np.zeros((count, len(GROUPS)), np.int64)
        kinds[np.arange(count), block.kind] = before
        return SessionRows(
            key=mix(block.visitor_hash, block.session_hash),
            first_ms=block.time_ms,
            active_ms=block.time_ms,
            closed_by=np.zeros(count, np.int8),
            visitor=block.visitor,
            source=block.source,
            country=block.country,
            device=block.device,
            category=block.category,
            events=np.ones(count, np.int64),
            actions=_actions(block),
            checkouts=purchase.astype(np.int64),
            spend=np.where(purchase, price * block.quantity, 0.0),
            bought_ms=np.where(purchase, block.time_ms, NEVER),
            last_kind=block.kind,
            order=np.where(purchase, hash_texts(block.order), np.uint64(0)),
            steps=before.astype(np.int64),
            step_ms=np.where(before, block.time_ms, 0),
            kinds=kinds,
            path=np.where(before, block.kind + np.uint64(1), np.uint64(0)),
            price_sum=np.where(before, price, 0.0),
            priced=(before & known).astype(np.int64),
            early_ms=early_ms,
            early_price=early_price,
            early_item=early_item,
        )

    def _begins(self, rows: SessionRows) -> Flags:
        return self._after_pause(rows)

    def _added_up(self, rows: SessionRows, starts: npt.NDArray[np.intp]) -> SessionRows:
        lengths = np.diff(np.append(starts, len(rows)))
        ends = starts + lengths - 1
        of = np.repeat(np.arange(len(starts)), lengths)
        is_start = np.zeros(len(rows), bool)
        is_start[starts] = True
        # A further line of a checkout is none of its own. An open row begins its stretch, so it follows nothing.
        after = np.append(False, rows.last_kind[:-1] == _PURCHASE) & ~is_start
        lines = further_lines(rows.order, after, rows.last_kind == _PURCHASE)
        checkouts = np.where(lines, 0, rows.checkouts)
        before = _since(checkouts, starts, of) == 0
        steps = np.where(before, rows.steps, 0)
        offset = _since(steps, starts, of)
        early = np.flatnonzero(before & ~is_start & (rows.steps == 1) & (offset < EARLY))

        def first_few(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            found = values[starts]
            found[of[early], offset[early]] = values[early, 0]
            return found

        def total(values: Integers) -> Integers:
            sums: Integers = np.add.reduceat(values, starts)
            return sums

        return SessionRows(
            key=rows.key[starts],
            first_ms=rows.first_ms[starts],
            active_ms=rows.active_ms[ends],
            closed_by=rows.closed_by[starts],
            visitor=rows.visitor[starts],
            source=rows.source[first_known(rows.source != "", starts)],
            country=rows.country[first_known(rows.country != "", starts)],
            device=rows.device[first_known(rows.device != "", starts)],
            category=rows.category[last_known(rows.category != "", starts)],
            events=total(rows.events),
            actions=total(rows.actions),
            checkouts=total(checkouts),
            spend=np.add.reduceat(rows.spend, starts),
            bought_ms=np.minimum.reduceat(rows.bought_ms, starts),
            last_kind=rows.last_kind[ends],
            order=rows.order[ends],
            steps=total(steps),
            step_ms=np.maximum.reduceat(np.where(before, rows.step_ms, 0), starts),
            kinds=total(np.where(before[:, None], rows.kinds, 0)),
            path=_paths(rows.path, before, offset, starts),
            price_sum=np.add.reduceat(np.where(before, rows.price_sum, 0.0), starts),
            priced=total(np.where(before, rows.priced, 0)),
            early_ms=first_few(rows.early_ms),  # type: ignore[arg-type]
            early_price=first_few(rows.early_price),  # type: ignore[arg-type]
            early_item=first_few(rows.early_item),  # type: ignore[arg-type]
        )


def _actions(block: Block) -> Integers:
    done = {
        "view": block.kind == GROUP_CODE["item"],
        "like": block.type == EVENT_CODE["like"],
        "share": block.type == EVENT_CODE["share"],
        "cart": block.kind == GROUP_CODE["cart"],
        "purchase": block.kind == _PURCHASE,
    }
    return np.stack([done[name] for name in ACTIONS], axis=1).astype(np.int64)


def _since(values: Integers, starts: npt.NDArray[np.intp], of: npt.NDArray[np.intp]) -> Integers:
    """The sum of the values before each row, within its stretch."""
    passed = np.cumsum(values) - values
    return passed - passed[starts][of]


def _paths(path: Hashes, before: Flags, offset: Integers, starts: npt.NDArray[np.intp]) -> Hashes:
    """The steps one behind the other, as far as they fit."""
    fits = before & (offset < PATH_STEPS)
    shift = (_BITS * np.minimum(offset, PATH_STEPS - 1)).astype(np.uint64)
    joined: Hashes = np.bitwise_or.reduceat(np.where(fits, path << shift, np.uint64(0)), starts)
    return joined

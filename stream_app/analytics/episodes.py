"""Visitor × item: one row for each episode of a visitor with an item.

An episode begins with a visitor's first event about an item. It ends at its purchase, or when nothing more has come
about the item for the time-out: "view, view, add_to_cart, purchase, view" is two episodes, (2 views, cart, bought) and
(1 view, nothing). Shops write a purchase of three pieces as three events: purchases of the item right after its
purchase, of the same order or without order ids, are further lines of that episode. A purchase without a cart and a
cart without a view are episodes like any other. Refunds, and events that name no item, belong to none; the latter are
counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.analytics.block import Block
from stream_app.analytics.hashing import hash_texts, mix
from stream_app.analytics.stretches import NEVER, OPEN_MAX, Stretch, Stretches, further_lines
from stream_app.analytics.table import Flags, Floats, Hashes, Integers, Texts, last_known
from stream_app.analytics.time_order import TimeOrder
from stream_app.core.pages import GROUP_CODE

_ITEM, _CART, _INTEREST = GROUP_CODE["item"], GROUP_CODE["cart"], GROUP_CODE["interest"]
_PURCHASE: Final = GROUP_CODE["purchase"]
_REFUND: Final = GROUP_CODE["refund"]


@dataclass(frozen=True, slots=True)
class EpisodeRows(Stretch):
    """Episodes; `key` is that of visitor and item. Times in ms UTC; `value` and `price` in the shop's currency.

    `viewed_ms` and `bought_ms` are the first view's and the first purchase's time (`NEVER` without one). `interest`
    counts likes, shares and wishes; `lines` purchase events, `value` what they cost. `price` is the last known one, NaN
    if none. `order` is the hash of the order id if the last event is a purchase that has one, else 0.
    """

    visitor: Texts
    item: Texts
    category: Texts
    brand: Texts
    source: Texts
    viewed_ms: Integers
    bought_ms: Integers
    events: Integers
    views: Integers
    carts: Integers
    interest: Integers
    lines: Integers
    value: Floats
    price: Floats
    order: Hashes

    @property
    def last_ms(self) -> Integers:
        """When each ended: its purchase, or without one its last event."""
        last: Integers = np.where(self.purchased, self.bought_ms, self.active_ms)
        return last

    @property
    def duration_ms(self) -> Integers:
        """From the first event to the end; 0 for one event alone."""
        return self.last_ms - self.first_ms

    @property
    def purchased(self) -> Flags:
        """Whether each ended in a purchase."""
        return self.lines > 0

    @property
    def ends_itself(self) -> Flags:
        """Whether each ended in a purchase."""
        return self.purchased

    @property
    def added_to_cart(self) -> Flags:
        """Whether the item was put into the cart, and perhaps taken out again."""
        return self.carts > 0


class Episodes(Stretches[EpisodeRows]):
    """Takes events in the order of their times, and gives the episodes that are over.

    A bought one stays open for the time-out, for further lines of its order.

    Attributes
    ----------
    without_item, purchases_without_item, refunds
        Events that belong to no episode; the first counts the second, too. A shop that tells purchases of whole carts
        has only such ones: which items were bought cannot be known then.
    """

    def __init__(self, *, timeout_ms: int, open_max: int = OPEN_MAX) -> None:
        super().__init__(timeout_ms=timeout_ms, open_max=open_max)
        self.without_item = self.purchases_without_item = self.refunds = 0

    def _singles(self, block: Block) -> EpisodeRows:
        refund, nameless = block.kind == _REFUND, block.item_hash == 0
        self.refunds += int(refund.sum())
        self.without_item += int((nameless & ~refund).sum())
        self.purchases_without_item += int((nameless & (block.kind == _PURCHASE)).sum())
        block = block.take(~refund & ~nameless)
        line = block.kind == _PURCHASE
        cost = np.where(np.isnan(block.price), 0.0, block.price) * block.quantity
        return EpisodeRows(
            key=mix(block.visitor_hash, block.item_hash),
            first_ms=block.time_ms,
            active_ms=block.time_ms,
            closed_by=np.zeros(len(block), np.int8),
            visitor=block.visitor,
            item=block.item,
            category=block.category,
            brand=block.brand,
            source=block.source,
            viewed_ms=np.where(block.kind == _ITEM, block.time_ms, NEVER),
            bought_ms=np.where(line, block.time_ms, NEVER),
            events=np.ones(len(block), np.int64),
            views=_ones(block.kind == _ITEM),
            carts=_ones(block.kind == _CART),
            interest=_ones(block.kind == _INTEREST),
            lines=_ones(line),
            value=np.where(line, cost, 0.0),
            price=block.price,
            order=np.where(line, hash_texts(block.order), np.uint64(0)),
        )

    def _begins(self, rows: EpisodeRows) -> Flags:
        after_purchase = np.append(False, rows.purchased[:-1])
        more = further_lines(rows.order, after_purchase, rows.purchased)
        return self._after_pause(rows) | (after_purchase & ~more)

    def _added_up(self, rows: EpisodeRows, starts: npt.NDArray[np.intp]) -> EpisodeRows:
        ends = np.append(starts[1:], len(rows)) - 1

        def known(texts: Texts) -> Texts:
            return texts[last_known(texts != "", starts)]

        def total(values: Integers) -> Integers:
            sums: Integers = np.add.reduceat(values, starts)
            return sums

        return EpisodeRows(
            key=rows.key[starts],
            first_ms=rows.first_ms[starts],
            active_ms=rows.active_ms[ends],
            closed_by=rows.closed_by[starts],
            visitor=rows.visitor[starts],
            item=rows.item[starts],
            category=known(rows.category),
            brand=known(rows.brand),
            source=known(rows.source),
            viewed_ms=np.minimum.reduceat(rows.viewed_ms, starts),
            bought_ms=np.minimum.reduceat(rows.bought_ms, starts),
            events=total(rows.events),
            views=total(rows.views),
            carts=total(rows.carts),
            interest=total(rows.interest),
            lines=total(rows.lines),
            value=np.add.reduceat(rows.value, starts),
            price=rows.price[last_known(~np.isnan(rows.price), starts)],
            order=rows.order[ends],
        )


def consolidated(blocks: Iterable[Block], *, order: TimeOrder, episodes: Episodes) -> Iterator[EpisodeRows]:
    """Yield the episodes of a history as they come to be over: blocks in any order go in, all rows come out."""
    for block in blocks:
        released = order.feed(block)
        yield episodes.feed(released, watermark_ms=order.watermark_ms)
    held = order.close()
    if held is not None:
        yield episodes.feed(held, watermark_ms=order.watermark_ms)
    rest = episodes.close()
    if rest is not None:
        yield rest


def _ones(flags: Flags) -> Integers:
    return flags.astype(np.int64)

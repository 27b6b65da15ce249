"""Many events at once, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.analytics.hashing import hash_texts, mix
from stream_app.analytics.table import Floats, Hashes, Integers, Table, Texts
from stream_app.core.events import EVENT_CODE, EVENT_TYPES, Event
from stream_app.core.pages import GROUP_OF_TYPE, step_group

#: Code of an event type → code of its kind of step, for events whose URL says nothing more.
KIND_OF_TYPE: Final[npt.NDArray[np.uint8]] = np.array([GROUP_OF_TYPE[name] for name in EVENT_TYPES], np.uint8)

#: The columns of text that an event may have.
TEXT_COLUMNS: Final = (
    "visitor", "session", "item", "category", "brand", "source", "country", "device", "order", "page",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block(Table):
    """Events, in any order. Texts are "" and prices NaN where an event does not say.

    `time_ms` is UTC; `type` is a code of `events.EVENT_TYPES` and `kind` one of `pages.GROUPS`; `identity` is equal for
    events that are one and the same, sent twice. `visitor_hash`, `session_hash` and `item_hash` are those of the texts
    (`hashing.hash_texts`). `quantity` is 1 where an event does not say.
    """

    time_ms: Integers
    type: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    price: Floats
    quantity: Floats
    visitor: Texts
    session: Texts
    item: Texts
    category: Texts
    brand: Texts
    source: Texts
    country: Texts
    device: Texts
    order: Texts
    page: Texts
    identity: Hashes
    visitor_hash: Hashes
    session_hash: Hashes
    item_hash: Hashes


def make_block(
    *,
    time_ms: Integers,
    type: npt.NDArray[np.uint8],
    kind: npt.NDArray[np.uint8],
    price: Floats,
    quantity: Floats,
    event_id: Texts | None = None,
    **texts: Texts,
) -> Block:
    """Build a block from its columns; of `TEXT_COLUMNS`, those left out are not known of any event.

    Without `event_id`, events are the same when all that is said of them is: formats without ids derive them so.
    """
    nothing = np.full(len(time_ms), "", dtype=object)
    columns = {name: texts.get(name, nothing) for name in TEXT_COLUMNS}
    hashes = {name: hash_texts(text) for name, text in texts.items()}
    none = np.zeros(len(time_ms), np.uint64)
    if event_id is not None:
        # With its time: a copy has both, and one that claims another time must not be known by luck alone.
        identity = mix(hash_texts(event_id), time_ms.view(np.uint64))
    else:
        numbers = (time_ms.view(np.uint64), type.astype(np.uint64), price.view(np.uint64))
        identity = mix(*numbers, *(hashes[name] for name in TEXT_COLUMNS if name in hashes))
    return Block(
        time_ms,
        type,
        kind,
        price,
        quantity,
        columns["visitor"],
        columns["session"],
        columns["item"],
        columns["category"],
        columns["brand"],
        columns["source"],
        columns["country"],
        columns["device"],
        columns["order"],
        columns["page"],
        identity,
        hashes.get("visitor", none),
        hashes.get("session", none),
        hashes.get("item", none),
    )


def block_of(events: Sequence[Event], *, has_ids: bool, columns: Sequence[str] = TEXT_COLUMNS) -> Block:
    """Build a block from events whose times are in ms.

    Without `has_ids` their ids are derived ones and do not count; `columns` then has to be the same for all blocks of
    a history, or the same event would be another in each.
    """

    def text(values: Sequence[str | None]) -> Texts:
        column = np.empty(len(values), dtype=object)
        column[:] = [value or "" for value in values]
        return column

    names = {
        "visitor": "visitor_id",
        "session": "session_id",
        "item": "item_id",
        "order": "order_id",
        "page": "page_url",
    }
    return make_block(
        time_ms=np.array([event.event_time for event in events], np.int64),
        type=np.array([EVENT_CODE[event.event_type] for event in events], np.uint8),
        kind=np.array([step_group(event.event_type, event.page_url) for event in events], np.uint8),
        price=np.array([np.nan if event.price is None else event.price for event in events], np.float64),
        quantity=np.array([1.0 if event.quantity is None else event.quantity for event in events], np.float64),
        event_id=text([event.event_id for event in events]) if has_ids else None,
        **{name: text([getattr(event, names.get(name, name)) for event in events]) for name in columns},
    )

"""Plain CSV rows, cut by pandas and understood column by column, several times as fast as one by one.

The adapters of `producers` decide what a row means, here too: a column's *distinct* texts go through their functions,
once each. A row is taken here only if nothing about it is in doubt; any other (quotes, odd line ends, an unknown type,
a price that is none …) is left to the format's own parser, which says why it is refused, or that it is fine after all.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from producers.adapters import rees46, retailrocket
from producers.adapters.row import price
from stream_app.analytics.block import KIND_OF_TYPE, Block, make_block
from stream_app.analytics.table import Flags, Floats, Integers, Texts
from stream_app.core.codec import Rejected
from stream_app.core.events import AMOUNT_MAX, EVENT_CODE, EVENT_TIME_AHEAD_MS_MAX, EVENT_TIME_MS_MIN, ID_LENGTH_MAX

#: Of no event type, time or price.
_NONE: Final = -1


class PlainRows(Protocol):
    """Columns of text by name → a block of the rows that are certain, and which these are."""

    def __call__(self, columns: dict[str, Texts], *, now_ms: int) -> tuple[Block, Flags]:
        """Understand N rows; the flags have shape (N,)."""


def plain_rows(rows: Sequence[bytes], commas: int) -> Flags:
    """Which rows can be cut at their commas; shape (N,).

    Shorter than any bound on a field, they cannot hold one that is too long.
    """
    fit = np.array([len(raw) <= ID_LENGTH_MAX and raw.count(b",") == commas for raw in rows])
    data = b"\n".join(rows)
    for odd in (b'"', b"\r", b"\0"):
        if odd in data:  # seldom: it is worth asking all at once first
            fit &= np.array([odd not in raw for raw in rows])
    return fit


def cut(rows: Sequence[bytes], names: Sequence[str], wanted: Sequence[str]) -> dict[str, Texts] | None:
    """Columns of plain rows, by name; None if they are better not cut here (not UTF-8)."""
    data = b"\n".join(rows)
    if data.startswith(codecs.BOM_UTF8):  # pandas would swallow it, wherever in the file these rows were
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    frame = pd.read_csv(
        io.BytesIO(data),
        header=None,
        names=list(names),
        usecols=list(wanted),
        dtype=object,
        na_filter=False,
        quoting=3,
        lineterminator="\n",
        engine="c",
        skip_blank_lines=False,
        index_col=False,
    )
    return {name: frame[name].to_numpy(dtype=object) for name in wanted}


def rees46_rows(columns: dict[str, Texts], *, now_ms: int) -> tuple[Block, Flags]:
    """As `rees46.to_event`."""
    types = _types(columns["event_type"], rees46.EVENT_TYPES)
    times = _times(columns["event_time"], rees46.time_ms, now_ms=now_ms)
    prices, are_prices = _prices(columns["price"])
    session, user = columns["user_session"], columns["user_id"]
    visitor = np.where(user == "", session, user)
    code = columns["category_code"]
    certain = (types >= 0) & (times >= 0) & are_prices & (visitor != "")
    block = _block(
        certain,
        types,
        times,
        prices,
        visitor=visitor,
        session=session,
        item=columns["product_id"],
        category=np.where(code == "", columns["category_id"], code),
        brand=columns["brand"],
    )
    return block, certain


def retailrocket_rows(columns: dict[str, Texts], *, now_ms: int) -> tuple[Block, Flags]:
    """As `retailrocket.to_event`."""
    types = _types(columns["event"], retailrocket.EVENT_TYPES)
    times = _times(columns["timestamp"], _milliseconds, now_ms=now_ms)
    visitor = columns["visitorid"]
    certain = (types >= 0) & (times >= 0) & (visitor != "")
    block = _block(
        certain,
        types,
        times,
        np.full(len(types), np.nan),
        visitor=visitor,
        item=columns["itemid"],
        order=columns["transactionid"],
    )
    return block, certain


#: Format → how its plain rows are understood, and the columns of text (`block.TEXT_COLUMNS`) that it has.
PLAIN: Final[dict[str, tuple[PlainRows, tuple[str, ...]]]] = {
    rees46.NAME: (rees46_rows, ("visitor", "session", "item", "category", "brand")),
    retailrocket.NAME: (retailrocket_rows, ("visitor", "item", "order")),
}


def _block(certain: Flags, types: Integers, times: Integers, prices: Floats, **texts: Texts) -> Block:
    codes = types[certain].astype(np.uint8)
    return make_block(
        time_ms=times[certain],
        type=codes,
        kind=KIND_OF_TYPE[codes],
        price=prices[certain],
        quantity=np.ones(len(codes)),
        **{name: text[certain] for name, text in texts.items()},
    )


def _types(texts: Texts, names: dict[str, str]) -> Integers:
    return _each(texts, lambda text: EVENT_CODE[names[text]] if text in names else _NONE, np.int64)


def _times(texts: Texts, read: Callable[[str], int | Rejected], *, now_ms: int) -> Integers:
    def one(text: str) -> int:
        time = read(text)
        within = isinstance(time, int) and EVENT_TIME_MS_MIN <= time <= now_ms + EVENT_TIME_AHEAD_MS_MAX
        return time if within and isinstance(time, int) else _NONE

    return _each(texts, one, np.int64)


def _prices(texts: Texts) -> tuple[Floats, Flags]:
    def one(text: str) -> float:
        found = price(text)
        if found is None:
            return np.nan
        return found if isinstance(found, float) and found <= AMOUNT_MAX else _NONE

    prices = _each(texts, one, np.float64)
    return prices, prices != _NONE


def _milliseconds(text: str) -> int | Rejected:
    # Fewer digits are before the year 2000, and what is no plain number is the adapter's to judge.
    plain = text.isascii() and text.isdigit() and len(text) <= 15
    return int(text) if plain else Rejected("invalid_value", "")


def _each(texts: Texts, read: Callable[[str], float], dtype: Any) -> npt.NDArray[Any]:
    """A number for each text; each distinct text is read once."""
    codes, known = pd.factorize(texts)
    return np.array([read(text) for text in known], dtype=dtype)[codes]

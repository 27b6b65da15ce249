"""Visitor × item rows: worked out by hand, the same however the events are cut, and as pandas has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from producers.formats import FORMATS
from stream_app.analytics.block import Block
from stream_app.analytics.episodes import EpisodeRows, Episodes, consolidated
from stream_app.analytics.stretches import CLOSED_BY
from stream_app.analytics.time_order import TimeOrder
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import Event
from tests.analytics.small import GAP, MINUTE, T0, block, blocks, event, histories, unhurried
from tests.producers.test_real_files import NOW_MS, files, found

_FIELDS = (
    "visitor",
    "item",
    "first_ms",
    "last_ms",
    "events",
    "views",
    "carts",
    "interest",
    "lines",
    "value",
    "category",
)


def rows_of(parts: Iterable[Block], **settings: Any) -> tuple[list[tuple[Any, ...]], Episodes]:
    """All rows as tuples of `_FIELDS` and why they ended, sorted."""
    episodes = Episodes(**{"timeout_ms": GAP} | settings)
    told = list(consolidated(parts, order=TimeOrder(lateness_ms=MINUTE), episodes=episodes))
    return sorted(tuple_of(told)), episodes


def tuple_of(parts: Sequence[EpisodeRows]) -> list[tuple[Any, ...]]:
    rows = EpisodeRows.concat(list(parts))
    columns = [getattr(rows, name).tolist() for name in _FIELDS]
    return list(zip(*columns, [CLOSED_BY[code] for code in rows.closed_by], strict=True))


def brief(events: Sequence[Event], **settings: Any) -> list[tuple[Any, ...]]:
    """Of each row: first and last minute, views, carts, lines, why it ended; in the order of the beginning."""
    rows, _ = rows_of([block(events)], **settings)
    told = [((row[2] - T0) / MINUTE, (row[3] - T0) / MINUTE, row[5], row[6], row[8], row[11]) for row in rows]
    return sorted(told)


# min   0     1     2     3     4
#       view  view  cart  buy   view
#       └──── episode 1 ────┘   └ 2 … the events end before its time-out
def test_a_purchase_ends_an_episode_and_the_view_after_it_begins_another() -> None:
    events = [event("a", "x", what, n) for n, what in enumerate(["view", "view", "cart", "buy", "view"])]
    assert brief(events) == [(0, 3, 2, 1, 1, "purchase"), (4, 4, 1, 0, 0, "end")]


def test_a_purchase_without_a_view_and_a_cart_without_a_view_are_episodes() -> None:
    events = [event("a", "x", "buy", 0), event("a", "y", "cart", 1)]
    assert brief(events) == [(0, 0, 0, 0, 1, "purchase"), (1, 1, 0, 1, 0, "end")]


# min   0           30          60.1
#       view        view        view     30 min of quiet are not longer than the time-out, 30.1 are
@pytest.mark.parametrize(("third", "rows"), [(60, 1), (60.1, 2)])
def test_an_episode_is_over_when_it_was_quiet_for_longer_than_the_timeout(third: float, rows: int) -> None:
    assert len(brief([event("a", "x", "view", minute) for minute in (0, 30, third)])) == rows


def test_other_visitors_and_other_items_do_not_keep_an_episode_open() -> None:
    others = [event("a", "y", "view", 20), event("b", "x", "view", 20), event("a", "y", "view", 40)]
    events = [event("a", "x", "view", 0), *others, event("a", "x", "view", 45)]
    assert [row[:3] for row in brief(events)] == [(0, 0, 1), (20, 20, 1), (20, 40, 2), (45, 45, 1)]


@pytest.mark.parametrize(
    ("first", "second", "lines"), [("o1", "o1", [2]), ("o1", None, [2]), (None, None, [2]), ("o1", "o2", [1, 1])]
)
def test_further_lines_of_the_order_belong_to_the_purchase(
    first: str | None, second: str | None, lines: list[int]
) -> None:
    events = [
        event("a", "x", "view", 0),
        event("a", "x", "buy", 2, order_id=first, price=5.0),
        event("a", "x", "buy", 3, order_id=second, price=5.0, quantity=3.0),
    ]
    rows, _ = rows_of([block(events)])
    assert sorted(row[8] for row in rows) == lines
    # The episode ended at its purchase: later lines cost something and do not make it longer.
    assert rows[0][3] == T0 + 2 * MINUTE
    assert sum(row[9] for row in rows) == 5.0 + 15.0


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_line_without_an_order_does_not_hide_that_the_next_is_of_another(cut: int) -> None:
    lines = [event("a", "x", "buy", n, order_id=order) for n, order in enumerate(["o1", None, "o2", "o3"])]
    whole, _ = rows_of([block(lines)])
    # Each is compared with the one before it: what says nothing of its order goes with either.
    assert sorted(row[8] for row in whole) == [1, 3]
    episodes = Episodes(timeout_ms=GAP)
    told = [episodes.feed(part, watermark_ms=T0) for part in blocks(lines, [cut])]
    rest = episodes.close()
    assert rest is not None
    assert sorted(tuple_of([*told, rest])) == whole


def test_names_and_prices_are_the_last_known_ones() -> None:
    events = [
        event("a", "x", "view", 0, category="hats", price=9.0),
        event("a", "x", "view", 1, category="shoes"),
        event("a", "x", "view", 2, brand="acme"),
    ]
    told = EpisodeRows.concat(
        list(consolidated([block(events)], order=TimeOrder(lateness_ms=0), episodes=Episodes(timeout_ms=GAP)))
    )
    assert (told.category.tolist(), told.brand.tolist(), told.price.tolist()) == (["shoes"], ["acme"], [9.0])


def test_events_without_an_item_and_refunds_belong_to_no_episode_and_are_counted() -> None:
    events = [event("a", None, "page", 0), event("a", None, "buy", 1), event("a", "x", "refund", 2)]
    rows, episodes = rows_of([block(events)])
    assert (rows, episodes.without_item, episodes.purchases_without_item, episodes.refunds) == ([], 2, 1, 1)


def test_an_episode_is_told_as_soon_as_the_watermark_says_that_it_is_over() -> None:
    episodes = Episodes(timeout_ms=GAP)
    first = block([event("a", "x", "view", 0), event("b", "x", "view", 1)])
    assert len(episodes.feed(first, watermark_ms=T0 + GAP)) == 0
    nothing = first.take(np.zeros(2, bool))
    over = episodes.feed(nothing, watermark_ms=T0 + GAP + 1)
    assert (over.visitor.tolist(), len(episodes)) == (["a"], 1)


def test_past_the_bound_those_quiet_for_longest_are_ended_and_counted() -> None:
    events = [event("a", "x", "view", 0), event("b", "x", "view", 1), event("c", "x", "view", 2)]
    later = [event("a", "x", "view", 3)]
    episodes = Episodes(timeout_ms=GAP, open_max=2)
    flushed = episodes.feed(block(events), watermark_ms=T0)
    assert (tuple_of([flushed])[0][0], tuple_of([flushed])[0][-1], episodes.flushed) == ("a", "memory", 1)
    # What it does later begins another row: nothing is counted twice.
    episodes.feed(block(later), watermark_ms=T0)
    rest = episodes.close()
    assert rest is not None
    assert sum(row[4] for row in tuple_of([flushed, rest])) + 1 == 4  # b's row was ended by the fourth event
    assert episodes.flushed == 2


@unhurried
@given(histories())
def test_however_the_events_are_cut_the_rows_are_the_same(history: tuple[list[Event], list[int]]) -> None:
    events, cuts = history
    whole, _ = rows_of([block(events)])
    pieces, _ = rows_of(blocks(events, cuts))
    assert pieces == whole


@unhurried
@given(histories())
def test_every_event_is_in_one_row_or_counted_beside(history: tuple[list[Event], list[int]]) -> None:
    events, cuts = history
    rows, episodes = rows_of(blocks(events, cuts))
    distinct = len({(e.event_id, e.event_time) for e in events})
    assert sum(row[4] for row in rows) + episodes.without_item + episodes.refunds == distinct


@files
def test_the_rows_of_a_real_file_are_those_that_pandas_finds(name: str, format: str) -> None:
    path = found(name)
    episodes = Episodes(timeout_ms=GAP)
    with BlockSource(path, FORMATS[format], now_ms=NOW_MS, block_rows=5_000) as source:
        parts = sorted(source, key=lambda part: int(part.time_ms.min())) if format == "rees46" else [whole(source)]
    rows = EpisodeRows.concat(list(consolidated(parts, order=TimeOrder(lateness_ms=MINUTE), episodes=episodes)))
    expected = by_pandas(pd.read_csv(path, dtype=str, keep_default_na=False), format)
    got = pd.DataFrame({name: getattr(rows, name) for name in ("visitor", "item", "first_ms", "last_ms", "views")})
    got["carts"], got["bought"] = rows.carts, rows.purchased.astype(int)
    order = ["visitor", "item", "first_ms", "last_ms", "views"]
    pd.testing.assert_frame_equal(
        got.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True), check_dtype=False
    )
    assert len(expected) > 3_000


def whole(source: BlockSource) -> Block:
    return Block.concat(list(source))


def by_pandas(frame: pd.DataFrame, format: str) -> pd.DataFrame:
    """Rows by sorting everything and going through it: whole in memory, and written down without looking at ours."""
    frame = frame.drop_duplicates()
    if format == "rees46":
        frame["visitor"] = frame["user_id"].where(frame["user_id"] != "", frame["user_session"])
        moments = pd.to_datetime(frame["event_time"], format="%Y-%m-%d %H:%M:%S UTC")
        frame["time"] = moments.astype("datetime64[ms]").astype("int64")
        frame = frame.rename(columns={"product_id": "item", "event_type": "kind"})
        frame["order"] = ""
    else:
        frame["time"] = frame["timestamp"].astype("int64")
        names = {"visitorid": "visitor", "itemid": "item", "event": "kind", "transactionid": "order"}
        frame = frame.rename(columns=names).replace({"kind": {"addtocart": "cart", "transaction": "purchase"}})
    frame = frame[frame["visitor"] != ""].sort_values("time", kind="stable")
    frame["row"] = range(len(frame))
    frame = frame.sort_values(["visitor", "item", "row"])
    told: list[tuple[Any, ...]] = []
    open_since: list[tuple[int, str, str]] = []
    before: Any = None
    for visitor, item, time, kind, order in frame[["visitor", "item", "time", "kind", "order"]].itertuples(index=False):
        if open_since and (before != (visitor, item) or not _goes_on(open_since[-1], time, kind, order)):
            told.append(_row(*before, open_since))
            open_since = []
        before = (visitor, item)
        open_since.append((time, kind, order))
    told.append(_row(*before, open_since))
    return pd.DataFrame(told, columns=["visitor", "item", "first_ms", "last_ms", "views", "carts", "bought"])


def _goes_on(before: tuple[int, str, str], time: int, kind: str, order: str) -> bool:
    if time - before[0] > GAP:
        return False
    if before[1] != "purchase":
        return True
    return kind == "purchase" and (order == before[2] or not order or not before[2])


def _row(visitor: Any, item: Any, events: list[tuple[int, str, str]]) -> tuple[Any, ...]:
    kinds = [kind for _, kind, _ in events]
    last = kinds.index("purchase") if "purchase" in kinds else len(kinds) - 1
    return (
        visitor,
        item,
        events[0][0],
        events[last][0],
        kinds.count("view"),
        kinds.count("cart"),
        int("purchase" in kinds),
    )

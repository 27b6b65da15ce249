"""Session rows: worked out by hand, the same however the events are cut, and as pandas has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given

from producers.formats import FORMATS
from stream_app.analytics.block import Block
from stream_app.analytics.session_features import EARLY_FEATURES, FEATURES, early_matrix, path_names, session_matrix
from stream_app.analytics.sessions import ACTIONS, SessionRows, Sessions
from stream_app.analytics.time_order import TimeOrder
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import Event
from stream_app.core.pages import GROUPS
from tests.analytics.small import GAP, MINUTE, T0, block, blocks, event, histories, unhurried
from tests.producers.test_real_files import NOW_MS, files, found


def sessions_of(parts: Sequence[Block]) -> SessionRows:
    """All sessions, by their end."""
    order, sessions = TimeOrder(lateness_ms=MINUTE), Sessions(timeout_ms=GAP)
    told = [sessions.feed(order.feed(part), watermark_ms=order.watermark_ms) for part in parts]
    held = order.close()
    if held is not None:
        told.append(sessions.feed(held, watermark_ms=order.watermark_ms))
    rest = sessions.close()
    return SessionRows.concat([*told, *([rest] if rest is not None else [])])


def comparable(rows: SessionRows) -> dict[tuple[int, int], tuple[Any, ...]]:
    times_and_sums = (
        "first_ms",
        "active_ms",
        "closed_by",
        "events",
        "checkouts",
        "spend",
        "bought_ms",
        "price_sum",
        "priced",
    )
    others = (
        "steps",
        "step_ms",
        "path",
        "last_kind",
        "order",
        "source",
        "category",
        "kinds",
        "actions",
        "early_ms",
        "early_item",
    )
    columns = [getattr(rows, name).tolist() for name in (*times_and_sums, *others)]
    prices = np.nan_to_num(rows.early_price, nan=-1.0).tolist()
    times = list(zip(rows.key.tolist(), rows.first_ms.tolist(), strict=True))
    return dict(zip(times, zip(*columns, prices, strict=True), strict=True))


# min   0     1     2     3     3     4     40
#       view  cart  buy   buy   buy   view │ view
#       x     x     o1    o1    o2    y    │         two checkouts; what follows the first leads to neither
def test_counts_are_of_what_came_before_the_first_purchase() -> None:
    events = [
        event("a", "x", "view", 0, price=8.0, source="mail"),
        event("a", "x", "cart", 1, price=8.0),
        event("a", "x", "buy", 2, price=8.0, order_id="o1"),
        event("a", "z", "buy", 3, price=2.0, order_id="o1", quantity=2.0),
        event("a", "y", "buy", 3, price=5.0, order_id="o2"),
        event("a", "y", "view", 4, price=5.0, source="ads", category="hats"),
        event("a", "y", "view", 40),
    ]
    rows = sessions_of([block(events)])
    assert rows.events.tolist() == [6, 1]
    assert (rows.checkouts.tolist(), rows.spend.tolist()) == ([2, 0], [17.0, 0.0])
    assert rows.steps.tolist() == [2, 1]
    assert [path_names(path) for path in rows.path.tolist()] == [("item", "cart"), ("item",)]
    assert rows.actions.tolist()[0] == [{"view": 2, "cart": 1, "purchase": 3}.get(name, 0) for name in ACTIONS]
    assert (rows.source[0], rows.category[0]) == ("mail", "hats")
    assert (rows.bought_ms[0] - T0) / MINUTE == 2
    assert rows.early_ms[0, :3].tolist() == [T0, T0 + MINUTE, 0]
    assert (rows.price_sum[0], rows.priced[0]) == (16.0, 2)


def test_a_session_that_begins_with_a_purchase_has_no_steps_before_it() -> None:
    rows = sessions_of([block([event("a", "x", "buy", 0), event("a", "x", "view", 1)])])
    assert (rows.steps.tolist(), rows.path.tolist(), rows.bought.tolist()) == ([0], [0], [True])


def test_given_sessions_are_apart_and_end_by_the_gap_as_well() -> None:
    events = [
        event("a", "x", "view", 0, session_id="s1"),
        event("a", "x", "view", 1, session_id="s2"),
        event("a", "x", "view", 2, session_id="s1"),
        event("a", "x", "view", 40, session_id="s1"),
    ]
    assert sorted(sessions_of([block(events)]).events.tolist()) == [1, 1, 2]


def test_long_paths_keep_their_beginning() -> None:
    rows = sessions_of([block([event("a", "x", "cart" if n % 2 else "view", n) for n in range(20)])])
    assert path_names(int(rows.path[0])) == ("item", "cart") * 8
    assert rows.steps.tolist() == [20]
    assert rows.early_ms.tolist() == [[T0 + n * MINUTE for n in range(5)]]


@unhurried
@given(histories())
def test_however_the_events_are_cut_the_sessions_are_the_same(history: tuple[list[Event], list[int]]) -> None:
    events, cuts = history
    assert comparable(sessions_of(blocks(events, cuts))) == comparable(sessions_of([block(events)]))


def test_the_matrix_of_a_session_by_hand() -> None:
    # Monday 00:00: hour's sine 0, cosine 1.
    events = [event("a", "x", "view", 0, price=3.0), event("a", "y", "view", 1, price=5.0), event("a", "x", "cart", 3)]
    rows = sessions_of([block(events)])
    told = dict(zip(FEATURES, session_matrix(rows)[0].tolist(), strict=True))
    expected = {
        "l1_item": np.log(3), "l1_cart": np.log(2), "l1_steps": np.log(4), "l1_seconds": np.log(181),
        "l1_price_mean": np.log(5), "priced": 1.0, "hour_cos": 1.0,
    }  # fmt: skip
    assert {name: value for name, value in told.items() if value} == expected
    early = dict(zip(EARLY_FEATURES, early_matrix(rows, 3)[0].tolist(), strict=True))
    assert {name: early[name] for name in FEATURES} == told
    assert (early["l1_last_gap"], early["items"], early["same_item"]) == (np.log(121), 2.0, 0.0)
    first = dict(zip(EARLY_FEATURES, early_matrix(rows, 1)[0].tolist(), strict=True))
    assert (first["l1_steps"], first["l1_seconds"], first["items"]) == (np.log(2), 0.0, 1.0)


@files
def test_sessions_of_a_real_file_are_those_of_pandas(name: str, format: str) -> None:
    with BlockSource(found(name), FORMATS[format], now_ms=NOW_MS) as source:
        whole = Block.concat(list(source))
    rows = sessions_of([whole])
    frame = pd.DataFrame(
        {
            "visitor": whole.visitor,
            "session": whole.session,
            "time": whole.time_ms,
            "kind": whole.kind,
            "id": whole.identity,
        }
    )
    frame = frame.drop_duplicates("id").sort_values("time", kind="stable")
    by = frame.groupby(["visitor", "session"], sort=False)
    frame["part"] = (by["time"].diff() > GAP).groupby([frame["visitor"], frame["session"]]).cumsum()
    frame["bought"] = frame["kind"] == GROUPS.index("purchase")
    parts = frame.groupby(["visitor", "session", "part"])
    frame["before"] = parts["bought"].cumsum() == 0
    expected = parts.agg(
        first=("time", "min"), events=("time", "size"), steps=("before", "sum"), bought=("bought", "max")
    )
    got = pd.DataFrame({"visitor": rows.visitor, "first": rows.first_ms, "events": rows.events, "steps": rows.steps})
    got["bought"] = rows.bought
    columns = ["visitor", "first", "events", "steps", "bought"]
    pd.testing.assert_frame_equal(
        got[columns].sort_values(columns, ignore_index=True),
        expected.reset_index()[columns].sort_values(columns, ignore_index=True),
        check_dtype=False,
    )

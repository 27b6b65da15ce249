"""Purchases against time: counted by hand, the same of halves as of the whole, as pandas has them, and as planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats import FORMATS
from stream_app.analytics.block import Block
from stream_app.analytics.episodes import EpisodeRows, Episodes, consolidated
from stream_app.analytics.purchase_time import BUCKETS, NO_CATEGORY, OTHER, PurchaseTime
from stream_app.analytics.stretches import CLOSED_BY, NEVER
from stream_app.analytics.time_order import TimeOrder
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import Event
from tests.analytics.small import GAP, MINUTE, block, event, histories, unhurried
from tests.producers.test_real_files import NOW_MS, files, found


def rows_of(parts: list[Block]) -> EpisodeRows:
    order, episodes = TimeOrder(lateness_ms=MINUTE), Episodes(timeout_ms=GAP)
    return EpisodeRows.concat(list(consolidated(parts, order=order, episodes=episodes)))


def counted(rows: EpisodeRows, **settings: Any) -> PurchaseTime:
    times = PurchaseTime(**settings)
    times.add(rows)
    return times


def seen(visitor: str, seconds: float, *, bought: bool, item: str = "x", **fields: Any) -> list[Event]:
    """A view, and after so long a purchase or another view."""
    return [
        event(visitor, item, "view", 0, **fields),
        event(visitor, item, "buy" if bought else "view", seconds / 60, **fields),
    ]


# s   0        10        20                    7200
#     a 5      b 10      d 20 c 19.9 (bucket 1)   e 7300 (last bucket; several views keep it open)
def test_episodes_fall_into_the_bucket_of_their_length_and_bounces_stand_apart() -> None:
    events = [
        *seen("a", 5, bought=True),
        *seen("b", 10, bought=False),
        *seen("c", 19.9, bought=True),
        *seen("d", 20, bought=False),
        event("bounce", "x", "view", 0),
        *(event("e", "x", "view", minute) for minute in (0, 29, 58, 87, 115)),
        event("e", "x", "buy", 7_300 / 60),
        event("nobody", "x", "buy", 0),
        event("late view", "x", "cart", 0),
        event("late view", "x", "view", 1),
        event("late view", "x", "buy", 1.1),
        event("clock", "x", "view", 200),
    ]
    times = counted(rows_of([block(sorted(events, key=lambda e: e.event_time))]))  # type: ignore[arg-type, return-value]
    curve = times.curve()
    assert times.without_view == 1
    assert curve.episodes[:3].tolist() == [2, 2, 1]
    assert curve.bought[:3].tolist() == [2, 1, 0]
    assert curve.share[:2].tolist() == [1.0, 0.5]
    assert (curve.episodes[BUCKETS - 1], curve.bought[BUCKETS - 1], curve.episodes.sum()) == (1, 1, 6)
    assert (curve.bounces.episodes, curve.bounces.bought) == (2, 0)
    assert curve.sparse.all()


def test_what_the_end_of_the_data_cut_off_is_said_and_not_taken_as_over_by_the_hazard() -> None:
    curve = counted(rows_of([block([*seen("a", 5, bought=True), *seen("b", 5, bought=False)])])).curve()
    assert (curve.episodes[0], curve.cut_off[0], curve.share[0]) == (2, 1, 0.5)
    assert curve.survival.incidence[0] == 0.5


def test_categories_are_apart_and_past_the_bound_the_smallest_go_together() -> None:
    events = [
        *[e for n in range(3) for e in seen(f"a{n}", 5, bought=True, category="shoes")],
        *[e for n in range(2) for e in seen(f"b{n}", 5, bought=False, category="hats")],
        *seen("c", 5, bought=True),
    ]
    rows = rows_of([block(sorted(events, key=lambda e: e.event_time))])  # type: ignore[arg-type, return-value]
    assert counted(rows).categories() == ["shoes", "hats", NO_CATEGORY]
    few = counted(rows, categories_max=1)
    assert few.categories() == ["shoes", OTHER]
    assert (few.curve(OTHER).episodes[0], few.curve(OTHER).bought[0], few.curve("shoes").bought[0]) == (3, 1, 3)
    with pytest.raises(KeyError):
        few.curve("hats")


@unhurried
@given(histories(), st.integers(0, 60))
def test_halves_add_up_to_the_whole(history: tuple[list[Event], list[int]], cut: int) -> None:
    rows = rows_of([block(history[0])])
    places = np.arange(len(rows))
    whole, first, second = counted(rows), counted(rows.take(places[:cut])), counted(rows.take(places[cut:]))
    first.merge(second)
    assert first.categories() == whole.categories()
    for category in [None, *whole.categories()]:
        one, two = first.curve(category), whole.curve(category)
        assert (one.episodes == two.episodes).all()
        assert (one.bought == two.bought).all()
        assert one.bounces == pytest.approx(two.bounces, nan_ok=True)
    assert first.without_view == whole.without_view


@files
def test_the_shares_of_a_real_file_are_those_of_pandas(name: str, format: str) -> None:
    with BlockSource(found(name), FORMATS[format], now_ms=NOW_MS) as source:
        rows = rows_of([Block.concat(list(source))])
    curve = counted(rows).curve()
    frame = pd.DataFrame({name: getattr(rows, name) for name in ("last_ms", "viewed_ms", "purchased", "views")})
    frame = frame[frame["views"] > 0]
    frame["s"] = (frame["last_ms"] - frame["viewed_ms"]) / 1000
    bounces, timed = frame[frame["s"] == 0], frame[frame["s"] > 0]
    buckets = timed.groupby((timed["s"] // 10).clip(upper=720))["purchased"].agg(["size", "sum", "mean"])
    places = buckets.index.astype(int)
    assert curve.episodes[places].tolist() == buckets["size"].tolist()
    assert curve.share[places] == pytest.approx(buckets["mean"].to_numpy())
    assert (curve.episodes.sum(), curve.bounces.episodes) == (len(timed), len(bounces))
    assert curve.bounces.bought == bounces["purchased"].sum()


def planted(count: int, seed: int) -> tuple[EpisodeRows, np.ndarray]:
    """Episodes whose hazard of a purchase falls for ten minutes and then rises; they leave at random."""
    random = np.random.default_rng(seed)
    k = np.arange(BUCKETS)
    hazard = 0.012 - 0.010 * np.minimum(k / 60, 1.0) + 0.00005 * np.maximum(0, k - 60)
    leaves = 0.02
    ended = np.full(count, BUCKETS - 1)
    bought = np.zeros(count, bool)
    alive = np.ones(count, bool)
    for bucket in range(BUCKETS - 1):
        draw = random.random(count)
        buys, left = alive & (draw < hazard[bucket]), alive & (draw >= 1 - leaves)
        ended[buys | left] = bucket
        bought |= buys
        alive &= ~(buys | left)
    nothing, none = np.full(count, "", dtype=object), np.zeros(count, np.int64)
    end = ended * 10_000 + random.integers(1, 10_000, count)
    closed = np.where(bought, CLOSED_BY.index("purchase"), CLOSED_BY.index("time-out")).astype(np.int8)
    rows = EpisodeRows(
        key=np.arange(count, dtype=np.uint64), first_ms=none, active_ms=end, closed_by=closed,
        visitor=nothing, item=nothing, category=nothing, brand=nothing, source=nothing,
        viewed_ms=none, bought_ms=np.where(bought, end, NEVER), events=none + 2, views=none + 2, carts=none,
        interest=none, lines=bought.astype(np.int64), value=none.astype(float), price=none.astype(float),
        order=np.zeros(count, np.uint64),
    )  # fmt: skip
    return rows, hazard


def test_the_planted_curve_lies_within_the_intervals_and_its_upturn_is_not_hidden() -> None:
    rows, hazard = planted(300_000, seed=4)
    curve = counted(rows).curve()
    found = curve.survival
    enough = found.at_risk >= 500
    inside = (found.hazard_low <= hazard) & (hazard <= found.hazard_high)
    # 95 %, give or take 3 standard errors of so many buckets.
    share = inside[enough].mean()
    assert enough.sum() > 150
    assert abs(share - 0.95) < 3 * np.sqrt(0.95 * 0.05 / enough.sum()) + 0.01
    truth = np.cumprod(1.0 - hazard)
    assert ((found.survival_low <= truth) & (truth <= found.survival_high))[enough].mean() > 0.9
    # Of those who end in bucket k the share that bought is h / (h + leaving): it turns up, and so does the valley.
    valley = curve.valley[~curve.sparse & ~curve.outlier]
    turn = int(np.argmin(valley))
    assert 40 <= turn <= 90
    assert valley[-1] > 1.3 * valley[turn]
    assert curve.line is not None
    assert curve.line.misfit > 2.0  # the line alone would hide it

"""The exploratory figures: by hand, of halves as of the whole, and as pandas, SciPy and scikit-learn have them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats import FORMATS
from stream_app.analytics.balance import COUNTED, Balance, shares
from stream_app.analytics.block import Block
from stream_app.analytics.contingency import association, chi_squared_tail
from stream_app.analytics.episodes import EpisodeRows, Episodes, consolidated
from stream_app.analytics.event_counts import COLUMNS, IMPOSSIBLE, EventCounts
from stream_app.analytics.exploring import Exploring
from stream_app.analytics.funnel import Funnel
from stream_app.analytics.heavy import Heavy
from stream_app.analytics.relations import COLUMNS as RELATED
from stream_app.analytics.relations import Relations
from stream_app.analytics.sample import Sample
from stream_app.analytics.scatter import Scatter
from stream_app.analytics.session_features import session_matrix
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.signal import auc, logistic, signals
from stream_app.analytics.time_order import TimeOrder
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import EVENT_CODE, Event
from tests.analytics.small import GAP, MINUTE, block, event, histories, unhurried
from tests.analytics.test_sessions import sessions_of
from tests.producers.test_real_files import NOW_MS, files, found


def episodes_of(parts: list[Block]) -> EpisodeRows:
    order, episodes = TimeOrder(lateness_ms=MINUTE), Episodes(timeout_ms=GAP)
    return EpisodeRows.concat(list(consolidated(parts, order=order, episodes=episodes)))


def test_what_events_leave_out_and_what_cannot_be_is_counted() -> None:
    counts = EventCounts()
    counts.add(
        block(
            [
                event("a", "x", "view", 0, price=3.0),
                event("a", None, "view", 1),
                event("a", "x", "buy", 2, price=0.0),
                event("a", "x", "buy", 3),
                event("a", None, "cart", 4, price=1.0),
            ]
        )
    )
    views = EVENT_CODE["view_item"]
    missing = {name: int(counts.missing[views, n]) for n, name in enumerate(COLUMNS)}
    assert (counts.types[views], missing["item"], missing["price"], missing["visitor"]) == (2, 1, 1, 0)
    assert dict(zip(IMPOSSIBLE, counts.impossible.tolist(), strict=True)) == {
        "purchase without a price": 1,
        "purchase of nothing (price 0)": 1,
        "purchase of no pieces (quantity 0)": 0,
        "view of an item without an item": 1,
        "cart without an item": 1,
    }


# Monday 00:00 UTC is Monday 02:00 two hours east, and Sunday 22:00 two hours west.
@pytest.mark.parametrize(("offset", "hour", "weekday"), [(0, 0, 0), (2, 2, 0), (-2, 22, 6)])
def test_seasons_are_in_the_time_of_the_shop(offset: int, hour: int, weekday: int) -> None:
    balance = Balance(utc_offset_ms=offset * 3_600_000)
    rows = sessions_of([block([event("a", "x", "view", 0), event("a", "x", "buy", 1), event("b", "x", "cart", 2)])])
    balance.add(rows, rows)
    assert balance.by_hour[hour].tolist() == balance.by_weekday[weekday].tolist() == [2, 1, 1]
    assert [counts.tolist() for counts in balance.by_day.values()] == [[2, 1, 1]]
    assert balance.by_steps[1].tolist() == balance.all[0].tolist() == [2, 1, 1]
    assert shares(balance.all, "cart").share.tolist() == [0.5]
    assert COUNTED == ("sessions", "purchase", "cart")


def test_sessions_cut_off_by_the_end_are_not_taken_as_without_a_purchase() -> None:
    exploring = Exploring()
    exploring.add_sessions(sessions_of([block([event("a", "x", "view", 0), event("b", "x", "view", 100)])]))
    assert (exploring.balance.all[0, 0], exploring.balance.cut_off) == (1, 1)


def test_the_funnel_by_hand_and_drawn_to_the_overall_ratio() -> None:
    events = [
        *(event(f"v{n}", "x", "view", n, category="hats") for n in range(4)),
        event("v0", "x", "cart", 10, category="hats"),
        event("v0", "x", "buy", 11, category="hats"),
        event("v1", "x", "cart", 12, category="hats"),
        event("v9", "y", "cart", 13, category="shoes"),
    ]
    funnel = Funnel()
    funnel.add(episodes_of([block(events)]))
    names, ratios = funnel.ratios("category", 5)
    assert names == ["hats", "shoes"]
    assert (ratios["view → cart"].hits.tolist(), ratios["view → cart"].cases.tolist()) == ([2, 0], [4, 0])
    # (2 + 30 · 2/4) / (4 + 30); without any case the overall share.
    assert ratios["view → cart"].smoothed.tolist() == [17 / 34, 0.5]
    # One of three carts was bought.
    assert ratios["cart → purchase"].smoothed.tolist() == pytest.approx([(1 + 30 / 3) / 32, 10 / 31])
    assert np.isnan(ratios["view → cart"].share[1])


stats = pytest.importorskip("scipy.stats")
streams = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=200)


@unhurried
@given(streams, st.integers(1, 6), st.integers(1, 40))
def test_no_name_is_undercounted_by_more_than_is_said(stream: list[tuple[int, int]], kept: int, size: int) -> None:
    heavy = Heavy(kept_max=kept, columns=2)
    truth: Counter[str] = Counter()
    for start in range(0, len(stream), size):
        part = stream[start : start + size]
        names = np.array([f"n{name}" for name, _ in part], dtype=object)
        weights = np.array([weight for _, weight in part])
        heavy.add(names, np.stack([weights, weights * 2], axis=1))
        truth.update(dict.fromkeys(names, 0))
        for name, weight in zip(names, weights.tolist(), strict=True):
            truth[name] += weight
    counted = heavy.largest()
    found = dict(zip(counted.names, counted.counts[:, 0].tolist(), strict=True))
    assert len(heavy) <= kept
    assert heavy.missed <= truth.total() / (kept + 1)
    for name, weight in truth.items():
        assert weight - heavy.missed <= found.get(name, 0) <= weight
    assert heavy.total.tolist() == [truth.total(), 2 * truth.total()]


def test_what_is_missed_stays_within_its_bound_over_many_batches() -> None:
    random = np.random.default_rng(0)
    heavy = Heavy(kept_max=20, columns=1)
    for _ in range(200):
        names = np.array([f"n{n}" for n in (random.random(50) ** 2 * 300).astype(int)], dtype=object)
        heavy.add(names, np.ones((50, 1), np.int64))
    assert 0 < heavy.missed <= 10_000 / 21


@unhurried
@given(streams, st.integers(0, 200))
def test_with_room_for_all_halves_give_the_exact_counts(stream: list[tuple[int, int]], cut: int) -> None:
    names = np.array([f"n{name}" for name, _ in stream], dtype=object)
    weights = np.array([[weight] for _, weight in stream])
    first, second = Heavy(kept_max=13, columns=1), Heavy(kept_max=13, columns=1)
    first.add(names[:cut], weights[:cut])
    second.add(names[cut:], weights[cut:])
    first.merge(second)
    truth: Counter[str] = Counter()
    for name, (weight,) in zip(names, weights.tolist(), strict=True):
        truth[name] += weight
    counted = first.largest()
    assert dict(zip(counted.names, counted.counts[:, 0].tolist(), strict=True)) == dict(truth)
    assert first.missed == 0


def test_an_association_by_hand() -> None:
    told = association(np.array([[30, 10], [20, 40], [0, 0]]))
    assert told is not None
    # Expected 20, 20, 30, 30: 100/20 · 2 + 100/30 · 2 = 16.667; V = √(16.667 / 100).
    assert (told.chi_squared, told.degrees, told.v) == pytest.approx((50 / 3, 1, np.sqrt(1 / 6)))
    bits = sum(n / 100 * np.log2(n / e) for n, e in ((30, 20), (10, 20), (20, 30), (40, 30)))
    assert told.information == pytest.approx(bits - 1 / (200 * np.log(2)))
    assert association(np.array([[1, 2]])) is None


@unhurried
@given(st.floats(0.001, 300), st.integers(1, 60))
def test_the_tail_of_chi_squared_is_that_of_scipy(value: float, degrees: int) -> None:
    assert chi_squared_tail(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-8, abs=1e-14)


def test_an_association_is_that_of_scipy_and_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    table = np.random.default_rng(2).integers(1, 90, (7, 3))
    told = association(table)
    assert told is not None
    expected = stats.chi2_contingency(table, correction=False)
    assert (told.chi_squared, told.degrees, told.probability) == pytest.approx(
        (expected.statistic, expected.dof, expected.pvalue)
    )
    nats = metrics.mutual_info_score(None, None, contingency=table)
    assert told.information == pytest.approx(nats / np.log(2) - 12 / (2 * table.sum() * np.log(2)))


def test_scatter_of_pieces_is_that_of_the_whole_and_keeps_its_digits_far_from_zero() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) + 1e8
    pieces, rest = Scatter(4), Scatter(4)
    for part in np.split(x[:300], [1, 7, 7, 200]):
        pieces.add(part)
    rest.add(x[300:])
    pieces.merge(rest)
    assert pieces.covariance() == pytest.approx(np.cov(x.T), rel=1e-6)
    assert pieces.correlation() == pytest.approx(np.corrcoef(x.T), rel=1e-6)


def test_principal_components_are_those_of_scikit_learn_and_leave_out_what_does_not_vary() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = np.random.default_rng(4).normal(size=(400, 3)) @ np.array([[1, 2, 0], [0, 1, 1], [0, 0, 0.3]])
    scatter = Scatter(4)
    scatter.add(np.column_stack([x, np.full(400, 7.0)]))
    found = scatter.components()
    expected = decomposition.PCA().fit((x - x.mean(axis=0)) / x.std(axis=0))
    assert found.shares == pytest.approx(expected.explained_variance_ratio_)
    directions = found.loadings[:, :3] / np.linalg.norm(found.loadings[:, :3], axis=1, keepdims=True)
    assert np.abs((directions * expected.components_).sum(axis=1)) == pytest.approx(np.ones(3))
    assert (found.loadings[:, 3] == 0).all()
    assert np.abs(found.loadings).max(axis=1) == pytest.approx(found.loadings.max(axis=1))


def test_the_auc_is_that_of_scikit_learn_and_its_error_that_of_many_draws() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    areas, errors = [], []
    for _ in range(300):
        positive = random.random(300) < 0.3
        scores = np.round(random.normal(size=300) + positive, 1)
        area, error = auc(scores, positive)
        assert area == pytest.approx(metrics.roc_auc_score(positive, scores))
        areas.append(area)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.12)


def test_the_logistic_regression_is_that_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(6)
    x = random.normal(size=(800, 3))
    positive = random.random(800) < 1 / (1 + np.exp(-(x @ [1.0, -0.5, 0.0] - 1)))
    expected = linear.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, positive)
    assert logistic(x, positive) == pytest.approx([*expected.coef_[0], expected.intercept_[0]], abs=1e-4)


def carts_lead_to_purchases(count: int) -> SessionRows:
    """Sessions of a view and a cart (half of which buy) or two views (a tenth)."""
    random = np.random.default_rng(7)
    events: list[Event] = []
    for n in range(count):
        cart = random.random() < 0.3
        events += [event(f"v{n}", "x", "view", 0), event(f"v{n}", "x", "cart" if cart else "view", 1)]
        if random.random() < (0.5 if cart else 0.1):
            events.append(event(f"v{n}", "x", "buy", 2))
    return sessions_of([block(sorted(events, key=lambda e: e.event_time))])  # type: ignore[arg-type, return-value]


def test_the_signal_comes_with_the_event_that_bears_it() -> None:
    rows = carts_lead_to_purchases(1_500)
    by_purchase = signals(rows, rows.bought, target="purchase")
    assert [(told.after, told.sessions) for told in by_purchase] == [(1, 1_500), (2, 1_500), (3, 0), (5, 0)]
    # After the first event all are alike. After the second: P(cart | bought) = .15/.22, P(cart | not) = .15/.78;
    # AUC = ½ + (.682 − .192) / 2 = 0.745.
    assert by_purchase[0].auc == 0.5
    assert by_purchase[1].low < 0.745 < by_purchase[1].high
    assert by_purchase[1].high - by_purchase[1].low < 0.08
    assert np.isnan(by_purchase[2].auc)
    carted = rows.kinds[:, 5] > 0
    by_cart = signals(rows, carted, target="cart")
    # Who has carted is not asked any more: nobody is left to come to a cart.
    assert (by_cart[0].positives, by_cart[1].positives) == (int(carted.sum()), 0)


def test_the_ranking_puts_what_tells_most_first() -> None:
    rows = carts_lead_to_purchases(1_500)
    relations = Relations()
    relations.add(rows)
    ranking = relations.ranking("purchase")
    assert ranking[0].feature in ("l1_cart", "l1_item")  # each tells the other here
    assert {told.feature for told in ranking} == {"l1_cart", "l1_item"}
    correlation = relations.scatter.correlation()
    x = np.column_stack([session_matrix(rows), rows.bought, rows.kinds[:, 5] > 0]).astype(float)
    frame = pd.DataFrame(x, columns=list(RELATED)).corr()
    assert correlation == pytest.approx(frame.to_numpy(), nan_ok=True)


def test_what_goes_with_buying_is_in_the_time_of_the_shop() -> None:
    # Whoever comes after 22:00 UTC buys: in the shop's time, two hours later, those of the new day and of Saturday.
    begun = [minute for day in range(5) for minute in range(day * 1_440, (day + 1) * 1_440, 30)]
    facts = [(f"v{minute}", minute, minute % 1_440 >= 1_320) for minute in begun]

    def explored(moved: int, offset_ms: int) -> Exploring:
        events = [
            one
            for name, minute, buys in facts
            for one in (
                event(name, "x", "view", minute + moved),
                event(name, "x", "view", minute + moved + 1),
                *([event(name, "x", "buy", minute + moved + 2)] if buys else []),
            )
        ]
        exploring = Exploring(utc_offset_ms=offset_ms)
        exploring.add_sessions(sessions_of([block(sorted(events, key=lambda one: one.event_time))]))
        return exploring

    there, utc, later = explored(0, 120 * MINUTE), explored(0, 0), explored(120, 0)
    assert there.relations.ranking("purchase")[0].feature == "hour"
    columns = [one.relations.scatter.correlation() for one in (there, later, utc)]
    assert np.array_equal(columns[0], columns[1], equal_nan=True)
    assert not np.array_equal(columns[0], columns[2], equal_nan=True)
    assert there.relations.ranking("purchase") == later.relations.ranking("purchase")
    assert there.signals() == later.signals()


def test_a_sample_is_the_same_in_any_order_and_of_halves() -> None:
    rows = carts_lead_to_purchases(300)
    whole: Sample[Any] = Sample(50)
    whole.add(rows)
    first: Sample[Any] = Sample(50)
    second: Sample[Any] = Sample(50)
    places = np.random.default_rng(8).permutation(len(rows))
    first.add(rows.take(places[:120]))
    second.add(rows.take(places[120:]))
    first.merge(second)
    assert first.rows().key.tolist() == whole.rows().key.tolist()
    assert (first.seen, len(whole.rows())) == (300, 50)


@unhurried
@given(histories(), st.integers(0, 60))
def test_halves_of_the_sessions_explore_as_the_whole(history: tuple[list[Event], list[int]], cut: int) -> None:
    rows, episodes, events = (f([block(history[0])]) for f in (sessions_of, episodes_of, lambda parts: parts[0]))
    whole, first, second = Exploring(), Exploring(), Exploring()
    for exploring, part in ((whole, slice(None)), (first, slice(cut)), (second, slice(cut, None))):
        exploring.add_sessions(rows.take(np.arange(len(rows))[part]))
        exploring.add_episodes(episodes.take(np.arange(len(episodes))[part]))
        exploring.add_events(events.take(np.arange(len(events))[part]))
    first.merge(second)
    assert first.events.missing.tolist() == whole.events.missing.tolist()
    assert first.balance.by_steps.tolist() == whole.balance.by_steps.tolist()
    assert {day: c.tolist() for day, c in first.balance.by_day.items()} == {
        day: c.tolist() for day, c in whole.balance.by_day.items()
    }
    assert first.funnel.ratios("item", 9)[0] == whole.funnel.ratios("item", 9)[0]
    assert first.relations.scatter.covariance() == pytest.approx(whole.relations.scatter.covariance(), nan_ok=True)
    for target in ("purchase", "cart"):
        expected = {told.feature: told.association for told in whole.relations.ranking(target)}
        for told in first.relations.ranking(target):
            assert told.association == pytest.approx(expected.pop(told.feature))
        assert expected == {}


@files
def test_the_figures_of_a_real_file_are_those_of_pandas(name: str, format: str) -> None:
    with BlockSource(found(name), FORMATS[format], now_ms=NOW_MS) as source:
        whole = Block.concat(list(source))
    episodes = episodes_of([whole])
    funnel = Funnel()
    funnel.add(episodes)
    frame = pd.DataFrame({"item": episodes.item, "seen": episodes.views > 0, "carted": episodes.carts > 0})
    by_item = frame[frame["seen"]].groupby("item")["carted"].agg(["size", "sum"])
    names, ratios = funnel.ratios("item", 200)
    if not funnel.missed("item"):
        assert ratios["view → cart"].cases.tolist() == by_item.loc[names, "size"].tolist()
        assert ratios["view → cart"].hits.tolist() == by_item.loc[names, "sum"].tolist()
    # However many names: nothing is missed by more than is said, and the most seen are there.
    top = by_item["size"].nlargest(20)
    missing = [item for item, seen in top.items() if item not in names and seen > funnel.missed("item")]
    assert (missing, funnel.total()["seen"]) == ([], len(frame[frame["seen"]]))
    rows = sessions_of([whole])
    balance = Balance()
    balance.add(rows, rows)
    hours = pd.to_datetime(pd.Series(rows.first_ms), unit="ms", utc=True).dt
    assert balance.by_hour[:, 0].tolist() == np.bincount(hours.hour, minlength=24).tolist()
    assert balance.by_weekday[:, 0].tolist() == np.bincount(hours.day_of_week, minlength=7).tolist()
    assert balance.all[0, 1] == rows.bought.sum() > 10

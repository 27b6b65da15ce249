"""Kinds of journeys: distances and agreement by hand, planted types recovered, paths as counted one by one."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats import FORMATS
from stream_app.analytics.block import Block
from stream_app.analytics.journeys.agreement import adjusted_rand
from stream_app.analytics.journeys.clusters import Clusters
from stream_app.analytics.journeys.how_many import Evidence, choose, silhouette
from stream_app.analytics.journeys.page_rules import PageRules
from stream_app.analytics.journeys.paths import ENTRY, LEFT, PURCHASE, Paths
from stream_app.analytics.journeys.prototypes import Prototypes, fit
from stream_app.analytics.session_features import path_names
from stream_app.analytics.sessions import PATH_STEPS, SessionRows
from stream_app.block_files.reading import BlockSource
from stream_app.core.events import Event
from stream_app.core.pages import GROUPS
from tests.analytics.small import block, event, histories, unhurried
from tests.analytics.test_sessions import sessions_of
from tests.producers.test_real_files import NOW_MS, files, found


def test_agreement_by_hand() -> None:
    # Pairs together: in both 1 (0, 1); first 2 (01, 23), second 3 (01, 02, 12); of 6. Expected 1, most 2.5.
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == pytest.approx((1 - 1) / (2.5 - 1))
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])) == 1.0


groupings = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@unhurried
@given(groupings)
def test_agreement_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = np.array(pairs).T
    assert adjusted_rand(first, second) == pytest.approx(metrics.adjusted_rand_score(first, second), abs=1e-12)


def test_the_distance_is_of_numbers_and_of_names_that_differ() -> None:
    prototypes = Prototypes(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0, 0], [1, 0]]), values=2, gamma=0.5)
    assert prototypes.distances(np.array([[0.0, 1.0]]), np.array([[1, 1]])).tolist() == [[1 + 1.0, 9 + 9 + 0.5]]


def test_prototypes_are_means_and_modes_of_all_that_they_have_taken_in_batches_of_any_size() -> None:
    random = np.random.default_rng(1)
    numbers = np.concatenate([random.normal(0, 0.1, (40, 2)), random.normal(9, 0.1, (60, 2))])
    names = np.concatenate([np.zeros((40, 1), np.intp), np.full((60, 1), 2)])
    names[:5], names[50:60] = 1, 3
    order = random.permutation(100)
    prototypes = Prototypes(np.array([[1.0, 1.0], [8.0, 8.0]]), np.array([[0], [0]]), values=4)
    for part in np.split(order, [3, 20, 21]):
        prototypes.learn(numbers[part], names[part])
    assert prototypes.numbers == pytest.approx(np.stack([numbers[:40].mean(axis=0), numbers[40:].mean(axis=0)]))
    assert (prototypes.names.tolist(), prototypes.counts.tolist()) == ([[0], [2]], [40.0, 60.0])


def test_fitting_finds_what_scikit_learn_finds_in_numbers_alone() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    random = np.random.default_rng(2)
    numbers = np.concatenate([random.normal(middle, 1.0, (80, 3)) for middle in (0, 4, 8)])
    none = np.zeros((240, 1), np.intp)
    _, cost = fit(numbers, none, k=3, values=1, seed=0)
    assert cost == pytest.approx(cluster.KMeans(3, n_init=10, random_state=0).fit(numbers).inertia_ / 240, rel=1e-6)


def test_more_prototypes_than_distinct_things_do_no_harm() -> None:
    prototypes, cost = fit(np.zeros((5, 1)), np.zeros((5, 1), np.intp), k=3, values=1, seed=0)
    assert (len(prototypes), cost) == (3, 0.0)


@unhurried
@given(st.integers(0, 1_000), st.integers(2, 5))
def test_the_silhouette_is_that_of_scikit_learn(seed: int, k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    x = random.normal(size=(30, 2))
    groups = np.append(np.arange(k), random.integers(0, k, 30 - k))
    apart = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    assert silhouette(apart, groups) == pytest.approx(metrics.silhouette_score(apart, groups, metric="precomputed"))


def test_the_best_silhouette_is_taken_among_those_that_are_stable() -> None:
    told = [Evidence(2, 9.0, 0.4, 0.9), Evidence(3, 8.0, 0.5, 0.85), Evidence(4, 7.0, 0.7, 0.3)]
    assert choose(told) == 3
    assert choose([Evidence(2, 9.0, 0.4, 0.2), Evidence(3, 8.0, 0.5, 0.1)]) == 2


def planted(count: int, seed: int) -> tuple[SessionRows, np.ndarray]:
    """Sessions of four types: bouncers from ads, researchers, those who leave their cart, and quick buyers."""
    random = np.random.default_rng(seed)
    types = random.choice(4, count, p=[0.4, 0.25, 0.2, 0.15])
    events: list[Event] = []
    for n, kind in enumerate(types.tolist()):
        minute = float(random.uniform(0, 2_000_000))
        who = f"{kind}-{n}"
        source = random.choice(
            ["ads", "search", "mail"], p=[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]][kind]
        )
        steps = [
            lambda: ["page_view"] * int(random.integers(1, 3)),
            lambda: ["search", *random.choice(["view", "search", "view_item_list"], random.integers(8, 25))],
            lambda: [
                *["view"] * int(random.integers(2, 6)),
                "cart",
                "view_cart",
                *["page_view"] * int(random.integers(0, 3)),
            ],
            lambda: ["view", "cart", "begin_checkout", *(["buy"] if random.random() < 0.8 else [])],
        ][kind]()
        for step in steps:
            events.append(event(who, f"i{random.integers(99)}", str(step), minute, source=str(source)))
            minute += float(random.exponential(1.5 if kind == 1 else 0.4)) + 0.01
    rows = sessions_of([block(sorted(events, key=lambda e: e.event_time))])  # type: ignore[arg-type, return-value]
    return rows, np.array([int(visitor.split("-")[0]) for visitor in rows.visitor])


def test_four_planted_types_are_found_and_their_conversion_lies_within_the_intervals() -> None:
    rows, types = planted(3_000, seed=5)
    clusters = Clusters(rows.take(np.arange(len(rows)) < 1_500), seed=0)
    assert clusters.k == 4
    for part in np.array_split(np.arange(len(rows)), 6):
        clusters.learn(rows.take(part))
    some = rows.steps > 0
    agreement = adjusted_rand(clusters.assign(rows.take(some)), types[some])
    assert agreement > 0.95
    told = sorted(clusters.clusters(), key=lambda cluster: cluster.bought)
    assert sum(cluster.sessions for cluster in told) == some.sum()
    assert told[-1].bought_low < 0.8 < told[-1].bought_high
    assert (told[-1].names["source"], told[-1].names["last_step"]) == ("mail", "checkout")
    days, shares = clusters.drift()
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(days)))
    assert sum(counts.sum() for counts in clusters.by_day.values()) == some.sum()


def test_too_few_sessions_are_refused() -> None:
    rows, _ = planted(10, seed=1)
    with pytest.raises(ValueError, match="expected at least 20"):
        Clusters(rows, seed=0)


def test_rules_say_what_a_page_is_before_its_path_does() -> None:
    rules = PageRules([(r"/sku-\d+", "item"), (r"thank-you", "purchase")])
    pages = ["https://a.b/x/SKU-12", "/thank-you?o=1", "/cart", None]
    events = [event("a", "x", "page", n, page_url=page) for n, page in enumerate(pages)]
    events.append(event("a", "x", "view", 9, page_url="/thank-you"))
    kinds = rules.apply(block(events)).kind
    assert [GROUPS[kind] for kind in kinds] == ["item", "purchase", "view_cart", "page", "item"]


@pytest.mark.parametrize(("rule", "said"), [((r"(", "item"), "no regular expression"), (("x", "shop"), "kind 'shop'")])
def test_rules_that_say_nothing_are_refused(rule: tuple[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PageRules([rule])


def one_by_one(
    rows: SessionRows,
) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Paths, edges, and edges by sessions that bought, without arrays."""
    paths: Counter[tuple[str, ...]] = Counter()
    edges: Counter[tuple[str, str]] = Counter()
    bought_edges: Counter[tuple[str, str]] = Counter()
    for path, steps, bought in zip(rows.path.tolist(), rows.steps.tolist(), rows.bought.tolist(), strict=True):
        names = path_names(path)
        paths[names] += 1
        whole = [ENTRY, *names, *([PURCHASE if bought else LEFT] if steps <= PATH_STEPS else [])]
        edges.update(pairwise(whole))
        if bought:
            bought_edges.update(set(pairwise(whole)))
    return paths, edges, bought_edges


@unhurried
@given(histories(), st.integers(0, 60))
def test_paths_and_steps_are_those_counted_one_by_one(history: tuple[list[Event], list[int]], cut: int) -> None:
    rows = sessions_of([block(history[0])])
    paths, other = Paths(), Paths()
    places = np.arange(len(rows))
    paths.add(rows.take(places[:cut]))
    other.add(rows.take(places[cut:]))
    paths.merge(other)
    expected_paths, expected_edges, expected_bought = one_by_one(rows)
    assert {told.steps: told.sessions for told in paths.frequent(99)} == expected_paths
    assert {(edge.before, edge.after): edge.times for edge in paths.edges()} == expected_edges
    assert {(e.before, e.after): e.bought for e in paths.edges() if e.bought} == expected_bought
    assert paths.cut == (rows.steps > PATH_STEPS).sum()


@files
def test_paths_of_a_real_file_are_those_counted_one_by_one(name: str, format: str) -> None:
    with BlockSource(found(name), FORMATS[format], now_ms=NOW_MS) as source:
        rows = sessions_of([Block.concat(list(source))])
    paths = Paths()
    for part in np.array_split(np.arange(len(rows)), 3):
        paths.add(rows.take(part))
    expected_paths, expected_edges, _ = one_by_one(rows)
    top = paths.frequent(10)
    assert [told.sessions for told in top] == [count for _, count in expected_paths.most_common(10)]
    assert {(edge.before, edge.after): edge.times for edge in paths.edges()} == expected_edges

"""What the shop goes through on request: drift, a change, sales, crawlers, silence; all of it by the seed alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from producers.synthetic.behaviour import SALE_PRICE
from producers.synthetic.calendar import Calendar, Requests
from producers.synthetic.regime import SHIFT_STEPS, RegimeKey
from producers.synthetic.reporting import Happening, reported
from producers.synthetic.shop import Shop
from producers.synthetic.witness import TruthRecord, witnessed
from stream_app.core import codec
from stream_app.core.events import CheckoutLabel, Event
from tests.producers.truth_run import HOUR_MS, START_MS, hours, time_of

EVERYTHING = Requests(
    drift_days=0.5, change_events=4_000, sales=(hours(0.2, 0.6),), bots=0.02, unlabelled=(hours(0.1, 0.7),)
)


def shop_with(seed: int = 1, label_share: float = 0.0, **requests: object) -> Shop:
    return Shop(seed=seed, start_ms=START_MS, label_share=label_share, requests=Requests(**requests))  # type: ignore[arg-type]


def conversion(happenings: list[Happening], begin_ms: int, end_ms: int) -> float:
    """Share of the visits that begin between two times which buy."""
    began: dict[str, int] = {}
    bought = set()
    for event, *_ in happenings:
        began.setdefault(str(event.session_id), time_of(event))
        if event.event_type == "purchase":
            bought.add(str(event.session_id))
    chosen = [name for name, time in began.items() if begin_ms <= time < end_ms]
    return sum(name in bought for name in chosen) / len(chosen)


def test_the_same_seed_gives_the_same_stream_and_the_same_truth_with_everything_asked_for() -> None:
    streams, truths = [], []
    for seed in (5, 5, 6):
        shop = Shop(seed=seed, start_ms=START_MS, label_share=0.3, requests=EVERYTHING)
        truth: list[TruthRecord] = []
        streams.append([codec.encode(fact) for fact in islice(witnessed(shop, truth.append), 8_000)])
        truths.append([(record.event_id, record.p) for record in truth])
    assert streams[0] == streams[1]
    assert truths[0] == truths[1]
    assert set(streams[0]) & set(streams[2]) == set()


def test_telling_the_truth_leaves_the_stream_as_it_is() -> None:
    plain, beside = (Shop(seed=5, start_ms=START_MS, label_share=0.3, requests=EVERYTHING) for _ in range(2))
    told: list[TruthRecord] = []
    assert list(islice(plain, 8_000)) == list(islice(witnessed(beside, told.append), 8_000))
    assert len(told) > 7_500


def test_until_something_is_asked_for_nothing_happens() -> None:
    later = START_MS + 1_000 * HOUR_MS
    plain = islice(shop_with(), 10_000)
    assert list(plain) == list(islice(shop_with(change_ms=later, sales=(hours(900, 901),)), 10_000))


def test_a_drift_goes_to_the_changed_behaviour_and_back() -> None:
    calendar = Calendar(Requests(drift_days=2.0), start_ms=START_MS, label_share=0.0)
    steps = [calendar.regime(START_MS + hour * HOUR_MS).shift for hour in range(0, 97, 6)]
    assert steps[0] == steps[16] == 0
    assert steps[8] == SHIFT_STEPS
    assert steps[:9] == sorted(steps[:9])
    assert steps == steps[::-1]
    assert steps[4] == SHIFT_STEPS // 2


def test_a_change_by_events_is_in_force_for_visits_that_begin_after_that_event() -> None:
    calendar = Calendar(Requests(change_events=3), start_ms=START_MS, label_share=0.0)
    for number, time in ((1, 10), (2, 20), (3, 30)):
        assert calendar.regime(START_MS + 1_000) == RegimeKey()
        calendar.count(number, START_MS + time)
    assert calendar.regime(START_MS + 30) == RegimeKey()
    assert calendar.regime(START_MS + 31) == RegimeKey(SHIFT_STEPS)
    calendar.count(4, START_MS + 40)
    assert calendar.regime(START_MS + 31) == RegimeKey(SHIFT_STEPS)


def test_after_a_change_a_cart_means_less_and_purchases_go_without_one() -> None:
    change_ms = START_MS + 5 * HOUR_MS
    happenings = list(islice(shop_with(change_ms=change_ms).happenings(), 40_000))
    kinds: dict[str, list[str]] = defaultdict(list)
    began: dict[str, int] = {}
    for event, *_ in happenings:
        kinds[str(event.session_id)].append(event.event_type)
        began.setdefault(str(event.session_id), time_of(event))
    rate = {}
    for changed in (False, True):
        carted = [k for name, k in kinds.items() if "add_to_cart" in k and (began[name] >= change_ms) == changed]
        assert len(carted) > 100
        rate[changed] = np.mean(["purchase" in k for k in carted])
    # To 0.3 of it, with a standard error of 0.05.
    assert rate[True] < 0.6 * rate[False]


def test_in_a_sale_more_buy_and_all_costs_less() -> None:
    sale = hours(5, 11)
    plain, cheap = (list(islice(shop_with(sales=sales).happenings(), 70_000)) for sales in ((), (sale,)))
    for happenings in (plain, cheap):
        assert time_of(happenings[-1].event) > sale.end_ms
    usual, higher = (conversion(happenings, *sale) for happenings in (plain, cheap))
    assert 1.3 < higher / usual < 2.2
    prices: dict[bool, dict[str, set[float]]] = {False: defaultdict(set), True: defaultdict(set)}
    for event, *_ in cheap:
        if event.item_id is not None and event.price is not None:
            # A visit keeps its prices to its end: look at the middle of the sale, and away from it.
            if sale.start_ms + HOUR_MS < time_of(event) < sale.end_ms:
                prices[True][event.item_id].add(event.price)
            elif time_of(event) < sale.start_ms:
                prices[False][event.item_id].add(event.price)
    both = prices[True].keys() & prices[False].keys()
    assert len(both) > 500
    for item in both:
        assert len(prices[False][item]) == 1
        assert min(prices[True][item]) == pytest.approx(min(prices[False][item]) * SALE_PRICE, abs=0.006)


def test_crawlers_are_the_share_asked_for_read_a_lot_and_never_act() -> None:
    # A crawler is recognised from outside by what nobody else does: dozens of pages within seconds of each other.
    times: dict[str, list[int]] = defaultdict(list)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for event, *_ in islice(shop_with(bots=0.1).happenings(), 80_000):
        times[str(event.session_id)].append(time_of(event))
        kinds[str(event.session_id)][event.event_type] += 1
    last = max(found[-1] for found in times.values()) - HOUR_MS
    over = {name for name, found in times.items() if found[-1] < last}
    crawlers = {name for name in over if len(times[name]) >= 12 and np.median(np.diff(times[name])) < 6_000}
    # Some crawlers leave before their twelfth event.
    assert 0.06 < len(crawlers) / len(over) < 0.10
    acts = {"add_to_cart", "add_to_wishlist", "like", "share", "view_cart", "begin_checkout", "purchase"}
    assert sum(bool(acts & set(kinds[name])) for name in crawlers) <= 0.01 * len(crawlers)
    assert np.mean([len(times[name]) for name in crawlers]) > 30
    assert any(kinds[name]["purchase"] for name in over - crawlers)


@pytest.mark.parametrize("backlog", [True, False])
def test_in_an_unlabelled_stretch_people_buy_and_it_is_told_when_it_is_over_or_never(backlog: bool) -> None:
    silent = hours(2, 7.5)
    shop = shop_with(unlabelled=(silent,), backlog=backlog)
    bought: dict[str, int] = {}
    began: dict[str, int] = {}
    newest = START_MS

    def watched(happening: Happening) -> Happening:
        name, time = str(happening.event.session_id), time_of(happening.event)
        began.setdefault(name, time)
        if happening.event.event_type == "purchase":
            bought[name] = time
        return happening

    labels: list[CheckoutLabel] = []
    for fact in reported(map(watched, islice(shop.happenings(), 52_000))):
        if isinstance(fact, Event):
            newest = time_of(fact)
            if fact.event_type == "purchase":
                assert not silent.holds(began[str(fact.session_id)])
        else:
            assert silent.end_ms <= newest  # not before it is over …
            labels.append(fact)
    unseen = {name for name in bought if silent.holds(began[name])}
    assert len(unseen) > 100
    assert newest > silent.end_ms + HOUR_MS
    assert {label.session_id for label in labels} == (unseen if backlog else set())  # … and then all of it, or nothing
    assert all(label.checkout_time == bought[str(label.session_id)] for label in labels)


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ({"bots": 1.5}, "got bots 1.5, expected 0 to 1"),
        ({"drift_days": -1.0}, "got drift_days -1.0, expected 0 or more"),
        ({"change_ms": 5, "change_events": 5}, "expected at most one of them"),
        ({"sales": (hours(2, 1),)}, "expected it to end later"),
        ({"unlabelled": (hours(2, 2),)}, "expected it to end later"),
    ],
)
def test_impossible_requests_are_refused(requests: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shop_with(**requests)

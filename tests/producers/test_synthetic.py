"""The synthetic shop: reproducible, well-formed, as hard as it claims, and its truth true."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import pytest

from producers.synthetic.arrivals import HOUR_MS, intensity, next_arrival
from producers.synthetic.behaviour import GAP_MS_MAX, INTENT_NAMES, RETURN_MS_MIN
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.chain import BOUGHT, CARTED, EMPTY, EXIT, STATES, TYPES, Chain, state_of
from producers.synthetic.noise import BrokenRecord, Noise, disturb
from producers.synthetic.regime import SHIFT_STEPS, Regime, RegimeKey
from producers.synthetic.shop import Shop
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.events import EVENT_TYPES, CheckoutLabel, Event

START_MS = 1_735_689_600_000  # 2025-01-01T00:00Z, a Wednesday
NOW_MS = 1_893_456_000_000


def events_of(shop: Shop, number: int) -> list[Event]:
    return [fact for fact in islice(shop, number) if isinstance(fact, Event)]


def time_of(event: Event) -> int:
    assert isinstance(event.event_time, int)
    return event.event_time


class History(NamedTuple):
    """A longer run: its events by session, of those sessions that have ended."""

    sessions: dict[str, list[Event]]

    def having(self, kind: str) -> set[str]:
        return {name for name, events in self.sessions.items() if any(e.event_type == kind for e in events)}


@pytest.fixture(scope="module")
def history() -> History:
    shop = Shop(seed=1, start_ms=START_MS)
    sessions: dict[str, list[Event]] = defaultdict(list)
    last = 0
    for event in events_of(shop, 200_000):
        sessions[str(event.session_id)].append(event)
        last = time_of(event)
    ended = {name: events for name, events in sessions.items() if time_of(events[-1]) < last - HOUR_MS}
    return History(ended)


def test_the_same_seed_gives_the_same_stream_and_another_seed_another() -> None:
    first, again, other = (
        [codec.encode(fact) for fact in islice(Shop(seed=seed, start_ms=START_MS), 3_000)] for seed in (5, 5, 6)
    )
    assert first == again
    assert set(first) & set(other) == set()


def test_events_are_in_time_order_valid_and_of_distinct_ids() -> None:
    events = events_of(Shop(seed=2, start_ms=START_MS), 20_000)
    times = [time_of(event) for event in events]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert len({event.event_id for event in events}) == 20_000
    for event in events:
        assert codec.decode_event(codec.encode(event), record_time_ms=NOW_MS) == event


def test_all_of_the_shops_types_are_event_types_and_all_occur() -> None:
    assert set(TYPES) < set(EVENT_TYPES)
    counts = Counter(event.event_type for event in events_of(Shop(seed=2, start_ms=START_MS), 60_000))
    assert set(counts) == set(TYPES)


def test_a_session_is_one_visitors_and_the_inactivity_gap_finds_the_same_sessions(history: History) -> None:
    by_visitor: dict[str, list[Event]] = defaultdict(list)
    for events in history.sessions.values():
        assert len({event.visitor_id for event in events}) == 1
        by_visitor[events[0].visitor_id] += events
        gaps = [time_of(after) - time_of(before) for before, after in pairwise(events)]
        assert max(gaps, default=0) <= GAP_MS_MAX < 30 * 60 * 1000
    for events in by_visitor.values():
        events.sort(key=time_of)
        for before, after in pairwise(events):
            if before.session_id != after.session_id:
                assert time_of(after) - time_of(before) >= RETURN_MS_MIN > 30 * 60 * 1000


def test_nobody_buys_twice_and_visitors_come_back(history: History) -> None:
    purchases = [sum(e.event_type == "purchase" for e in events) for events in history.sessions.values()]
    assert max(purchases) == 1
    visits = Counter(events[0].visitor_id for events in history.sessions.values())
    assert 0.05 < 1 - len(visits) / len(history.sessions) < 0.40
    assert max(visits.values()) >= 3


def test_a_visitors_past_says_something_about_the_next_visit(history: History) -> None:
    buying = history.having("purchase")
    bought_before: dict[str, bool] = {}
    rate: dict[bool, list[bool]] = {True: [], False: []}
    for name, events in history.sessions.items():  # in the order of their first events
        visitor = events[0].visitor_id
        if visitor in bought_before:
            rate[bought_before[visitor]].append(name in buying)
        bought_before[visitor] = bought_before.get(visitor, False) or name in buying
    assert np.mean(rate[True]) > 1.4 * np.mean(rate[False])


def test_a_chains_chance_of_a_purchase_solves_the_hand_made_case() -> None:
    # view → buy 1/4, cart 1/4, exit 1/2; cart → buy 1/2, exit 1/2: from view 1/4 + 1/4 · 1/2 = 3/8
    chain = Chain(
        {"view_item": 1.0},
        {
            EMPTY: {"view_item": {"purchase": 1, "add_to_cart": 1, "exit": 2}},
            CARTED: {"add_to_cart": {"purchase": 1, "exit": 1}},
            BOUGHT: {"purchase": {"page_view": 1}, "page_view": {"exit": 1}},
        },
    )
    view, cart = state_of(EMPTY, "view_item"), state_of(EMPTY, "add_to_cart")
    assert chain.buys[view] == pytest.approx(3 / 8)
    assert chain.buys[cart] == pytest.approx(1 / 2)
    assert chain.buys[state_of(CARTED, "purchase")] == 0.0
    assert [chain.after(view, u) for u in (0.0, 0.3, 0.9)] == [cart, state_of(EMPTY, "purchase"), EXIT]
    assert chain.first(0.999999) == view


@pytest.mark.parametrize("shift", [0, SHIFT_STEPS // 2, SHIFT_STEPS])
@pytest.mark.parametrize("intent", INTENT_NAMES)
def test_every_state_that_can_be_reached_says_what_follows(intent: str, shift: int) -> None:
    chain = Regime(RegimeKey(shift)).chains[INTENT_NAMES.index(intent)]
    assert np.allclose(chain.transition.sum(axis=1), 1.0)
    reached = set(np.flatnonzero(chain.entry))
    while True:
        more = {int(s) for state in reached for s in np.flatnonzero(chain.transition[state][:STATES])} - reached
        if not more:
            break
        reached |= more
    assert [TYPES[s % len(TYPES)] for s in reached if chain.transition[s][EXIT] == 1.0] == []


def test_visits_arrive_as_often_as_asked_and_follow_the_season() -> None:
    rng = np.random.default_rng(3)
    time, times = START_MS, []
    while time < START_MS + 7 * 24 * HOUR_MS:
        time = next_arrival(time, per_hour=50.0, uniform=rng.random)
        times.append(time)
    assert len(times) == pytest.approx(7 * 24 * 50, rel=0.05)
    hours = np.bincount([(t // HOUR_MS) % 24 for t in times], minlength=24)
    assert hours[20] > 3 * hours[3]
    assert intensity(START_MS + 20 * HOUR_MS, per_hour=50.0) > intensity(START_MS + 3 * HOUR_MS, per_hour=50.0)


def test_sessions_can_be_left_to_the_gap() -> None:
    events = events_of(Shop(seed=2, start_ms=START_MS, session_ids=False), 2_000)
    assert {event.session_id for event in events} == {None}


def test_a_share_of_the_checkouts_comes_as_labels_after_the_fact() -> None:
    facts = list(islice(Shop(seed=2, start_ms=START_MS, label_share=0.5), 60_000))
    labels = [fact for fact in facts if isinstance(fact, CheckoutLabel)]
    purchases = [fact for fact in facts if isinstance(fact, Event) and fact.event_type == "purchase"]
    assert len(labels) == pytest.approx(len(purchases), rel=0.25)
    seen_until = 0
    for fact in facts:
        if isinstance(fact, Event):
            seen_until = time_of(fact)
        else:
            assert isinstance(fact.checkout_time, int)
            assert 50_000 < seen_until - fact.checkout_time < 660_000
            assert codec.decode_label(codec.encode(fact), record_time_ms=NOW_MS) == fact
    assert {label.order_id for label in labels} & {purchase.order_id for purchase in purchases} == set()


def test_without_noise_nothing_is_changed_and_with_it_every_event_arrives() -> None:
    clean = events_of(Shop(seed=2, start_ms=START_MS), 20_000)
    assert list(disturb(clean, Noise(), seed=1)) == clean
    noisy = list(disturb(clean, Noise(duplicates=0.1, late=0.1, broken=0.05), seed=1))
    events = [delivery for delivery in noisy if isinstance(delivery, Event)]
    copies = Counter(event.event_id for event in events)
    assert set(copies) == {event.event_id for event in clean}
    assert sum(copies.values()) - len(copies) == pytest.approx(2_000, rel=0.1)
    newest, late = 0, 0
    for event in events:
        late += time_of(event) < newest
        newest = max(newest, time_of(event))
    assert late == pytest.approx(4_000, rel=0.15)  # the delayed ones and the repeats
    assert len(noisy) - len(events) == pytest.approx(1_000, rel=0.15)


def test_every_broken_record_is_rejected_for_the_reason_it_was_broken() -> None:
    clean = events_of(Shop(seed=2, start_ms=START_MS), 5_000)
    broken = [d for d in disturb(clean, Noise(broken=0.2), seed=1) if isinstance(d, BrokenRecord)]
    for record in broken:
        result = codec.decode_event(record.value, record_time_ms=NOW_MS)
        assert isinstance(result, Rejected)
        assert result.reason == record.reason
    assert len({record.reason for record in broken}) == 6


@pytest.mark.parametrize(
    "arguments", [{"sessions_per_hour": 0.0}, {"label_share": 1.5}, {"categories": 49}, {"items": 3}]
)
def test_impossible_shops_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        Shop(seed=1, start_ms=START_MS, **arguments)  # type: ignore[arg-type]


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="got late 2"):
        disturb([], Noise(late=2.0), seed=1)


def test_buyers_are_drawn_to_what_appeals() -> None:
    catalogue = Catalogue(np.random.default_rng(1), items=200, categories=8)
    plain, keen = catalogue.item_probabilities(0, 0.0), catalogue.item_probabilities(0, 1.0)
    assert plain.sum() == pytest.approx(1.0)
    assert keen.sum() == pytest.approx(1.0)
    assert np.abs(keen / plain - 1).max() > 0.5

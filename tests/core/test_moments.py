"""Moments: what is told when, by hand, for each kind; and that nobody is told twice, or of what is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.core import moments, state
from stream_app.core.processor import Rules
from tests.core.streams import GRACE, MINUTE, RULES, T0, Partition, Record, ScriptedScorer, at, event, label

#: One kind alone: no trend turns so far, no score is so high.
NO_TREND = replace(RULES, trend_turn=30.0)
NO_BAND = replace(RULES, band_fence_min=0.9999, band_likely_min=0.99999)
#: Quiet after two minutes: the watermark trails by one.
QUIET = replace(NO_BAND, quiet_ms=2 * MINUTE)


def told(partition: Partition, *fields: str) -> list[tuple[Any, ...]]:
    """The fields of all moments so far; those left out as None."""
    return [tuple(moment.get(field) for field in ("kind", "event_id", *fields)) for moment in partition.moments]


def of_kind(partition: Partition, kind: str) -> list[dict[str, Any]]:
    return [moment for moment in partition.moments if moment["kind"] == kind]


def quiet_ids(partition: Partition) -> list[str]:
    return [moment["event_id"] for moment in of_kind(partition, "quiet")]


def views(count: int, *, visitor: str = "a", start: int = 0) -> list[Record]:
    return [event(start + n, visitor, "view_item", start + n) for n in range(count)]


def time_passes(offset: int, minutes: float) -> Record:
    """Somebody else's event, which moves the watermark to a minute before it."""
    return event(offset, f"somebody {offset}", "page_view", minutes)


def live(*events: Record, rules: Rules = QUIET) -> Partition:
    """A partition in which time flows, as three visitors have said, and these events have come."""
    partition = Partition(rules)
    partition.step([event(1_000 + n, visitor, "page_view", -1) for n, visitor in enumerate("xyz")])
    partition.step([record._replace(offset=2_000 + record.offset) for record in events])
    partition.moments.clear()
    return partition


# ---- band -----------------------------------------------------------------------------------------------------------


def test_a_score_in_another_band_than_the_one_before_is_a_moment() -> None:
    partition = Partition(NO_TREND, ScriptedScorer(0.01, 0.02, 0.1, 0.12, 0.9, 0.03))
    partition.step(views(6))
    assert told(partition, "band", "previous_band") == [
        ("band", "e2", "on_the_fence", "unlikely"),
        ("band", "e4", "likely", "on_the_fence"),
        ("band", "e5", "unlikely", "likely"),
    ]


def test_a_sessions_first_score_counts_unless_it_is_in_the_lowest_band() -> None:
    partition = Partition(scorer=ScriptedScorer(0.3, 0.01))
    partition.step([event(0, "a", "view_item", 0), event(1, "b", "view_item", 0)])
    assert told(partition, "visitor_id", "band", "previous_band") == [("band", "e0", "a", "likely", None)]


def test_the_next_session_begins_without_a_band() -> None:
    partition = Partition(scorer=ScriptedScorer(0.3, 0.3))
    partition.step([event(0, "a", "view_item", 0), event(1, "a", "view_item", 100)])
    assert told(partition, "events", "previous_band") == [("band", "e0", 1, None), ("band", "e1", 1, None)]


def test_a_band_that_another_model_gives_is_a_moment_too() -> None:
    partition = Partition(scorer=ScriptedScorer(0.2, 0.2))
    partition.step(views(1))
    partition.scorer.bands = (0.1, 0.15)
    partition.step(views(1, start=1))
    assert told(partition, "band", "previous_band") == [
        ("band", "e0", "on_the_fence", None),
        ("band", "e1", "likely", "on_the_fence"),
    ]


def test_a_moment_carries_what_was_scored_and_served() -> None:
    partition = Partition(scorer=ScriptedScorer(0.01, 0.4))
    partition.step(
        [
            event(
                0, "a", "add_to_cart", 0, item_id="i1", category="c1", brand="b1", price=20.5, source="ads",
                country="DE", device="Phone", session_id="s",
            ),
            event(1, "a", "view_item_list", 1, category="c2", session_id="s"),
        ]
    )  # fmt: skip
    (moment,) = partition.moments
    features = partition.features[1]["features"]
    assert features["cart_value"] == pytest.approx(np.log1p(20.5), abs=1e-4)
    assert moment == {
        "moment_id": "e1:band", "kind": "band", "visitor_id": "a", "session_id": "s", "event_id": "e1",
        "event_time": at(1), "events": 2, "score": 0.4, "band": "likely", "previous_band": "unlikely",
        "trend": round(1000 * (np.log(0.4 / 0.6) - np.log(0.01 / 0.99))) / 1000,
        "cart_value": 20.5, "purchases": 0, "features": features, "model_version": 7, "cold": False, "scored_at": T0,
        "item_id": "i1", "category": "c2", "brand": "b1", "source": "ads", "country": "DE", "device": "mobile",
    }  # fmt: skip


def test_moments_are_counted_by_kind() -> None:
    partition = Partition(scorer=ScriptedScorer(0.3, 0.01))
    effects = partition.step([*views(1), event(1, "a", "purchase", 1)])
    assert effects.moments_told == {"band": 2, "bought": 1}


# ---- trend ----------------------------------------------------------------------------------------------------------


def p(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_a_trend_turns_when_it_has_been_seen_on_both_sides() -> None:
    # logit       −4    −2.5   −2    −4    −4    −2
    # mean before       −4    −3.55 −3.085 …
    # trend       0     +1.5  +1.55 −0.915 …    the threshold is 0.9
    scores = [p(logit) for logit in (-4, -2.5, -2, -4, -4, -2)]
    partition = Partition(replace(NO_BAND, trend_turn=0.9), ScriptedScorer(*scores))
    partition.step(views(6))
    assert told(partition, "trend") == [("trend", "e3", -0.915), ("trend", "e5", 1.552)]


def test_a_trend_that_trembles_turns_no_more() -> None:
    # Up once, and then about the mean: never so far below it.
    logits = (-4, -2.5, *[-3.0, -2.5] * 5)
    partition = Partition(NO_BAND, ScriptedScorer(*map(p, logits)))
    partition.step(views(len(logits)))
    assert partition.moments == []


def test_a_purchase_begins_the_trend_anew() -> None:
    # Up to the purchase, far below after it: those scores are about the next checkout.
    partition = Partition(NO_BAND, ScriptedScorer(p(-4), p(-1), p(-5), p(-5), p(-3.5)))
    kinds = ("view_item", "view_cart", "purchase", "page_view", "view_item")
    partition.step([event(n, "a", kind, n) for n, kind in enumerate(kinds)])
    assert told(partition, "trend") == [("bought", "e2", 0.0)]
    session = partition.visitor("a").sessions[0]
    assert (session.trend, session.side, session.logit_mean) == (1500, 1, -4550)


def test_logits_are_counted_in_thousandths_and_stay_finite() -> None:
    assert moments.logits(np.array([0.5, 0.2, 0.0, 1.0])).tolist() == [0, -1386, -13816, 13816]
    assert moments.units_of(0.75) == 750


# ---- quiet ----------------------------------------------------------------------------------------------------------


def test_a_session_with_a_full_cart_is_quiet_when_the_watermark_has_passed_so_much_time() -> None:
    # cart at 0 ─ view at 1 ──(2 min)── quiet at 3, told once the watermark is there: at 4
    cart = event(0, "a", "add_to_cart", 0, item_id="i1", price=9.5)
    partition = live(cart, event(1, "a", "view_item", 1, item_id="i2", category="c", brand="b"))
    partition.step([time_passes(3_000, 3.99)])
    assert quiet_ids(partition) == []
    partition.step([time_passes(3_001, 4)])
    (moment,) = partition.moments
    assert (moment["moment_id"], moment["kind"]) == ("e1:quiet", "quiet")
    assert (moment["event_time"], moment["events"], moment["cart_value"]) == (at(1), 2, 9.5)
    assert (moment["item_id"], moment["category"], moment["brand"]) == ("i2", "c", "b")
    (features,) = [record["features"] for record in partition.features if record["event_id"] == "e1"]
    assert (moment["features"], moment["score"]) == (features, 0.125)


def test_it_is_told_once_for_each_quiet_period() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    for offset, minutes in ((3_000, 4), (3_001, 6), (3_002, 9)):
        partition.step([time_passes(offset, minutes)])
    assert quiet_ids(partition) == ["e0"]
    partition.step([event(3_003, "a", "view_item", 10), time_passes(3_004, 12.9)])
    assert quiet_ids(partition) == ["e0"]
    partition.step([time_passes(3_005, 13), time_passes(3_006, 20)])
    assert quiet_ids(partition) == ["e0", "e3003"]


def test_an_event_that_comes_late_begins_no_other_period() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step([time_passes(3_000, 4), event(3_001, "a", "view_item", -0.5, received=4), time_passes(3_002, 9)])
    assert quiet_ids(partition) == ["e0"]


def test_who_comes_back_has_not_been_quiet_whatever_the_own_event_says_of_the_time() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step([event(3_000, "a", "view_item", 10)])
    assert quiet_ids(partition) == []
    partition.step([time_passes(3_001, 13)])
    assert quiet_ids(partition) == ["e3000"]


@pytest.mark.parametrize(
    "then",
    [
        event(1, "a", "purchase", 0.5),
        event(1, "a", "remove_from_cart", 0.5),
    ],
)
def test_without_something_in_the_cart_nobody_is_quiet(then: Record) -> None:
    partition = live(event(0, "a", "add_to_cart", 0), then)
    partition.step([time_passes(3_000, 10)])
    assert quiet_ids(partition) == []


def test_nobody_is_quiet_whose_session_is_over_by_the_same_event() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step([time_passes(3_000, 31)])
    assert [closed["visitor_id"] for closed in partition.closed].count("a") == 1
    assert quiet_ids(partition) == []


def test_within_one_batch_a_session_is_quiet_and_then_over() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step([time_passes(3_000, 5), time_passes(3_001, 31)])
    assert [closed["visitor_id"] for closed in partition.closed].count("a") == 1
    assert quiet_ids(partition) == ["e0"]


def test_in_an_idle_partition_the_clock_tells() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    assert partition.processor.schedule.next_deadline() == at(2)
    partition.step(idle_ms=round(2.99 * MINUTE))
    assert quiet_ids(partition) == []
    partition.restart()
    partition.step(idle_ms=round(0.02 * MINUTE))
    partition.step(idle_ms=MINUTE)
    assert quiet_ids(partition) == ["e0"]
    assert partition.processor.schedule.get("a") == at(30)


def test_a_step_of_the_clock_past_the_sessions_end_tells_nothing() -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step(idle_ms=31 * MINUTE + GRACE)
    assert [closed["visitor_id"] for closed in partition.closed].count("a") == 1
    assert quiet_ids(partition) == []


def test_a_quiet_of_a_gap_or_more_is_none() -> None:
    partition = live(event(0, "a", "add_to_cart", 0), rules=replace(NO_BAND, quiet_ms=RULES.gap_ms))
    assert partition.processor.schedule.get("a") == at(30)
    partition.step([time_passes(3_000, 30), time_passes(3_001, 32)])
    assert partition.moments == []


def test_a_look_that_came_too_early_writes_no_state() -> None:
    # The deadline of the first cart is still in the schedule when the session has long gone on.
    partition = live(event(0, "a", "add_to_cart", 0), event(1, "a", "view_item", 1))
    assert partition.processor.schedule.get("a") == at(3)
    partition.step([event(3_000, "a", "view_item", 2.5)])
    effects = partition.step([time_passes(3_001, 4.1)])
    assert set(effects.states) == {"somebody 3001"}
    assert effects.deadlines["a"] == at(4.5)
    assert quiet_ids(partition) == []


def test_of_several_sessions_each_is_told_with_its_own_score() -> None:
    partition = Partition(QUIET, ScriptedScorer(*[0.01] * 3, 0.2, 0.3, 0.4, *[0.01] * 9))
    partition.step([event(1_000 + n, visitor, "page_view", -1) for n, visitor in enumerate("xyz")])
    partition.step([event(0, "a", "add_to_cart", 0, session_id="s", item_id="i1")._replace(offset=2_000)])
    partition.step([event(1, "a", "add_to_cart", 1, session_id="t", item_id="i2")._replace(offset=2_001)])
    partition.step([event(2, "a", "view_item", 2, session_id="t", item_id="i3")._replace(offset=2_002)])
    partition.step([time_passes(3_000, 4)])
    partition.step([time_passes(3_001, 6)])
    assert told(partition, "session_id", "score", "item_id", "events") == [
        ("quiet", "e0", "s", 0.2, "i1", 1),
        ("quiet", "e2", "t", 0.4, "i3", 2),
    ]


def test_a_session_of_a_state_from_before_there_were_moments_is_followed_from_its_next_event_on() -> None:
    partition = live(event(0, "a", "add_to_cart", 0), rules=replace(RULES, quiet_ms=2 * MINUTE))
    plain: list[Any] = msgspec.msgpack.decode(partition.states["a"][1:], strict=False)
    plain[3][0] = plain[3][0][:41]
    partition.states["a"] = bytes([state.STATE_VERSION]) + msgspec.msgpack.encode(plain)
    partition.restart()
    session = partition.visitor("a").sessions[0]
    assert (session.band, session.scored, session.brand_last) == (-1, None, -1)
    partition.step([event(3_000, "a", "view_item", 1)])
    assert told(partition, "previous_band") == [("band", "e3000", None)]
    partition.step([time_passes(3_001, 4)])
    assert quiet_ids(partition) == ["e3000"]


# ---- bought ---------------------------------------------------------------------------------------------------------


def test_a_purchase_is_a_moment_and_its_further_rows_are_none() -> None:
    partition = Partition(NO_BAND)
    partition.step(
        [
            event(0, "a", "add_to_cart", 0, price=5, item_id="i1"),
            event(1, "a", "purchase", 1, order_id="o1", item_id="i1"),
            event(2, "a", "purchase", 1, order_id="o1", item_id="i2"),
            event(3, "a", "view_item", 2, item_id="i3"),
            event(4, "a", "purchase", 3, order_id="o2"),
        ]
    )
    assert told(partition, "moment_id", "purchases", "cart_value", "item_id") == [
        ("bought", "e1", "e1:bought", 1, 0.0, None),
        ("bought", "e4", "e4:bought", 2, 0.0, None),
    ]


def test_a_checkout_that_a_label_tells_is_a_moment_before_the_session_ends() -> None:
    partition = live(event(0, "a", "add_to_cart", 0, price=5))
    partition.step(labels=[label(0, "a", 0.5, "o1")])
    assert told(partition, "moment_id", "events", "score") == [("bought", "e0", "o1:bought", 1, 0.125)]


def test_a_label_of_which_the_session_is_not_certain_yet_stops_offers_all_the_same() -> None:
    # Without an id of its own: it could be another session's. The newest that it fits is told.
    sessions = [event(0, "a", "add_to_cart", 0, session_id="s"), event(1, "a", "add_to_cart", 0.2, session_id="t")]
    partition = live(*sessions)
    effects = partition.step(labels=[label(0, "a", 0.5, "o1")])
    assert effects.labels == {"matched": 1}
    assert told(partition, "session_id") == [("bought", "e1", "t")]
    partition.step([time_passes(3_000, 9)])
    assert told(partition, "session_id")[1:] == [("quiet", "e0", "s")]


@pytest.mark.parametrize(
    "again",
    [label(1, "a", 0.5, "o1"), label(1, "a", 0.7, "o1"), label(1, "a", -90, "o2"), label(1, "b", 0.5, "o3")],
    ids=["told twice", "with another time", "of no session", "of somebody unknown"],
)
def test_a_label_that_tells_of_no_further_checkout_of_an_open_session_is_no_moment(again: Record) -> None:
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step(labels=[label(0, "a", 0.5, "o1"), again])
    assert told(partition) == [("bought", "e0")]


def test_an_order_that_an_event_has_told_is_not_told_again_by_its_label() -> None:
    partition = live(event(0, "a", "add_to_cart", 0), event(1, "a", "purchase", 0.5, order_id="o1"))
    partition.step(labels=[label(0, "a", 0.6, "o1")])
    assert partition.moments == []


def test_after_a_told_checkout_the_cart_is_empty_until_something_comes_into_it() -> None:
    # The label itself changes no feature, and so not the cart's value: see state.Session.checkout_told.
    partition = live(event(0, "a", "add_to_cart", 0))
    partition.step(labels=[label(0, "a", 0.5, "o1")])
    partition.step([time_passes(3_000, 8)])
    assert quiet_ids(partition) == []
    partition.step([event(3_001, "a", "add_to_cart", 9), time_passes(3_002, 13)])
    assert quiet_ids(partition) == ["e3001"]

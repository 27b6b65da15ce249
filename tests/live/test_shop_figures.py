"""Figures of closed sessions: worked out by hand on a few, and the same however they come."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.analytics.intervals import wilson
from stream_app.live.shop_figures import NAMES_MAX, ShopFigures
from stream_app.live.told_sessions import ClosedTold

T0 = 1_719_792_000_000


def session(seconds: float, bought: bool = False, events: int = 3, **fields: Any) -> ClosedTold:
    return ClosedTold(T0, T0 + round(1_000 * seconds), events, int(bought), **fields)


FEW = [
    session(0, events=1, source="ads"),
    session(0, events=1),
    session(4, source="ads", country="DE"),
    session(9.999, bought=True, source="mail", country="DE", category="shoes"),
    session(10, source="mail", country="FR"),
    session(100, bought=True, source="mail", category="shoes", labelled_checkouts=1, events=12),
    ClosedTold(T0, T0 + 9_000_000, 30, 0, 1, "mail"),
]


def test_every_figure_by_hand() -> None:
    figures = ShopFigures()
    figures.take(FEW)
    facts = figures.facts(names=5)
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert (facts["sessions"], facts["bought"], facts["share"]) == (7, 3, pytest.approx(3 / 7))
    low, high = wilson(np.array([3]), np.array([7]))
    assert (facts["low"], facts["high"]) == (low[0], high[0])
    assert facts["told"] == {"events": 1, "labels": 1, "both": 1}
    assert facts["newest"] == T0 + 9_000_000
    lengths = {row["from_seconds"]: (row["sessions"], row["bought"]) for row in facts["by_length"]}
    assert {begins: cases for begins, cases in lengths.items() if cases[0]} == {
        None: (2, 0), 0: (2, 1), 10: (1, 0), 60: (1, 1), 3_600: (1, 1),
    }  # fmt: skip
    assert len(lengths) == 11
    events = {row["from_events"]: (row["sessions"], row["bought"]) for row in facts["by_events"]}
    assert {begins: cases for begins, cases in events.items() if cases[0]} == {
        1: (2, 0), 3: (3, 1), 11: (1, 1), 21: (1, 1),
    }  # fmt: skip
    assert [(row["source"], row["sessions"], row["bought"]) for row in facts["by_source"]] == [
        ("mail", 4, 3), ("ads", 2, 0), ("(none)", 1, 0),
    ]  # fmt: skip
    assert [(row["country"], row["sessions"]) for row in facts["by_country"]] == [("(none)", 4), ("DE", 2), ("FR", 1)]
    assert [(row["category"], row["share"]) for row in facts["by_category"]] == [("(none)", 0.2), ("shoes", 1.0)]


def test_of_no_session_there_is_no_share() -> None:
    facts = ShopFigures().facts(names=5)
    assert (facts["sessions"], facts["share"], facts["newest"], facts["by_source"]) == (0, None, None, [])
    assert all(row["share"] is None and (row["low"], row["high"]) == (0.0, 1.0) for row in facts["by_length"])


def test_one_by_one_is_the_same_as_all_at_once() -> None:
    random = np.random.default_rng(6)
    many = [
        session(
            float(random.exponential(300)), bool(random.random() < 0.1), int(random.integers(1, 40)),
            source=str(random.choice(["ads", "mail"])),
        )
        for _ in range(500)
    ]  # fmt: skip
    one, other = ShopFigures(), ShopFigures()
    one.take(many)
    for told in many:
        other.take([told])
    other.take([])
    assert one.facts(names=5) == other.facts(names=5)
    assert one.sessions == 500


def test_new_tags_with_every_visit_take_no_more_memory_and_the_frequent_one_stays() -> None:
    figures = ShopFigures()
    for n in range(0, 4 * NAMES_MAX, 8):
        figures.take([session(5, source=f"tag-{n + k}") for k in range(8)] + [session(5, True, source="mail")] * 4)
    assert figures.missed("source") > 0
    (name, told), *_ = figures.by("source", 1)
    assert (name, told.sessions, told.bought) == ("mail", 2 * NAMES_MAX, 2 * NAMES_MAX)
    assert len(figures.by("source", 10_000)) <= NAMES_MAX

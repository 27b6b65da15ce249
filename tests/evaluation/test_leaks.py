"""Nothing is known before its time: labels with their delay, features without a future, planted leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from stream_app.cli_evaluate import evaluate_command
from stream_app.core import features
from stream_app.core.events import Event
from stream_app.evaluation.leaks import later_events
from stream_app.evaluation.sanity import sanity_outcomes
from tests.core.streams import MINUTE, T0
from tests.evaluation.histories import RULES_HERE, event, history_of, passed, question, shop, written


def crowd(minutes: float) -> list[Event]:
    """300 who look at one of ten items, twice; one in seven buys, whatever it was. All sessions end."""
    return [
        event(10_000 + n, k, kind, minutes + n / 50 + k / 10, n % 10)
        for n in range(300)
        for k, kind in enumerate(["view_item", "view_item", "purchase"] if n % 7 == 0 else ["view_item", "view_item"])
    ]


def scored_late(minutes: float, tmp_path: Path, *, another: tuple[float, ...] = ()) -> float:
    """The score of a view of item 1, `minutes` after 60 sessions looked at it and did not buy.

    `another` is when somebody views another item in between.
    """
    looked = [event(500 + n, 0, "view_item", 110, 1) for n in range(60)]
    between = [event(899, 0, "view_item", 110 + other, 2) for other in another]
    last = [event(900, 0, "view_item", 110 + minutes, 1), event(901, 0, "view_item", 110 + minutes + 100, 2)]
    end = [event(902, 0, "view_item", 500, 2), event(903, 0, "view_item", 600, 2)]
    found = passed([*crowd(0), *looked, *between, *last, *end], question(folds=1), tmp_path)
    at = T0 + round((110 + minutes) * MINUTE)
    (place,) = np.flatnonzero(found.rows["time"] == at)
    return float(found.p()[place])


def test_a_session_without_a_checkout_is_learned_when_its_gap_has_passed_and_not_before(tmp_path: Path) -> None:
    # 60 sessions look at item 1 at minute 110 and never buy. The gap is 30 min, the grace 1 min, a tick a minute long:
    # what is known at 141 is served from 142 on. A label learned too early would lower the score before.
    before = [scored_late(minutes, tmp_path / str(minutes)) for minutes in (1.0, 29.0, 30.5)]
    # The first event past the deadline makes it known; the one after that event's tick is scored with it.
    assert before[0] == before[1] == before[2]
    known = scored_late(33.0, tmp_path / "after", another=(31.5,))
    assert known < before[0] - 0.01


def test_a_checkout_is_learned_by_the_tick_after_it(tmp_path: Path) -> None:
    # Two who look at the same new item in the same second: one of them buys. A third looks in the same tick, a fourth
    # in the next one.
    minute = 200.0
    views = [event(1, 0, "view_item", minute, 7), event(2, 0, "view_item", minute + 0.05, 7)]
    bought = [event(n, 9, "purchase", minute + 0.1, 7) for n in (1, 2)]
    asked = [event(3, 0, "view_item", minute + 0.2, 7), event(4, 0, "view_item", minute + 1.05, 7)]
    end = [event(5, 0, "view_item", minute + 100, 2), event(6, 0, "view_item", minute + 200, 2)]
    # Somebody comes before, by whom the crowd is seen to have left.
    before = event(7, 0, "view_item", minute - 5, 2)
    found = passed([*crowd(0), before, *views, *bought, *asked, *end], question(folds=1), tmp_path)
    scores = dict(zip(found.rows["time"].tolist(), found.p().tolist(), strict=True))
    first, third, fourth = (scores[T0 + round(m * MINUTE)] for m in (minute, minute + 0.2, minute + 1.05))
    assert first == third
    assert fourth > third + 0.005


def test_labels_dealt_out_anew_within_each_hour_leave_nothing_to_foresee(tmp_path: Path) -> None:
    events = shop(2_800, per_hour=60)
    honest = passed(events, question(folds=1), tmp_path / "honest")
    history = history_of([written(events, tmp_path / "again.jsonl")], tmp_path)
    outcomes = sanity_outcomes("permuted-labels", history, RULES_HERE, tmp_path / "first")
    found = passed(events, question(folds=1, outcomes=outcomes), tmp_path / "permuted")
    figures, before = found.report["models"]["newton"], honest.report["models"]["newton"]
    assert figures["roc_auc"] == pytest.approx(0.5, abs=0.03)
    # As many buy as before; it is who that has changed.
    assert figures["base_rate"] == pytest.approx(before["base_rate"], rel=0.3)
    assert before["roc_auc"] > 0.6


def test_learning_without_the_labels_delay_inflates(tmp_path: Path) -> None:
    events = shop(1_100, per_hour=60)
    honest = passed(events, question(folds=1), tmp_path / "honest")
    history = history_of([written(events, tmp_path / "again.jsonl")], tmp_path)
    outcomes = sanity_outcomes("instant-labels", history, RULES_HERE, tmp_path / "first")
    found = passed(events, question(folds=1, freshness_ms=1, outcomes=outcomes), tmp_path / "instant")
    figures, before = found.report["models"]["newton"], honest.report["models"]["newton"]
    assert figures["rows"] == pytest.approx(before["rows"], rel=0.02)
    assert figures["roc_auc"] > before["roc_auc"] + 0.01
    assert figures["log_loss"] < before["log_loss"]


def test_features_do_not_change_when_later_events_are_deleted(tmp_path: Path) -> None:
    assert later_events(shop(800), RULES_HERE, tmp_path) == []


def test_a_feature_that_reads_ahead_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = features.compute_matrix

    def ahead(raw: npt.NDArray[np.float64]) -> Any:
        # The price becomes the number of purchases from here to the batch's end: what an average over a window that is
        # centred on the event, or over the file, would do.
        fixed = honest(raw)
        bought = fixed[:, features.FEATURE_NAMES.index("last_purchase")]
        fixed[:, features.FEATURE_NAMES.index("price")] = np.cumsum(bought[::-1])[::-1]
        return fixed

    monkeypatch.setattr(features, "compute_matrix", ahead)
    (leak,) = later_events(shop(800), RULES_HERE, tmp_path)
    assert leak.column == "price"


def test_an_evaluation_with_a_leaking_column_says_so_and_fails(tmp_path: Path) -> None:
    # The exporter of this file has written what the visit came to into the price of each of its events.
    events = shop(600)
    bought = {e.visitor_id for e in events if e.event_type == "purchase"}
    leaking = [event_with_price(e, 900.0 if e.visitor_id in bought else 10.0) for e in events]
    for name, history, code in (("honest", events, 0), ("leaking", leaking, 1)):
        path = written(history, tmp_path / f"{name}.jsonl")
        done = CliRunner().invoke(
            evaluate_command, [str(path), "--format", "canonical", "--models", "newton", "--draws", "0", "--folds", "1"]
        )
        assert done.exit_code == code, done.output
        assert ("do not believe these figures, something knows too much: price has" in done.output) == bool(code)


def event_with_price(event: Event, price: float) -> Event:
    return Event(**{name: getattr(event, name) for name in event.__struct_fields__} | {"price": price})

"""No model of the zoo beats the truth: run over the same stream by the benchmark that measures the distance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.synthetic_truth import Bench, Measured, figures, recovery
from producers.synthetic.calendar import Requests
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.model import ZOO
from stream_app.settings import Settings
from tests.producers.truth_run import START_MS, loss

EVENTS = 10_000


@cache
def measured(name: str) -> Measured:
    shop = Shop(seed=8, start_ms=START_MS)
    return Bench(shop, Truth(shop.catalogue, shop.calendar), model=name, settings=Settings()).run(EVENTS)


#: Ensembles, whose 15 to 25 s each would be a tenth of all computing tests', and what is much like one that runs.
_SLOW = {"adaptive_forest", "bagging", "blend", "hashed", "hoeffding_tree", "mondrian_forest"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in _SLOW else []) for name in sorted(ZOO)]
)
def test_no_model_beats_the_truth_on_the_same_stream(name: str) -> None:
    rows = measured(name)
    assert len(rows.truth) > 2_000
    assert loss(rows.score, rows.bought).mean() > loss(rows.truth, rows.bought).mean()


def test_the_distance_measured_is_that_of_scores_and_truth_joined_event_by_event() -> None:
    rows = measured(Settings().model)
    # Each score beside its own truth: shuffled, they would not go together.
    together = np.corrcoef(np.log(rows.score + 1e-3), np.log(rows.truth + 1e-3))[0, 1]
    assert together > 0.3
    found = figures(rows)
    assert found["log_loss"] == pytest.approx(loss(rows.score, rows.bought).mean())
    assert found["log_loss_truth"] == pytest.approx(loss(rows.truth, rows.bought).mean())
    assert found["excess"] == pytest.approx(found["log_loss"] / found["log_loss_truth"] - 1)


def test_recovery_counts_the_examples_from_the_change_to_the_usual_excess() -> None:
    # Made by hand: the scores are the truth but for 10,000 events after the change at 20,000, where they are flat.
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.01, 0.4, 50_000)
    score = truth.copy()
    score[20_000:30_000] = 0.05
    frozen = np.where(np.arange(50_000) < 20_000, np.nan, 0.05)
    bought = (rng.random(50_000) < truth).astype(float)
    rows = Measured(truth, score, frozen, bought, np.ones(50_000), np.arange(50_000) * 2.0)
    found = recovery(rows)
    assert found["excess_before"] == pytest.approx(0.0, abs=1e-9)
    assert found["excess_worst"] > 0.2
    assert found["events_until_all_recovered"] == 15_000
    assert (
        found["examples_until_all_recovered"] == found["examples_until_half_recovered"] == pytest.approx(30_000, abs=2)
    )
    assert found["log_loss_frozen_after"] > found["log_loss_after"] > found["log_loss_truth_after"]


def test_a_model_that_stops_learning_at_a_change_falls_behind_the_one_that_goes_on() -> None:
    change = 10_000
    shop = Shop(seed=8, start_ms=START_MS, requests=Requests(change_events=change))
    bench = Bench(shop, Truth(shop.catalogue, shop.calendar), model=Settings().model, settings=Settings())
    found = recovery(bench.run(3 * change, freeze_at=change))
    assert found["log_loss_frozen_after"] > 1.03 * found["log_loss_after"]
    assert found["excess_worst"] > found["excess_before"] + 0.03

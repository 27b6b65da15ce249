"""Where the bands begin: as a search over all thresholds says, moved for a gain only."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core.bands import BandRule, Bands, BandThresholds, Offer, check_bands
from stream_app.core.calibration import logit

BIN = 0.1
FIXED = Bands(0.9, 0.95)
OFFER = Offer(margin=0.3, discount=0.1, effect=2.0, cost=0.0)
Sample = list[tuple[float, int]]


def thresholds(rule: BandRule, offer: Offer = OFFER, *, fixed: Bands = FIXED) -> BandThresholds:
    return BandThresholds(rule, fixed, offer)


def observe(bands: BandThresholds, sample: Iterable[tuple[float, int]], weight: float = 1.0) -> None:
    for p, label in sample:
        bands.observe([p], label, [weight])


def sample(count: int, *, seed: int = 1, mean: float = -2.5) -> Sample:
    """Scores and outcomes; the scores are calibrated."""
    random = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-random.normal(mean, 1.3, count)))
    return list(zip(scores.tolist(), (random.random(count) < scores).astype(int).tolist(), strict=True))


def f_measures(found: Sample, thresholds: Iterable[float], beta: float) -> npt.NDArray[np.float64]:
    """Of those taken at each threshold, shape (thresholds,)."""
    scores, labels = np.array(sorted(found)).T
    first = np.searchsorted(scores, list(thresholds))
    taken = len(scores) - first
    hits = labels.sum() - np.concatenate([[0.0], np.cumsum(labels)])[first]
    measures: npt.NDArray[np.float64] = (1 + beta**2) * hits / (taken + beta**2 * labels.sum())
    return measures


@pytest.mark.parametrize("seed", range(4))
def test_f1_and_f2_are_as_high_as_at_the_best_of_all_thresholds(seed: int) -> None:
    found = sample(2_000, seed=seed)
    bands = thresholds("f1")
    # All at one look, so that nothing has faded: fewer than a thousand buyers, then more than that of others.
    for label in (1, 0):
        scores = [p for p, told in found if told == label]
        bands.observe(scores, label, [1.0] * len(scores))
    edges = [1 / (1 + math.exp(14 - place * BIN)) for place in range(280)]
    for chosen, beta in ((bands.bands.likely_min, 1.0), (bands.bands.fence_min, 2.0)):
        (reached,) = f_measures(found, [chosen], beta)
        # All scores of a bin are on one side: that costs at most what the bin holds.
        assert reached > 0.97 * f_measures(found, [p for p, _ in found], beta).max()
        assert reached == pytest.approx(f_measures(found, edges, beta).max(), rel=1e-3)
    assert bands.bands.fence_min <= bands.bands.likely_min


def test_the_thresholds_for_f1_worked_out_by_hand() -> None:
    # score   bought  not      at or above: TP  FP   F1 (200 buyers)             F2
    #  .05       20   900                  200 1380  400/1780 = .225       1000/2380 = .420
    #  .20       80   400                  180  480  360/860  = .419        900/1460 = .616
    #  .60      100    80                  100   80  200/380  = .526 <─     500/980  = .510
    #                                                                F2 best at .20: .616 <─
    bands = thresholds("f1")
    for p, buyers, others in ((0.05, 20, 900), (0.2, 80, 400), (0.6, 100, 80)):
        bands._counts[int((logit(p) + 14) / BIN)] = others, buyers
    bands._choose()
    fence, likely = bands.bands
    assert 0.2 >= fence > 0.05
    assert 0.6 >= likely > 0.2


def calibrated(bands: BandThresholds, events: float = 20_000.0) -> None:
    """As many events at each score from −6 to 4 in the logit, bought exactly as often as said."""
    for place in range(80, 180):
        p = 1 / (1 + math.exp(14 - (place + 0.5) * BIN))
        bands.observe([p], 1, [p * events])
        bands.observe([p], 0, [(1 - p) * events])


@pytest.mark.parametrize(
    ("effect", "discount"), [(2.0, 0.05), (2.0, 0.1), (1.5, 0.05), (4.0, 0.15), (3.0, 0.01)]
)  # fmt: skip
def test_an_offer_pays_up_to_the_score_that_the_closed_form_says(effect: float, discount: float) -> None:
    # With an offer the odds are e times as high: p' = e·p / (1 + (e − 1)·p). It pays where p'·(m − d) > p·m, which is
    #   p < (e·(1 − d/m) − 1) / (e − 1)
    # and without a cost from the lowest score on.
    offer = Offer(margin=0.3, discount=discount, effect=effect, cost=0.0)
    bands = thresholds("profit", offer)
    for _ in range(6):
        calibrated(bands)
    closed = (effect * (1 - discount / 0.3) - 1) / (effect - 1)
    assert 0 < closed < 1
    assert logit(bands.bands.likely_min) == pytest.approx(logit(closed), abs=BIN)
    assert logit(bands.bands.fence_min) == pytest.approx(-6.0, abs=BIN)


def test_with_a_cost_the_least_likely_get_no_offer() -> None:
    # e = 2, m = .3, d = .1, c = .004: .4·p/(1 + p) − .3·p > .004 is .3·p² − .096·p + .004 < 0,
    # between p = (.096 ∓ √(.096² − .0048)) / .6 = .0493 and .2707
    bands = thresholds("profit", Offer(margin=0.3, discount=0.1, effect=2.0, cost=0.004))
    for _ in range(6):
        calibrated(bands)
    fence, likely = bands.bands
    assert logit(fence) == pytest.approx(logit(0.0493), abs=BIN)
    assert logit(likely) == pytest.approx(logit(0.2707), abs=BIN)


@pytest.mark.parametrize(
    "offer",
    [Offer(0.3, 0.1, 1.0, 0.0), Offer(0.3, 0.3, 5.0, 0.0), Offer(0.3, 0.15, 2.0, 0.0), Offer(0.3, 0.1, 2.0, 0.1)],
    ids=["without effect", "all margin given", "as much given as won", "too dear"],
)
def test_where_no_offer_pays_nobody_is_on_the_fence(offer: Offer) -> None:
    bands = thresholds("profit", offer, fixed=Bands(0.08, 0.4))
    for _ in range(6):
        calibrated(bands)
    assert bands.bands == Bands(0.4, 0.4)


def test_offers_that_begin_to_pay_again_find_their_interval() -> None:
    bands = thresholds("profit", Offer(0.3, 0.1, 2.0, 0.0))
    bands.bands = Bands(0.4, 0.4)
    for _ in range(6):
        calibrated(bands)
    assert bands.bands.fence_min < 0.01 < 0.3 < bands.bands.likely_min < 0.37


def test_until_outcomes_can_be_trusted_the_fixed_thresholds_serve() -> None:
    bands = thresholds("f1")
    observe(bands, [(0.1, 0)] * 3_000 + [(0.6, 1)] * 90)
    assert bands.bands == FIXED
    observe(bands, [(0.6, 1)] * 100 + [(0.1, 0)] * 1_000)
    assert bands.bands != FIXED


def test_fixed_ones_stay_whatever_comes() -> None:
    bands = thresholds("fixed")
    observe(bands, sample(6_000))
    assert bands.bands == FIXED
    assert bands._counts.sum() > 1_000


def test_thresholds_move_for_a_gain_and_otherwise_stay() -> None:
    # Half a bin beside the best the measure is nearly as high: there it stays. Far from it it moves.
    bands = thresholds("f1")
    observe(bands, sample(40_000, seed=2))
    settled = bands.bands
    moves = 0
    for seed in range(20):
        observe(bands, sample(1_000, seed=100 + seed))
        moves += bands.bands != settled
        settled = bands.bands
    assert moves <= 6
    bands.bands = Bands(0.9, 0.95)
    observe(bands, sample(1_000, seed=200))
    assert bands.bands.likely_min < 0.5


def test_thresholds_follow_the_shop_since_outcomes_fade() -> None:
    bands = thresholds("f1")
    observe(bands, sample(30_000, seed=3, mean=-1.0))
    before = bands.bands
    observe(bands, sample(100_000, seed=4, mean=-4.0))
    afresh = thresholds("f1")
    observe(afresh, sample(60_000, seed=5, mean=-4.0))
    assert bands.bands.likely_min < before.likely_min
    assert logit(bands.bands.likely_min) == pytest.approx(logit(afresh.bands.likely_min), abs=0.35)


def test_weights_count_as_so_many_events() -> None:
    once, often = thresholds("f1"), thresholds("f1")
    for p, label in sample(300, seed=6):
        once.observe([p], label, [3.0])
        often.observe([p, p, p], label, [1.0] * 3)
    assert once._counts.sum() == 900
    assert (once._counts == often._counts).all()


@pytest.mark.parametrize("rule", ["fixed", "f1", "profit"])
def test_they_continue_bit_for_bit_from_what_they_exported(rule: BandRule) -> None:
    found = sample(5_000, seed=7)
    whole, half = thresholds(rule), thresholds(rule)
    observe(whole, found)
    observe(half, found[:2_700])
    again = half.empty()
    again.restore(half.export())
    observe(again, found[2_700:])
    assert again.bands == whole.bands
    assert (again._counts == whole._counts).all()
    assert again._since == whole._since


@pytest.mark.parametrize(("then", "now"), [("f1", "profit"), ("profit", "f1"), ("f1", "fixed"), ("fixed", "f1")])
def test_another_rule_takes_the_outcomes_over_and_not_the_thresholds(then: BandRule, now: BandRule) -> None:
    before, after = thresholds(then), thresholds(now)
    observe(before, sample(6_000, seed=8))
    after.restore(before.export())
    assert after.bands == FIXED
    assert (after._counts == before._counts).all()
    observe(after, sample(1_000, seed=9))
    assert (after.bands == FIXED) is (now == "fixed")


def test_what_is_no_table_of_outcomes_is_refused_and_changes_nothing() -> None:
    bands = thresholds("f1")
    observe(bands, sample(3_000))
    good, chosen = bands.export(), bands.bands
    for damage in (
        {"bins": [-1]},
        {"bins": [280]},
        {"counts": np.full((len(good["bins"]), 2), math.nan)},
        {"counts": np.zeros((1, 5))},
        {"bands": [0.5, 0.4]},
        {"bands": [0.0, 0.4]},
        {"bands": [0.1]},
        {"bands": [math.nan, 0.4]},
        {"bands": None},
        {"since": "x"},
        {"since": None},
    ):
        with pytest.raises((ValueError, TypeError)):
            bands.restore({**good, **damage})
        assert bands.bands == chosen
        assert (bands.export()["counts"] == good["counts"]).all()
    for name in good:
        with pytest.raises(KeyError):
            bands.restore({key: value for key, value in good.items() if key != name})


@pytest.mark.parametrize("wrong", [(0.0, 0.5), (0.5, 1.0), (0.6, 0.5), (-0.1, 0.5), (math.nan, 0.5)])
def test_two_thresholds_in_order_are_bands(wrong: tuple[float, float]) -> None:
    assert check_bands((0.2, 0.2)) == Bands(0.2, 0.2)
    with pytest.raises(ValueError, match="bands: got thresholds"):
        check_bands(wrong)

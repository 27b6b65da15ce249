"""Prequential metrics: equal to scikit-learn's and the offline evaluation's on the same scores, labels and weights."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.prequential import SLICES, WINDOW_EXAMPLES, Prequential
from stream_app.core.score_counts import BIN, COARSE_BIN, SHOWN_FROM_EXAMPLES_OF_A_CLASS, Quality
from stream_app.core.snapshots import SnapshotReader, encode_snapshot
from stream_app.evaluation.counts import Counts
from tests.core.examples import example

#: Bins are 0.02 logits wide (0.05 of slices): the areas may differ by what ties within a bin hide.
BINNED, COARSE = 1e-3, 3e-3

_CART, _CHECKOUT = FEATURE_NAMES.index("n_cart"), FEATURE_NAMES.index("n_checkout")


def shown(score: float, label: int, n: int = 0, **fields: Any) -> TypedExample:
    """An example of which only what is measured is told."""
    return example(n, score=score, label=label, **{"events": 1, **fields})


def examples(count: int, seed: int = 1) -> list[TypedExample]:
    """Scores as served (six digits), labels that follow them roughly, weights of a reservoir, all slices."""
    random = np.random.default_rng(seed)
    logits = random.normal(-2.5, 1.2, count)
    scores = np.clip(np.round(1 / (1 + np.exp(-logits)), 6), 1e-6, 1 - 1e-6)
    labels = random.random(count) < 1 / (1 + np.exp(-(0.8 * logits + random.normal(0, 0.5, count))))
    weights = random.choice([1.0, 1.5, 12.5], count)
    features = np.zeros((count, len(FEATURE_NAMES)))
    features[:, _CART] = random.random(count) < 0.2
    features[:, _CHECKOUT] = random.random(count) < 0.1
    return [
        shown(
            float(scores[n]),
            int(labels[n]),
            seed * 1_000_000 + n,
            weight=float(weights[n]),
            events=int(random.integers(1, 14)),
            features=FeatureValues(*features[n].tolist()),
        )
        for n in range(count)
    ]


def observed(found: list[TypedExample]) -> Prequential:
    metrics = Prequential()
    for each in found:
        metrics.observe(each)
    return metrics


def columns(found: list[TypedExample]) -> tuple[Any, Any, Any]:
    return (
        np.array([each.score for each in found]),
        np.array([each.label for each in found]),
        np.array([each.weight for each in found]),
    )


def through_a_snapshot(metrics: Prequential) -> Prequential:
    """What a trainer that starts has of it: a signed snapshot, in which arrays travel as little-endian doubles."""
    reader = SnapshotReader(secret=b"s")
    for record in encode_snapshot({"it": metrics.export()}, {}, {}, version=1, published_at=0, secret=b"s"):
        read = reader.read(*record)
    assert read is not None
    restored = Prequential()
    restored.restore(read.head.state["it"])
    return restored


def same(one: Prequential, other: Prequential) -> bool:
    """Whether both have the same state, to the bit."""

    def encode(metrics: Prequential) -> bytes:
        return msgspec.msgpack.encode(metrics.export(), enc_hook=lambda array: [array.shape, array.tobytes()])

    return encode(one) == encode(other)


def test_weighted_metrics_equal_scikit_learns() -> None:
    found = examples(8000)
    scores, labels, weights = columns(found)
    metrics = observed(found)
    quality = metrics.since_start()
    rate = float(np.average(labels, weights=weights))
    assert quality.examples == 8000
    assert quality.positives == labels.sum()
    assert quality.base_rate == pytest.approx(rate)
    assert quality.mean_score == pytest.approx(np.average(scores, weights=weights))
    assert quality.log_loss == pytest.approx(log_loss(labels, scores, sample_weight=weights))
    assert quality.log_loss_constant == pytest.approx(log_loss(labels, [rate] * 8000, sample_weight=weights))
    assert quality.roc_auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=BINNED)
    assert quality.pr_auc == pytest.approx(average_precision_score(labels, scores, sample_weight=weights), abs=BINNED)
    assert quality.brier == pytest.approx(brier_score_loss(labels, scores, sample_weight=weights))
    everybody = f1_score(labels, np.ones_like(labels), sample_weight=weights)
    assert quality.f1_all_positive == pytest.approx(everybody)
    assert quality.f1 > everybody


def in_slice(name: str, each: TypedExample) -> bool:
    """The slices in plain words."""
    return {
        "all": True,
        "event_1": each.events == 1,
        "event_2": each.events == 2,
        "event_3": each.events == 3,
        "event_5": each.events == 5,
        "event_10_on": each.events >= 10,
        "before_cart": each.features.n_cart == 0,
        "before_checkout": each.features.n_checkout == 0,
    }[name]


@pytest.fixture(scope="module")
def judged_one_by_one() -> tuple[list[TypedExample], list[float], Prequential]:
    """Examples, the threshold that each of them met, and the metrics after all of them."""
    found = examples(6500)
    metrics = Prequential()
    thresholds = []
    for each in found:
        thresholds.append(metrics.threshold)
        metrics.observe(each)
    return found, thresholds, metrics


@pytest.mark.parametrize("name", SLICES)
def test_every_slice_has_the_very_figures_of_the_offline_evaluation(
    name: str, judged_one_by_one: tuple[list[TypedExample], list[float], Prequential]
) -> None:
    found, thresholds, metrics = judged_one_by_one
    chosen = [n for n, each in enumerate(found) if in_slice(name, each)]
    assert 0 < len(chosen) <= 6500
    # Rows without a threshold are told to neither side's F1: Counts is given them apart.
    judged = [n for n in chosen if thresholds[n] < 1.0]
    counts, exact = (Counts(1, bin_width=width) for width in (BIN if name == "all" else COARSE_BIN, 0.0005))
    for each in (counts, exact):
        for part, limits in (([n for n in chosen if thresholds[n] >= 1.0], False), (judged, True)):
            scores, labels, weights = columns([found[n] for n in part])
            given = np.array(thresholds)[part][:, None] if limits else None
            each.add(scores[:, None], labels, weights, given)
    offline, mine = counts.figures(0), metrics.since_start(name)
    for field in Quality._fields:
        theirs = {"examples": "rows"}.get(field, field)
        assert getattr(mine, field) == pytest.approx(getattr(offline, theirs), rel=1e-9), field
    assert mine.roc_auc == pytest.approx(exact.figures(0).roc_auc, abs=COARSE)
    if name == "all":  # of a few hundred rows the error is mostly where the bins happen to end
        assert mine.ece == pytest.approx(exact.figures(0).ece, abs=BINNED)
    assert metrics.total(name).reliability(20) == pytest.approx(counts.calibration(0))
    assert np.average(metrics.total(name).reliability(10)[:, 2], weights=metrics.total(name).reliability(10)[:, 0]) == (
        pytest.approx(mine.base_rate)
    )


def test_ties_count_half() -> None:
    metrics = observed([shown(0.2, label) for label in (0, 1, 1, 0)])
    assert metrics.since_start().roc_auc == 0.5
    assert metrics.since_start().pr_auc == 0.5


def test_a_hand_worked_ranking() -> None:
    # .9 + · .7 − · .5 + · .1 −: of 4 pairs 3 are in order; precision at the positives 1/1 and 2/3.
    # Each score in a bin of its own: |.9−1| + |.7−0| + |.5−1| + |.1−0| = 1.4, in squares .01 + .49 + .25 + .01.
    metrics = observed([shown(*row) for row in ((0.5, 1), (0.1, 0), (0.9, 1), (0.7, 0))])
    quality = metrics.since_start()
    assert quality.roc_auc == pytest.approx(0.75)
    assert quality.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert quality.log_loss == pytest.approx(-(math.log(0.5) + math.log(0.9) + math.log(0.9) + math.log(0.3)) / 4)
    assert quality.ece == pytest.approx(1.4 / 4)
    assert quality.brier == pytest.approx(0.76 / 4)
    assert quality.f1_all_positive == pytest.approx(2 / 3)
    assert math.isnan(quality.f1), "no threshold was fixed before"


def test_f1_is_at_a_threshold_that_was_fixed_before() -> None:
    # Of the first thousand, 300 buyers and 100 others have .6, nobody else bought: the best threshold is .6's bin.
    first = [shown(0.6, 1)] * 300 + [shown(0.6, 0)] * 100 + [shown(0.1, 0)] * 600
    metrics = observed(first)
    assert 0.59 < metrics.threshold <= 0.6
    assert math.isnan(metrics.since_start().f1), "the rows it was chosen on are not judged by it"
    # From here on it is others whom it finds: 10 hits, 30 false, 20 missed.
    for each in [shown(0.6, 1)] * 10 + [shown(0.7, 0)] * 30 + [shown(0.5, 1)] * 20:
        metrics.observe(each)
    assert metrics.since_start().f1 == pytest.approx(2 * 10 / (2 * 10 + 30 + 20))
    assert metrics.recent().f1 == pytest.approx(2 * 10 / (2 * 10 + 30 + 20))


def test_the_threshold_moves_with_the_thousandth_example_and_not_before() -> None:
    metrics = observed([shown(0.6, n % 2) for n in range(999)])
    assert metrics.threshold == 1.0
    metrics.observe(shown(0.6, 1))
    chosen = metrics.threshold
    assert chosen < 1.0
    for _ in range(999):
        metrics.observe(shown(0.3, 1))
    assert metrics.threshold == chosen
    metrics.observe(shown(0.3, 1))
    assert metrics.threshold < chosen


def test_scores_at_the_third_event_are_counted_apart() -> None:
    found = examples(4000)
    third = [each for each in found if each.events == 3]
    quality = observed(found).third_event()
    assert quality.examples == len(third)
    scores, labels, weights = columns(third)
    assert quality.roc_auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=3 * COARSE)


def test_the_recent_window_forgets_what_is_older() -> None:
    found = examples(WINDOW_EXAMPLES + 1500)
    metrics = observed(found)
    last = found[1500:]
    scores, labels, weights = columns(last)
    quality = metrics.recent()
    assert quality.examples == WINDOW_EXAMPLES
    assert quality.log_loss == pytest.approx(log_loss(labels, scores, sample_weight=weights))
    assert quality.brier == pytest.approx(brier_score_loss(labels, scores, sample_weight=weights))
    assert metrics.recent("event_1").examples == sum(each.events == 1 for each in last)
    assert metrics.recent("before_cart").examples == sum(each.features.n_cart == 0 for each in last)


def test_cold_scores_are_no_ones_prediction() -> None:
    metrics = observed([shown(0.03, 1, cold=True)])
    metrics.correct(shown(0.03, 1, cold=True), 0)
    assert metrics.cold_examples == 1
    assert metrics.since_start().examples == 0
    assert metrics.recent().examples == 0


def test_what_is_not_defined_yet_is_nan_and_does_not_fail() -> None:
    metrics = Prequential()
    assert math.isnan(metrics.since_start().roc_auc)
    assert metrics.total("all").reliability(10).shape == (0, 3)
    metrics.observe(shown(0.5, 0, events=3))
    quality = metrics.since_start()
    assert math.isnan(quality.roc_auc)
    assert math.isnan(quality.pr_auc)
    assert (quality.base_rate, quality.log_loss_constant) == (0.0, 0.0)
    metrics = observed([shown(0.5, 1)])
    assert math.isnan(metrics.since_start().roc_auc)
    assert metrics.since_start().pr_auc == 1.0
    assert math.isnan(metrics.since_start("event_5").log_loss)


@pytest.mark.parametrize("rare", [0, 1])
def test_figures_are_shown_once_there_are_enough_examples_of_both_classes(rare: int) -> None:
    metrics = observed([shown(0.4, 1 - rare)] * 1500)
    for _ in range(SHOWN_FROM_EXAMPLES_OF_A_CLASS):
        quality = metrics.since_start()
        hidden = quality.shown()
        for name in Quality._fields:
            known = name in ("examples", "positives", "mean_score")
            assert math.isnan(getattr(hidden, name)) != known, name
            assert not known or getattr(hidden, name) == getattr(quality, name)
        metrics.observe(shown(0.4, rare))
    metrics.observe(shown(0.4, 1))
    assert metrics.since_start().shown() == pytest.approx(metrics.since_start(), nan_ok=True)
    assert not math.isnan(metrics.since_start().shown().log_loss)


@pytest.mark.parametrize("score", [1e-6, 1 - 1e-6])
def test_the_outermost_scores_have_finite_metrics(score: float) -> None:
    metrics = observed([shown(score, label) for label in (0, 1)])
    assert metrics.since_start().log_loss == pytest.approx(-(math.log(1e-6) + math.log(1 - 1e-6)) / 2)
    assert metrics.since_start().roc_auc == 0.5


@pytest.mark.parametrize("every", [1, 7, 333, 1000, 1001])
def test_when_examples_are_counted_is_of_no_consequence(every: int) -> None:
    found = [msgspec.structs.replace(each, weight=each.weight / 3) for each in examples(3100)]
    at_once, often = observed(found), Prequential()
    for n, each in enumerate(found):
        often.observe(each)
        if not n % every:
            often.since_start()
    assert same(at_once, often)
    assert at_once.recent() == often.recent()


def test_metrics_go_on_the_same_after_a_restart() -> None:
    metrics = observed([*examples(1700), shown(0.1, 0, cold=True)])
    restored = through_a_snapshot(metrics)
    assert same(metrics, restored)
    for one in (metrics, restored):
        for each in examples(900, seed=2):
            one.observe(each)
    assert same(metrics, restored)
    assert restored.since_start() == metrics.since_start()
    assert restored.threshold == metrics.threshold < 1.0
    assert restored.recent().examples == 900, "the window fills again"


def test_an_outcome_that_was_told_wrong_is_put_right_since_the_start_and_in_the_window() -> None:
    found = examples(2600)
    metrics = observed(found)
    late = [n for n in range(0, 2600, 13) if not found[n].label]
    refunded = [n for n in range(0, 2600, 11) if found[n].label]
    assert late
    assert refunded
    right = list(found)
    for n in late + refunded:
        right[n] = msgspec.structs.replace(found[n], label=1 - found[n].label)
        metrics.correct(right[n], found[n].label)
    expected = observed(right)
    for name in SLICES:
        for mine, theirs in (
            (metrics.since_start(name), expected.since_start(name)),
            (metrics.recent(name), expected.recent(name)),
        ):
            # F1 takes the present threshold for the one of old.
            assert mine._replace(f1=0.0) == pytest.approx(theirs._replace(f1=0.0), rel=1e-9)
            assert mine.f1 == pytest.approx(theirs.f1, abs=0.1)
    assert metrics.since_start().roc_auc != observed(found).since_start().roc_auc


def test_what_has_left_the_window_is_put_right_since_the_start_only() -> None:
    found = examples(WINDOW_EXAMPLES + 10)
    metrics, untouched = observed(found), observed(found)
    first = found[0]
    metrics.correct(msgspec.structs.replace(first, label=1 - first.label), first.label)
    assert metrics.since_start().positives == untouched.since_start().positives + 1 - 2 * first.label
    assert metrics.recent() == untouched.recent()


def test_a_correction_that_changes_nothing_is_none() -> None:
    metrics, untouched = observed(examples(50)), observed(examples(50))
    same_label = examples(50)[0]
    metrics.correct(same_label, same_label.label)
    assert same(metrics, untouched)


def test_corrections_alone_do_not_pile_up() -> None:
    found = examples(3)
    metrics = observed(found)
    for _ in range(20_000):
        for label in (1, 0):
            metrics.correct(msgspec.structs.replace(found[0], label=label), 1 - label)
    assert len(metrics._waiting) <= 2000
    assert metrics.since_start().examples == 3


@pytest.mark.parametrize(
    "damage",
    [
        {"threshold": 0.0},
        {"threshold": math.nan},
        {"total": {}},
        {"cold": "x"},
        {"bins": np.full((1, 4), math.nan)},
        {"bins": np.array([[1e6, 1.0, 1.0, 1.0]])},
        {"bins": np.array([[-1.0, 1.0, 1.0, 1.0]])},
        {"bins": np.zeros((3, 3))},
        {"sums": np.zeros(2)},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage: dict[str, Any]) -> None:
    metrics, untouched = observed(examples(1100)), observed(examples(1100))
    state = metrics.export()
    inner = {name: value for name, value in damage.items() if name in ("bins", "sums")}
    state["total"]["event_3"].update(inner)
    state.update({name: value for name, value in damage.items() if name not in inner})
    with pytest.raises((ValueError, KeyError, TypeError)):
        metrics.restore(state)
    assert same(metrics, untouched)

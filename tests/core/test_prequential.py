"""Prequential metrics: equal to scikit-learn's on the same scores, labels and weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from stream_app.core.prequential import SHOWN_FROM_EXAMPLES_OF_A_CLASS, WINDOW_EXAMPLES, Prequential

#: The width of a bin in logits is 0.01: the metrics may differ by what ties within a bin hide.
BINNED = 1e-3


def examples(count: int, seed: int = 1) -> tuple[list[float], list[int], list[float], list[int]]:
    """Scores as served (six digits), labels that follow them roughly, weights of a reservoir, event numbers."""
    random = np.random.default_rng(seed)
    logits = random.normal(-2.5, 1.2, count)
    scores = np.clip(np.round(1 / (1 + np.exp(-logits)), 6), 1e-6, 1 - 1e-6)
    labels = random.random(count) < 1 / (1 + np.exp(-(0.8 * logits + random.normal(0, 0.5, count))))
    weights = random.choice([1.0, 1.5, 12.5], count)
    return scores.tolist(), labels.astype(int).tolist(), weights.tolist(), random.integers(1, 6, count).tolist()


def observed(count: int, seed: int = 1) -> Prequential:
    metrics = Prequential()
    for score, label, weight, events in zip(*examples(count, seed), strict=True):
        metrics.observe(score, label, weight=weight, events=events, cold=False)
    return metrics


def test_weighted_metrics_equal_scikit_learns() -> None:
    scores, labels, weights, _ = examples(8000)
    quality = observed(8000).since_start()
    rate = float(np.average(labels, weights=weights))
    assert quality.examples == 8000
    assert quality.positives == sum(labels)
    assert quality.base_rate == pytest.approx(rate)
    assert quality.mean_score == pytest.approx(float(np.average(scores, weights=weights)))
    assert quality.log_loss == pytest.approx(log_loss(labels, scores, sample_weight=weights))
    assert quality.log_loss_constant == pytest.approx(log_loss(labels, [rate] * 8000, sample_weight=weights))
    assert quality.roc_auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=BINNED)
    assert quality.pr_auc == pytest.approx(average_precision_score(labels, scores, sample_weight=weights), abs=BINNED)


def test_ties_count_half() -> None:
    metrics = Prequential()
    for label in (0, 1, 1, 0):
        metrics.observe(0.2, label, weight=1.0, events=1, cold=False)
    assert metrics.since_start().roc_auc == 0.5
    assert metrics.since_start().pr_auc == 0.5


def test_a_hand_worked_ranking() -> None:
    # .9 + · .7 − · .5 + · .1 −: of 4 pairs 3 are in order; precision at the positives 1/1 and 2/3.
    metrics = Prequential()
    for score, label in ((0.5, 1), (0.1, 0), (0.9, 1), (0.7, 0)):
        metrics.observe(score, label, weight=1.0, events=1, cold=False)
    quality = metrics.since_start()
    assert quality.roc_auc == pytest.approx(0.75)
    assert quality.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert quality.log_loss == pytest.approx(-(math.log(0.5) + math.log(0.9) + math.log(0.9) + math.log(0.3)) / 4)


def test_scores_at_the_third_event_are_counted_apart() -> None:
    scores, labels, weights, events = examples(4000)
    third = [n for n, number in enumerate(events) if number == 3]
    quality = observed(4000).third_event()
    assert quality.examples == len(third)
    expected = roc_auc_score(
        [labels[n] for n in third], [scores[n] for n in third], sample_weight=[weights[n] for n in third]
    )
    assert quality.roc_auc == pytest.approx(expected, abs=3 * BINNED)


def test_the_recent_window_forgets_what_is_older() -> None:
    metrics = observed(WINDOW_EXAMPLES + 500)
    scores, labels, weights, _ = (values[500:] for values in examples(WINDOW_EXAMPLES + 500))
    quality = metrics.recent()
    assert quality.examples == WINDOW_EXAMPLES
    assert quality.log_loss == pytest.approx(log_loss(labels, scores, sample_weight=weights))


def test_cold_scores_are_no_ones_prediction() -> None:
    metrics = Prequential()
    metrics.observe(0.03, 1, weight=1.0, events=1, cold=True)
    assert metrics.cold_examples == 1
    assert metrics.since_start().examples == 0
    assert metrics.recent().examples == 0


def test_what_is_not_defined_yet_is_nan_and_does_not_fail() -> None:
    metrics = Prequential()
    assert math.isnan(metrics.since_start().roc_auc)
    metrics.observe(0.5, 0, weight=1.0, events=3, cold=False)
    quality = metrics.since_start()
    assert math.isnan(quality.roc_auc)
    assert math.isnan(quality.pr_auc)
    assert (quality.base_rate, quality.log_loss_constant) == (0.0, 0.0)
    metrics = Prequential()
    metrics.observe(0.5, 1, weight=1.0, events=3, cold=False)
    assert math.isnan(metrics.since_start().roc_auc)
    assert metrics.since_start().pr_auc == 1.0


@pytest.mark.parametrize("rare", [0, 1])
def test_figures_are_shown_once_there_are_enough_examples_of_both_classes(rare: int) -> None:
    metrics = Prequential()
    for _ in range(500):
        metrics.observe(0.4, 1 - rare, weight=1.0, events=1, cold=False)
    for _ in range(SHOWN_FROM_EXAMPLES_OF_A_CLASS):
        quality = metrics.since_start()
        shown = quality.shown()
        for name in ("base_rate", "log_loss", "log_loss_constant", "roc_auc", "pr_auc"):
            assert math.isnan(getattr(shown, name)), name
        assert (shown.examples, shown.positives) == (quality.examples, quality.positives)
        assert shown.mean_score == quality.mean_score
        metrics.observe(0.4, rare, weight=1.0, events=1, cold=False)
    assert metrics.since_start().shown() == metrics.since_start()


@pytest.mark.parametrize("score", [1e-6, 1 - 1e-6])
def test_the_outermost_scores_have_finite_metrics(score: float) -> None:
    metrics = Prequential()
    for label in (0, 1):
        metrics.observe(score, label, weight=1.0, events=1, cold=False)
    assert metrics.since_start().log_loss == pytest.approx(-(math.log(1e-6) + math.log(1 - 1e-6)) / 2)
    assert metrics.since_start().roc_auc == 0.5


def test_metrics_go_on_the_same_after_an_export_through_json() -> None:
    metrics = observed(1000)
    metrics.observe(0.1, 0, weight=1.0, events=1, cold=True)
    restored = Prequential()
    restored.restore(json.loads(json.dumps(metrics.export())))
    for one in (metrics, restored):
        for score, label, weight, events in zip(*examples(200, seed=2), strict=True):
            one.observe(score, label, weight=weight, events=events, cold=False)
    assert restored.since_start() == metrics.since_start()
    assert restored.third_event() == metrics.third_event()
    assert restored.cold_examples == 1
    assert restored.recent().examples == 200

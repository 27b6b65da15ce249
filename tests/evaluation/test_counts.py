"""The streaming figures against scikit-learn's on random scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from stream_app.core.figures import f1_all_positive
from stream_app.evaluation.bootstrap import DRAWN, draws, session_weights
from stream_app.evaluation.counts import Counts, Figures
from stream_app.evaluation.noise import calibration_noise


@pytest.fixture(name="rows")
def some_rows() -> tuple[Any, Any, Any]:
    random = np.random.default_rng(3)
    logit = random.normal(-2.5, 1.2, 20_000)
    truth = 1 / (1 + np.exp(-logit))
    label = (random.random(20_000) < truth).astype(np.uint8)
    other = 1 / (1 + np.exp(-0.5 * logit + random.normal(0, 1, 20_000)))
    p = np.clip(np.round(np.column_stack((truth, other)), 6), 1e-6, 1 - 1e-6)
    return p, label, random.choice([1.0, 1.5, 7.25], 20_000)


def counted(rows: tuple[Any, Any, Any], thresholds: tuple[float, float] = (0.2, 0.5)) -> Counts:
    p, label, weight = rows
    counts = Counts(2)
    for start in range(0, len(label), 777):
        part = slice(start, start + 777)
        limits = np.broadcast_to(np.array(thresholds), p[part].shape)
        counts.add(p[part], label[part], weight[part], limits)
    return counts


@pytest.mark.parametrize("model", [0, 1])
def test_figures_equal_those_of_scikit_learn(rows: tuple[Any, Any, Any], model: int) -> None:
    (p, label, weight), threshold = rows, (0.2, 0.5)[model]
    found = counted(rows).figures(model)
    scores = p[:, model]
    rate = float(np.average(label, weights=weight))
    called = scores >= threshold
    assert found.rows == 20_000
    assert found.positives == label.sum()
    assert found.base_rate == pytest.approx(rate)
    assert found.log_loss == pytest.approx(metrics.log_loss(label, scores, sample_weight=weight))
    constant = metrics.log_loss(label, np.full(len(label), rate), sample_weight=weight)
    assert found.log_loss_constant == pytest.approx(constant)
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(label, scores, sample_weight=weight), abs=2e-5)
    assert found.pr_auc == pytest.approx(metrics.average_precision_score(label, scores, sample_weight=weight), abs=5e-4)
    assert found.brier == pytest.approx(metrics.brier_score_loss(label, scores, sample_weight=weight))
    assert found.mean_score == pytest.approx(np.average(scores, weights=weight))
    assert found.f1 == pytest.approx(metrics.f1_score(label, called, sample_weight=weight))
    assert found.precision == pytest.approx(metrics.precision_score(label, called, sample_weight=weight))
    assert found.recall == pytest.approx(metrics.recall_score(label, called, sample_weight=weight))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(label, called, sample_weight=weight))
    nobody = metrics.accuracy_score(label, np.zeros_like(label), sample_weight=weight)
    assert found.accuracy_constant == pytest.approx(nobody)
    confusion = metrics.confusion_matrix(label, called, sample_weight=weight, normalize="all")
    cells = [[found.true_negative, found.false_positive], [found.false_negative, found.true_positive]]
    assert np.array(cells) == pytest.approx(confusion)
    all_positive = metrics.f1_score(label, np.ones_like(label), sample_weight=weight)
    assert found.f1_all_positive == pytest.approx(all_positive)
    precision, recall, _ = metrics.precision_recall_curve(label, scores, sample_weight=weight)
    best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert found.f1_best == pytest.approx(best, abs=5e-4)


def test_the_chosen_threshold_has_the_f1_that_it_promises(rows: tuple[Any, Any, Any]) -> None:
    p, label, weight = rows
    threshold, promised = counted(rows).best_f1(0)
    assert metrics.f1_score(label, p[:, 0] >= threshold, sample_weight=weight) == pytest.approx(promised, abs=1e-9)


def test_a_balanced_f1_is_that_of_as_many_positives_as_negatives(rows: tuple[Any, Any, Any]) -> None:
    p, label, weight = rows
    share = weight[label == 1].sum() / weight.sum()
    balanced = weight * np.where(label == 1, 0.5 / share, 0.5 / (1 - share))
    counts = counted(rows)
    called = p[:, 0] >= 0.2
    assert counts.balanced_f1(0) == pytest.approx(metrics.f1_score(label, called, sample_weight=balanced))
    _, best = counts.best_f1(0, balanced=True)
    assert best > 2 / 3
    assert best >= counts.balanced_f1(0)
    assert f1_all_positive(0.5) == pytest.approx(2 / 3)


def test_calibration_error_is_that_of_bins_of_equal_weight(rows: tuple[Any, Any, Any]) -> None:
    p, label, weight = rows
    for model in (0, 1):
        order = np.argsort(p[:, model])
        place = np.minimum((20 * (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()).astype(int), 19)
        total = np.bincount(place, weight[order])
        score = np.bincount(place, (weight * p[:, model])[order]) / total
        bought = np.bincount(place, (weight * label)[order]) / total
        expected = np.average(np.abs(score - bought), weights=total)
        assert counted(rows).figures(model).ece == pytest.approx(expected, abs=5e-4)
    # The first is calibrated by construction, the other is not.
    assert counted(rows).figures(0).ece < 0.012 < 0.1 < counted(rows).figures(1).ece


def test_figures_of_nothing_are_not_defined() -> None:
    empty = Counts(1).figures(0)
    assert (empty.rows, empty.positives) == (0, 0)
    assert all(math.isnan(value) for value in empty[2:])
    one_class = Counts(1)
    one_class.add(np.array([[0.2], [0.4]]), np.zeros(2), np.ones(2), np.full((2, 1), 0.3))
    found: Figures = one_class.figures(0)
    assert math.isnan(found.roc_auc)
    assert math.isnan(found.pr_auc)
    assert math.isnan(found.f1)
    assert found.log_loss_constant == 0.0
    assert math.isnan(found.accuracy)
    assert found.accuracy_constant == 1.0


def test_intervals_draw_sessions_and_not_rows() -> None:
    # 400 sessions of 25 equal rows know as much as 400 rows.
    random = np.random.default_rng(8)
    truth = np.clip(random.beta(1, 8, 400), 1e-4, 0.99)
    label = (random.random(400) < truth).astype(np.uint8)
    session = random.integers(0, 2**63, 400).astype(np.uint64)
    widths = []
    for repeated in (1, 25):
        chunk = {
            "p": np.repeat(truth, repeated)[:, None],
            "label": np.repeat(label, repeated),
            "weight": np.ones(400 * repeated),
            "session": np.repeat(session, repeated),
        }
        halves = [{name: values[::2] for name, values in chunk.items()}, {n: v[1::2] for n, v in chunk.items()}]
        found = draws(halves, lambda rows: np.full((len(rows["label"]), 1), 0.2), models=1, number=300)
        low, high = found.interval(0, "roc_auc")
        assert low < metrics.roc_auc_score(label, truth) < high
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1], abs=1e-9)
    assert 0.08 < widths[0] < 0.35


def test_draws_are_poisson_and_the_same_each_time() -> None:
    session = np.random.default_rng(1).integers(0, 2**63, 100_000).astype(np.uint64)
    drawn = [session_weights(session, draw) for draw in (0, 1)]
    for one in drawn:
        shares = np.bincount(one, minlength=4)[:4] / len(one)
        np.testing.assert_allclose(shares, [math.exp(-1) / math.factorial(k) for k in range(4)], atol=0.005)
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.01
    np.testing.assert_array_equal(drawn[0], session_weights(session, 0))


def test_a_difference_has_a_narrower_interval_than_its_terms(rows: tuple[Any, Any, Any]) -> None:
    p, label, weight = rows
    near = np.clip(p[:, :1] * 0.98, 1e-6, 1 - 1e-6)
    chunk = {
        "p": np.hstack((p[:, :1], near)), "label": label, "weight": weight,
        "session": np.arange(20_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
    }  # fmt: skip
    found = draws([chunk], lambda rows: np.full((len(rows["label"]), 2), 0.3), models=2, number=100)
    alone, pair = found.interval(0, "roc_auc"), found.difference(1, 0, "roc_auc")
    assert pair.high - pair.low < (alone.high - alone.low) / 5
    assert set(DRAWN) >= {"log_loss", "roc_auc", "ece"}


def test_chance_alone_makes_a_calibration_error_and_more_with_fewer_sessions(rows: tuple[Any, Any, Any]) -> None:
    p, label, weight = rows
    many = np.random.default_rng(6).integers(0, 2**63, 20_000).astype(np.uint64)
    few = np.repeat(many[:800], 25)
    order = np.argsort(p[:, 0])
    chunk = {"p": p[order], "label": label[order], "weight": weight[order], "session": many}
    alone = calibration_noise([chunk], models=2)
    together = calibration_noise([{**chunk, "session": few}], models=2)
    # The first model is calibrated: what error it has is of this size. Rows of one session err together.
    error = counted(rows).figures(0).ece
    assert alone[0] / 2 < error < alone[0] * 2
    assert together[0] > 3 * alone[0]
    # The other's own error is far beyond.
    assert counted(rows).figures(1).ece > 5 * alone[1]

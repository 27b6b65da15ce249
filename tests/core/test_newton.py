"""The online Newton learner: as good as a batch fit, finite on anything, restored exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from stream_app.core import newton
from stream_app.core.newton import LOGIT_VARIANCE, Z_MAX, NewtonLogistic

Vector = npt.NDArray[np.float64]

WEIGHTS = np.array([1.2, -0.7, 0.4, 0.0, 0.0])


def toy(rows: int, seed: int = 1) -> tuple[Vector, npt.NDArray[np.int64]]:
    """Inputs of different scales whose logit is −1 + z·WEIGHTS."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(rows, len(WEIGHTS)))
    labels = (random.random(rows) < 1 / (1 + np.exp(1.0 - z @ WEIGHTS))).astype(np.int64)
    return z * [1.0, 10.0, 0.1, 1000.0, 1.0] + [0.0, 50.0, 1.0, -4.0, 9.0], labels


def fitted(rows: int = 4000) -> NewtonLogistic:
    model = NewtonLogistic(len(WEIGHTS), base_rate=0.27)
    for x, label in zip(*toy(rows), strict=True):
        model.learn(x, int(label))
    return model


def test_it_finds_what_a_ridge_regression_on_the_whole_set_finds() -> None:
    x, labels = toy(4000)
    model = fitted()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    # A Gaussian prior of variance v is a ridge penalty with C = v.
    batch = LogisticRegression(C=LOGIT_VARIANCE / len(WEIGHTS)).fit(z, labels)
    assert model.weights[:-1] == pytest.approx(batch.coef_[0], abs=0.06)
    assert model.weights[-1] == pytest.approx(batch.intercept_[0], abs=0.06)
    fresh, truth = toy(2000, seed=2)
    mine = log_loss(truth, model.predict_many(fresh))
    best = log_loss(truth, batch.predict_proba((fresh - x.mean(axis=0)) / x.std(axis=0))[:, 1])
    assert mine < best + 0.002


def test_before_the_first_example_it_says_the_base_rate() -> None:
    model = NewtonLogistic(5, base_rate=0.03)
    assert model.predict_many(toy(3)[0]) == pytest.approx(0.03)


def test_one_step_worked_out_by_hand() -> None:
    # Bias alone, as the first z-scores are 0: p = .5, r = .25, P = 1: k = 1 / (1/.25 + 1) = .2; w = .2 × .5 / .25.
    model = NewtonLogistic(1, base_rate=0.5)
    model.learn(np.array([3.0]), 1)
    assert model.weights == pytest.approx([0.0, 0.4])
    assert model.covariance[1, 1] == pytest.approx(0.8)


def test_an_example_of_weight_two_narrows_as_much_as_two() -> None:
    # At a fixed p the information is c·r: 1 / P grows by 2 × .25.
    model = NewtonLogistic(1, base_rate=0.5)
    model.learn(np.array([3.0]), 1, 2.0)
    assert 1 / model.covariance[1, 1] == pytest.approx(1 + 2 * 0.25)


def test_an_input_that_never_varies_says_nothing() -> None:
    model = NewtonLogistic(2, base_rate=0.3)
    for n in range(200):
        model.learn(np.array([7.0, n % 2]), n % 2)
    assert model.weights[0] == 0.0
    base, odd = model.predict_many(np.array([[7.0, 1.0], [8.0, 1.0]]))
    assert base == odd


def test_predicting_changes_nothing_and_a_row_does_not_depend_on_the_others() -> None:
    model = fitted(500)
    before = model.export()
    kept = {name: np.array(value) for name, value in before.items()}
    x = toy(300, seed=4)[0]
    many = model.predict_many(x)
    for row, p in zip(x, many, strict=True):
        assert model.predict_many(row[None, :])[0] == p
    assert all(np.array_equal(model.export()[name], value) for name, value in kept.items())


def test_an_export_is_a_picture_of_its_moment() -> None:
    model = fitted(100)
    exported = model.export()
    kept = {name: np.array(value) for name, value in exported.items()}
    model.learn(toy(1)[0][0], 1)
    assert all(np.array_equal(exported[name], value) for name, value in kept.items())


def test_a_restored_model_predicts_and_learns_the_same() -> None:
    model = fitted(300)
    restored = NewtonLogistic(5, base_rate=0.9)
    restored.restore(model.export())
    for x, label in zip(*toy(100, seed=5), strict=True):
        assert restored.predict_many(x[None, :]) == model.predict_many(x[None, :])
        model.learn(x, int(label))
        restored.learn(x, int(label))
    assert all(np.array_equal(model.export()[name], value) for name, value in restored.export().items())


def test_it_stays_finite_and_positive_definite_on_extremes() -> None:
    random = np.random.default_rng(6)
    model = NewtonLogistic(4, base_rate=0.001)
    for n in range(3000):
        x = random.choice([-200_000.0, 0.0, 1e-4, 200_000.0], size=4)
        model.learn(x, int(x[0] > 0) if n % 100 else int(x[0] <= 0), float(random.choice([1e-3, 1.0, 1e4])))
    assert all(np.isfinite(value).all() for value in model.export().values())
    assert np.linalg.eigvalsh((model.covariance + model.covariance.T) / 2).min() > -1e-9
    p = model.predict_many(np.full((1, 4), 200_000.0))
    assert 0.0 <= p[0] <= 1.0


def collinear(kind: str, rows: int, width: int) -> Vector:
    """Inputs that leave most directions unknown: hard on a covariance that is only ever subtracted from."""
    random = np.random.default_rng(8)
    u = random.normal(size=(rows, width))
    if kind == "copies":
        return np.repeat(u[:, :1], width, axis=1)
    if kind == "nearly copies":
        return u[:, :1] + 1e-9 * u
    if kind == "rank two":
        return u[:, :1] * np.arange(1.0, width + 1) + u[:, 1:2] * (np.arange(width) % 3)
    if kind == "many scales":
        return u[:, :1] * 10.0 ** np.clip(np.arange(width) - 4.0, -4, 5)
    return random.choice([-2e5, 0.0, 1e-4, 2e5], size=(rows, width))


@pytest.mark.parametrize("kind", ["copies", "nearly copies", "rank two", "many scales", "extremes"])
def test_the_covariance_stays_symmetric_and_positive_over_a_long_run_on_collinear_inputs(kind: str) -> None:
    # Every seventh example has weight 10,000 or 0.001: together they narrow as much as 35 million do.
    width, rows = 10, 50_000
    random = np.random.default_rng(9)
    model = NewtonLogistic(width, base_rate=0.03)
    weights = np.where(np.arange(rows) % 7, 1.0, random.choice([1e-3, 1e4], rows)).tolist()
    for x, y, weight in zip(collinear(kind, rows, width), random.random(rows).tolist(), weights, strict=True):
        model.learn(x, int(y < 1 / (1 + np.exp(min(3 - x[0], 700.0)))), weight)
    covariance = model.export()["covariance"]
    assert (covariance == covariance.T).all()
    # In the direction that is known best, far above what rounding leaves.
    assert np.linalg.eigvalsh(covariance).min() > 1e-8
    assert np.linalg.eigvalsh(covariance).max() <= 1.0
    assert np.abs(model.weights).max() < 20.0


def test_a_freak_value_counts_as_five_deviations() -> None:
    model = NewtonLogistic(1, base_rate=0.5)
    for n in range(1000):
        model.learn(np.array([float(n % 2)]), n % 2)
    far, farther = model.predict_many(np.array([[0.5 + Z_MAX * 0.5 + 1e-9], [1e9]]))
    assert far == farther


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.zeros(4)),
        ("covariance", np.zeros((6, 5))),
        ("weights", None),
        ("weights", np.array([0.0, 0.0, 0.0, 0.0, 0.0, np.nan])),
        ("m2", np.array([np.inf] * 5)),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_and_changes_nothing(name: str, value: Any) -> None:
    model = fitted(50)
    before = model.weights.copy()
    with pytest.raises(ValueError, match=name):
        model.restore({**NewtonLogistic(5, base_rate=0.5).export(), name: value})
    assert np.array_equal(model.weights, before)


def test_weights_that_have_changed_are_learned_again_however_much_was_learned_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, labels = toy(150_000)
    changed, told = toy(40_000, seed=3)
    fresh, truth = toy(4_000, seed=4)
    # The same shop, in which what spoke for a purchase speaks against it.
    told, truth = 1 - told, 1 - truth
    losses = []
    for drift in (newton.DRIFT, 0.0):
        monkeypatch.setattr(newton, "DRIFT", drift)
        model = NewtonLogistic(len(WEIGHTS), base_rate=0.27)
        for row, label in zip([*x, *changed], [*labels, *told], strict=True):
            model.learn(row, int(label))
        losses.append(log_loss(truth, model.predict_many(fresh)))
    drifting, fixed = losses
    assert drifting < fixed - 0.05


def test_an_input_that_never_varies_grows_no_more_uncertain_than_at_the_start() -> None:
    model = NewtonLogistic(2, base_rate=0.3)
    random = np.random.default_rng(1)
    for _ in range(20_000):
        model.learn(np.array([random.normal(), 7.0]), int(random.random() < 0.3))
    assert model.covariance[1, 1] == pytest.approx(LOGIT_VARIANCE / 2)
    assert model.covariance[0, 0] < LOGIT_VARIANCE / 200
    assert np.linalg.eigvalsh(model.covariance).min() > 0

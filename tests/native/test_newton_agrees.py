"""The compiled Newton step learns and predicts what NumPy's does, to the last bit, at every width."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.native import native
from stream_app.core.newton import NewtonLogistic, learn_rows, predict_rows
from tests.native.built import needs_native

pytestmark = needs_native

Vector = npt.NDArray[np.float64]
ARRAYS = ("mean", "m2", "scale", "weights", "covariance")


def arrays(width: int) -> list[Vector]:
    """A learner's that has learned nothing, in the order in which a step takes them."""
    core = NewtonLogistic(width, base_rate=0.03)
    return [core.mean, core.m2, np.zeros(width), core.weights, core.covariance]


def inputs(random: np.random.Generator, rows: int, width: int) -> Vector:
    """Of many sizes, a third of them zero, the last one constant: multiples of 1e-4, as features are."""
    x = np.rint(random.normal(size=(rows, width)) * 10.0 ** random.integers(-3, 5, width) * 1e4) / 1e4
    x *= random.random(x.shape) > 0.33
    x[:, -1] = 7.0
    return np.clip(x, -2e5, 2e5)


@settings(max_examples=60, deadline=None)
@given(
    width=st.one_of(st.just(62), st.integers(1, 127)),
    seed=st.integers(0, 2**32 - 1),
    episodes=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 1), st.sampled_from([1.0, 1e-3, 1e4])), min_size=1, max_size=40
    ),
)
def test_the_same_rows_leave_the_same_bits(width: int, seed: int, episodes: list[tuple[int, int, float]]) -> None:
    assert native is not None, "the compiled engine is not built: pip install ./native"
    random = np.random.default_rng(seed)
    one, other, asked = arrays(width), arrays(width), inputs(random, 5, width)
    mine = theirs = 0
    for rows, label, weight in episodes:
        x = inputs(random, rows, width)
        # It wanders often here, every seventh example.
        how: dict[str, Any] = {"label": label, "weight": weight, "every": 7, "keep": 1.0 - 1e-6, "add": 1e-8}
        mine = learn_rows(*one, x, count=mine, **how)
        theirs = native.newton_learn(*other, x, count=theirs, **how)
        assert mine == theirs
    for name, found, expected in zip(ARRAYS, other, one, strict=True):
        assert np.array_equal(found, expected), name
    mean, _, scale, weights, covariance = one
    assert (covariance == covariance.T).all()
    p = predict_rows(mean, scale, weights, asked)
    assert native.newton_predict(mean, scale, weights, asked) == p
    assert [predict_rows(mean, scale, weights, x[None, :]) for x in asked] == [p[at : at + 8] for at in range(0, 40, 8)]


def test_predictions_agree_also_where_a_logit_is_beyond_all_bounds() -> None:
    assert native is not None
    mean, scale, rows = np.zeros(2), np.ones(2), np.array([[5.0, 5.0], [-5.0, -5.0], [1.0, -1.0], [np.nan, 0.0]])
    weights = np.array([1e300, 300.0, 0.0])
    found = np.frombuffer(native.newton_predict(mean, scale, weights, rows))
    assert np.array_equal(found, np.frombuffer(predict_rows(mean, scale, weights, rows)), equal_nan=True)
    assert found[0] == 1.0
    assert 0.0 < found[1] < 1e-300
    assert np.isnan(found[3])


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (0, np.zeros(3), ValueError),
        (4, np.zeros((5, 4)), ValueError),
        (4, np.asfortranarray(np.eye(5)[:, ::-1]), ValueError),
        (5, np.zeros((2, 3)), ValueError),
        (5, np.zeros((2, 8))[:, ::2], ValueError),
        (3, np.zeros(5, dtype=np.float32), BufferError),
    ],
)
def test_arrays_of_another_shape_order_or_type_are_refused(place: int, value: Any, error: type[Exception]) -> None:
    assert native is not None
    given: list[Any] = [*arrays(4), np.zeros((2, 4))]
    before = [array.copy() for array in given[:5]]
    good = list(given)
    given[place] = value
    with pytest.raises(error):
        native.newton_learn(*given, count=0, label=1, weight=1.0, every=64, keep=1.0, add=0.0)
    assert all(np.array_equal(array, kept) for array, kept in zip(good[:5], before, strict=True))

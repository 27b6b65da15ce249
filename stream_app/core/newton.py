"""Logistic regression by online Newton steps (extended Kalman filter).

Each example updates the weights by a Newton step on the posterior that the examples before it left, so every example is
used as well as a batch fit would use it, with no learning rate to tune. Inputs are standardised by running moments.

    p = σ(wᵀz),  r = max(p(1 − p), R_MIN),  k = P z / (1/(c r) + zᵀP z),  P ← P − k (P z)ᵀ,  w ← w + k (y − p)/r

with sample weight c: the Sherman–Morrison form of P⁻¹ ← P⁻¹ + c r z zᵀ. Between examples the true weights may wander
a little (`DRIFT`), the transition of a Kalman filter: P ← (1 − q/P₀) P + q I. Without it P shrinks for ever, and what a
shop changes after a million examples would not be learned in time. See N. Houlsby's and others' notes on Bayesian
online logistic regression, and L. Bottou, "Online Learning and Stochastic Approximations" (1998), §4 on second order.

The step is compiled where the extension is built; `learn_rows` here is its reference and stands in for it. Both add in
the same order and round alike, so that what was learned with one can be folded again with the other, to the last bit.
That is why no BLAS is asked: its sums come out differently on every processor.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from stream_app.core.native import native

Vector = npt.NDArray[np.float64]

#: `predict_rows`, or its twin.
Predict = Callable[[Vector, Vector, Vector, Vector], bytes]

#: Prior variance of all weights together: before anything is learned, inputs of the usual size are believed to move the
#: logit by about one. Each of 62 then has 0.016; with the 0.1 of a preliminary study, of half as many inputs, they are
#: believed to move it by 2.5, and a shop's first days are spent on unlearning chance (docs/adr/0007).
LOGIT_VARIANCE: Final = 1.0

#: q: by how much a weight's variance grows with every example, at most up to the prior's. It makes the model remember
#: about 1 / √(q·r) examples, 60,000 at a base rate of 3 %. On a month of the REES46 electronics file log-loss is .1359
#: with 0, .1357 with 1e-8, .1358 with 1e-7 and .1388 with 1e-6; ROC AUC falls from 3e-8 on.
DRIFT: Final = 1e-8

#: Examples between two such steps: together they are cheaper than one by one, and no less exact at this q.
_DRIFT_EVERY: Final = 64

#: Clip of the z-scores: one freak value must not turn the weights.
Z_MAX: Final = 5.0

#: Logits beyond it are as sure as they get, and e to their power is still a number.
_LOGIT_MAX: Final = 700.0

#: Floor of p(1 − p): a confident mistake would otherwise take a step without bound.
R_MIN: Final = 1e-4

#: Variance below which an input counts as constant: features are multiples of 1e-4, so real ones vary by more.
VARIANCE_MIN: Final = 1e-12

#: Examples before the running moments are trusted; until then inputs count as 0.
_MOMENTS_MIN: Final = 2


class Step(Protocol):
    """Learns rows one after the other, changing the arrays in place; gives how many examples have been learned in all.

    Arrays are float64 in C order: `mean`, `m2` (sums of squared deviations) and `scale` (inverse deviations) of shape
    (W,), `weights` (W + 1,), `covariance` (W + 1, W + 1), symmetric, `rows` (N, W). All rows have this label (0 or 1)
    and sample weight. Every `every` examples the covariance is multiplied by `keep`, and `add` put on its diagonal.
    """

    def __call__(
        self,
        mean: Vector,
        m2: Vector,
        scale: Vector,
        weights: Vector,
        covariance: Vector,
        rows: Vector,
        *,
        count: int,
        label: int,
        weight: float,
        every: int,
        keep: float,
        add: float,
    ) -> int:
        """Learn."""
        ...


def learn_rows(
    mean: Vector,
    m2: Vector,
    scale: Vector,
    weights: Vector,
    covariance: Vector,
    rows: Vector,
    *,
    count: int,
    label: int,
    weight: float,
    every: int,
    keep: float,
    add: float,
) -> int:
    """`Step` in NumPy."""
    # Into buffers throughout: at this size NumPy's own cost is in making arrays, not in the sums.
    size = len(weights)
    z, pz, products, square = np.ones(size), np.empty(size), np.empty(size), np.empty((size, size))
    centred, inputs = products[:-1], z[:-1]
    for x in rows:
        count += 1
        np.subtract(x, mean, out=centred)
        np.divide(centred, count, out=inputs)
        mean += inputs
        np.subtract(x, mean, out=inputs)
        centred *= inputs
        m2 += centred
        rescale(scale, m2, count)
        inputs *= scale
        np.minimum(inputs, Z_MAX, out=inputs)
        np.maximum(inputs, -Z_MAX, out=inputs)
        # Products, then their sum along a contiguous row: NumPy's order of adding is part of the result.
        logit = float(np.add.reduce(np.multiply(weights, z, out=products)))
        p = _sigmoid(logit)
        r = max(p * (1.0 - p), R_MIN)
        np.add.reduce(np.multiply(covariance, z, out=square), axis=1, out=pz)
        narrowing = 1.0 / (1.0 / (weight * r) + float(np.add.reduce(np.multiply(z, pz, out=products))))
        np.multiply(pz[:, None], pz, out=square)
        square *= narrowing
        covariance -= square
        pz *= narrowing * (label - p) / r
        weights += pz
        if count % every == 0:
            covariance *= keep
            covariance.reshape(-1)[:: size + 1] += add
    return count


def rescale(scale: Vector, m2: Vector, count: int) -> None:
    """The inverse deviations of inputs, in place, from the sums of squared deviations of `count` rows."""
    if count < _MOMENTS_MIN:
        return
    np.divide(m2, count, out=scale)
    # An input that has not varied yet says nothing: an infinite deviation makes its z-score 0.
    scale[scale <= VARIANCE_MIN] = np.inf
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)


def predict_rows(mean: Vector, scale: Vector, weights: Vector, rows: Vector) -> bytes:
    """Probabilities of N rows, float64; arrays as `Step` has them. A row's value does not depend on the others."""
    z = np.ones((len(rows), len(weights)))
    np.clip((rows - mean) * scale, -Z_MAX, Z_MAX, out=z[:, :-1])
    z *= weights
    return array("d", map(_sigmoid, np.add.reduce(z, axis=1).tolist())).tobytes()


def _sigmoid(logit: float) -> float:
    # NaN stays NaN. Not NumPy's exp: it differs in the last bit from the C library's, and from processor to processor.
    within = _LOGIT_MAX if logit > _LOGIT_MAX else -_LOGIT_MAX if logit < -_LOGIT_MAX else logit
    return 1.0 / (1.0 + math.exp(-within))


#: What learns, and what predicts.
_STEP: Final[Step] = getattr(native, "newton_learn", learn_rows)
_PREDICT: Final[Predict] = getattr(native, "newton_predict", predict_rows)


class NewtonLogistic:
    """`width` inputs and a bias. Not thread-safe; predicting changes nothing."""

    def __init__(self, width: int, *, base_rate: float) -> None:
        self.width = width
        self.count = 0
        self.mean: Vector = np.zeros(width)
        self.m2: Vector = np.zeros(width)
        self.weights: Vector = np.zeros(width + 1)
        self.weights[-1] = math.log(base_rate / (1.0 - base_rate))
        self.covariance: Vector = np.eye(width + 1) * LOGIT_VARIANCE / width
        # The bias starts at an assumed base rate, not at a known one.
        self.covariance[-1, -1] = 1.0
        self._scale: Vector = np.zeros(width)

    def predict_many(self, x: Vector) -> Vector:
        """Probabilities, shape (N,), read-only, of inputs of shape (N, width), each as if it were alone."""
        rows = np.ascontiguousarray(x, dtype=np.float64)
        return np.frombuffer(_PREDICT(self.mean, self._scale, self.weights, rows))

    def terms(self, x: Vector) -> Vector:
        """What each input adds to the logit, shape (N, width): 0 at its running mean. The bias is the rest of it."""
        result: Vector = np.clip((x - self.mean) * self._scale, -Z_MAX, Z_MAX) * self.weights[:-1]
        return result

    def learn(self, x: Vector, label: int, weight: float = 1.0) -> None:
        """Learn one example: inputs of shape (width,), label 0 or 1, sample weight > 0. Input must be finite."""
        self.learn_many(x[None, :], label, weight)

    def learn_many(self, x: Vector, label: int, weight: float = 1.0) -> None:
        """Learn examples of one label one after the other: inputs of shape (N, width), as `learn` in turn."""
        step = _DRIFT_EVERY * DRIFT
        self.count = _STEP(
            self.mean,
            self.m2,
            self._scale,
            self.weights,
            self.covariance,
            np.ascontiguousarray(x, dtype=np.float64),
            count=self.count,
            label=label,
            weight=weight,
            every=_DRIFT_EVERY,
            keep=1.0 - step * self.width / LOGIT_VARIANCE,
            add=step,
        )

    def correct(self, x: Vector, delta: int, weight: float = 1.0) -> None:
        """An example that was learned has turned out otherwise: its label moves by `delta`, from 0 to 1 or back (−1).

        w ← w + c P z δ. The covariance does not depend on labels. A label moves the weights by c P z (y − p), with the
        P that its example leaves behind; each later step multiplies what is there by its own P over the one before. So
        of a unit of the label c P z is left, with the P of now. That is exact but for what later steps would have made
        of another p, for `DRIFT`, and for moments that have moved on: to first order, as if the label had come in time.
        """
        z = np.ones(self.width + 1)
        np.clip((x - self.mean) * self._scale, -Z_MAX, Z_MAX, out=z[:-1])
        self.weights += weight * delta * (self.covariance * z).sum(axis=1)

    def export(self) -> dict[str, Any]:
        """Everything that predicting and learning need, as plain arrays of their own: learning changes its in place."""
        return {
            "count": self.count,
            "mean": self.mean.copy(),
            "m2": self.m2.copy(),
            "weights": self.weights.copy(),
            "covariance": self.covariance.copy(),
        }

    def restore(self, arrays: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError
            If a shape does not fit this width, or a number is not finite.
        """
        shapes = {
            "mean": (self.width,),
            "m2": (self.width,),
            "weights": (self.width + 1,),
            "covariance": (self.width + 1, self.width + 1),
        }
        for name, shape in shapes.items():
            array = arrays.get(name)
            if not isinstance(array, np.ndarray) or array.shape != shape:
                got = getattr(array, "shape", None)
                raise ValueError(f"newton snapshot: got {name} of shape {got}, expected {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"newton snapshot: got a non-finite number in {name}")
        self.count = int(arrays["count"])
        self.mean, self.m2, self.weights, self.covariance = (
            np.array(arrays[name], dtype=np.float64, order="C") for name in shapes
        )
        self._scale = np.zeros(self.width)
        rescale(self._scale, self.m2, self.count)

"""Logistic regression by online Newton steps (extended Kalman filter), in NumPy.

Each example updates the weights by a Newton step on the posterior that the examples before it left, so every example is
used as well as a batch fit would use it, with no learning rate to tune. Inputs are standardised by running moments.

    p = σ(wᵀz),  r = max(p(1 − p), R_MIN),  k = P z / (1/(c r) + zᵀP z),  P ← P − k (P z)ᵀ,  w ← w + k (y − p)/r

with sample weight c: the Sherman–Morrison form of P⁻¹ ← P⁻¹ + c r z zᵀ. Between examples the true weights may wander
a little (`DRIFT`), the transition of a Kalman filter: P ← (1 − q/P₀) P + q I. Without it P shrinks for ever, and what a
shop changes after a million examples would not be learned in time. See N. Houlsby's and others' notes on Bayesian
online logistic regression, and L. Bottou, "Online Learning and Stochastic Approximations" (1998), §4 on second order.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsymv, dsyr

Vector = npt.NDArray[np.float64]

#: Prior variance of all weights together: before anything is learned, inputs of the usual size are believed to move the
#: logit by about one. Each of 62 then has 0.016; with the 0.1 of DESIGN §7, which had half as many inputs, they are
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

#: Floor of p(1 − p): a confident mistake would otherwise take a step without bound.
R_MIN: Final = 1e-4

#: Variance below which an input counts as constant: features are multiples of 1e-4, so real ones vary by more.
VARIANCE_MIN: Final = 1e-12

#: Examples before the running moments are trusted; until then inputs count as 0.
_MOMENTS_MIN: Final = 2


class NewtonLogistic:
    """`width` inputs and a bias. Not thread-safe; predicting changes nothing."""

    def __init__(self, width: int, *, base_rate: float) -> None:
        self.width = width
        self.count = 0
        self.mean: Vector = np.zeros(width)
        self.m2: Vector = np.zeros(width)
        self.weights: Vector = np.zeros(width + 1)
        self.weights[-1] = math.log(base_rate / (1.0 - base_rate))
        #: its lower triangle; what stands above it is not looked at
        self.covariance: Vector = np.asfortranarray(np.eye(width + 1) * LOGIT_VARIANCE / width)
        # The bias starts at an assumed base rate, not at a known one.
        self.covariance[-1, -1] = 1.0
        self._diagonal = np.diag_indices(width + 1)
        self._scale: Vector = np.zeros(width)
        self._z: Vector = np.ones(width + 1)
        self._centred: Vector = np.empty(width)
        self._buffer: Vector = np.empty(width)

    def predict_many(self, x: Vector) -> Vector:
        """Probabilities, shape (N,), of inputs of shape (N, width). A row's value does not depend on the others."""
        z = np.ones((len(x), self.width + 1))
        np.clip((x - self.mean) * self._scale, -Z_MAX, Z_MAX, out=z[:, :-1])
        # A sum along contiguous rows is the same for one row and for many; a BLAS product is not.
        result: Vector = 1.0 / (1.0 + np.exp(-(z * self.weights).sum(axis=1)))
        return result

    def terms(self, x: Vector) -> Vector:
        """What each input adds to the logit, shape (N, width): 0 at its running mean. The bias is the rest of it."""
        result: Vector = np.clip((x - self.mean) * self._scale, -Z_MAX, Z_MAX) * self.weights[:-1]
        return result

    def learn(self, x: Vector, label: int, weight: float = 1.0) -> None:
        """Learn one example: inputs of shape (width,), label 0 or 1, sample weight > 0. Input must be finite."""
        # In place and into buffers throughout: at this size NumPy's own cost is in making arrays, not in the sums.
        self.count += 1
        z, centred, buffer = self._z, self._centred, self._buffer
        np.subtract(x, self.mean, out=centred)
        np.divide(centred, self.count, out=buffer)
        self.mean += buffer
        np.subtract(x, self.mean, out=buffer)
        centred *= buffer
        self.m2 += centred
        self._rescale()
        buffer *= self._scale
        np.minimum(buffer, Z_MAX, out=buffer)
        np.maximum(buffer, -Z_MAX, out=z[:-1])
        p = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, float(z.dot(self.weights))))))
        r = max(p * (1.0 - p), R_MIN)
        # One triangle by BLAS, in place: a third of the time of NumPy's outer product, and never lopsided.
        pz = dsymv(1.0, self.covariance, z, lower=1)
        scale = 1.0 / (1.0 / (weight * r) + float(z.dot(pz)))
        self.covariance = dsyr(-scale, pz, lower=1, a=self.covariance, overwrite_a=1)
        pz *= scale * (label - p) / r
        self.weights += pz
        if self.count % _DRIFT_EVERY == 0:
            self._wander()

    def correct(self, x: Vector, delta: int, weight: float = 1.0) -> None:
        """An example that was learned has turned out otherwise: its label moves by `delta`, from 0 to 1 or back (−1).

        w ← w + c P z δ. The covariance does not depend on labels. A label moves the weights by c P z (y − p), with the
        P that its example leaves behind; each later step multiplies what is there by its own P over the one before. So
        of a unit of the label c P z is left, with the P of now. That is exact but for what later steps would have made
        of another p, for `DRIFT`, and for moments that have moved on: to first order, as if the label had come in time.
        """
        z = np.ones(self.width + 1)
        np.clip((x - self.mean) * self._scale, -Z_MAX, Z_MAX, out=z[:-1])
        self.weights += weight * delta * dsymv(1.0, self.covariance, z, lower=1)

    def export(self) -> dict[str, Any]:
        """Everything that predicting and learning need, as plain arrays of their own: learning changes its in place."""
        return {
            "count": self.count,
            "mean": self.mean.copy(),
            "m2": self.m2.copy(),
            "weights": self.weights.copy(),
            "covariance": np.tril(self.covariance) + np.tril(self.covariance, -1).T,
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
        self.mean, self.m2 = arrays["mean"].copy(), arrays["m2"].copy()
        self.weights, self.covariance = arrays["weights"].copy(), np.asfortranarray(arrays["covariance"]).copy("F")
        self._rescale()

    def _wander(self) -> None:
        step = _DRIFT_EVERY * DRIFT
        self.covariance *= 1.0 - step * self.width / LOGIT_VARIANCE
        self.covariance[self._diagonal] += step

    def _rescale(self) -> None:
        if self.count < _MOMENTS_MIN:
            return
        scale = self._scale
        np.divide(self.m2, self.count, out=scale)
        # An input that has not varied yet says nothing: an infinite deviation makes its z-score 0.
        scale[scale <= VARIANCE_MIN] = np.inf
        np.sqrt(scale, out=scale)
        np.reciprocal(scale, out=scale)

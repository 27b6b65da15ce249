"""A slow, guarded calibrator behind a classifier: served p = σ(a · logit(raw p) + b).

A classifier learns a sample of each episode's events, all alike; scores are for every event. The calibrator learns on
which probability the events themselves come out: its examples weigh what they stand for. It has two numbers, learned by
the same online Newton steps as `core/newton.py`, begins at a = 1, b = 0, and is slow: a row counts an eighth at most of
what an independent one would, since the rows of a session resemble one another.

Guard: it serves only while it pays. Over a fading window its log-loss must have been below the classifier's own by more
than chance, as episodes tell (`Paired`); once in, it stays until it has lost that. A step of Platt's that is too quick
makes good models worse (a preliminary study); one that is not needed stays away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.core.paired import Paired

#: Probabilities are kept this far off 0 and 1 before their logit is taken.
P_MIN: Final = 1e-6
_P_MAX: Final = 1.0 - P_MIN

#: Prior variance of a and of b: a classifier may be twice too sure, or off by e^0.3 in its odds, but rarely more.
_VARIANCE: Final = 0.1

#: A row's weight counts up to this, and then as one observation: a reservoir's worth of rows of one session.
_WEIGHT_MAX: Final = 8.0

#: As `newton.DRIFT`: what was learned long ago wears off.
_DRIFT: Final = 1e-8
_KEEP: Final = 1.0 - _DRIFT / _VARIANCE

#: Examples of the fading window in which it has to pay.
_WINDOW: Final = 20_000

#: Standard errors by which it must be better to begin to serve.
_BETTER_Z: Final = 3.0

#: Episodes that must have been compared before that says anything.
_EPISODES_MIN: Final = 300.0


class Calibrator:
    """Learns from (raw probability, label, weight); `serving` says whether its word is used."""

    def __init__(self) -> None:
        self.slope, self.offset = 1.0, 0.0
        #: covariance: of the slope, of both, of the offset
        self._p = [_VARIANCE, 0.0, _VARIANCE]
        self._gain = Paired(_WINDOW)
        self.serving = False

    def apply(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Served probabilities, shape (N,), of a classifier's; the same ones while it does not serve."""
        if not self.serving:
            return raw
        clipped = np.clip(raw, P_MIN, 1.0 - P_MIN)
        logits = np.log(clipped / (1.0 - clipped)) * self.slope + self.offset
        result: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logits))
        return result

    def learn(self, raw: Sequence[float], label: int, weights: Sequence[float]) -> None:
        """The rows of one episode, with their label: compare first, then learn."""
        logits = [logit(p) for p in raw]
        slope, offset = self.slope, self.offset
        gain = total = 0.0
        for u, weight in zip(logits, weights, strict=True):
            gain += weight * (loss(u, label) - loss(slope * u + offset, label))
            total += weight
        self._gain.add(gain, total, len(logits))
        if self.serving:
            self.serving = self._gain.difference > 0.0
        elif self._gain.episodes >= _EPISODES_MIN:
            self.serving = self._gain.z > _BETTER_Z
        self._learn(logits, label, weights)

    def export(self) -> list[Any]:
        """Plain values to continue from."""
        return [self.slope, self.offset, *self._p, *self._gain.export(), self.serving]

    def restore(self, values: list[Any]) -> None:
        """Continue from an `export`; raises ValueError or TypeError if it is none, and has not changed then."""
        slope, offset, a, ab, b, *gain, serving = values
        numbers = [float(value) for value in (slope, offset, a, ab, b, *gain)]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("calibrator: got a number that is not finite")
        window = Paired(_WINDOW)
        window.restore(numbers[5:])
        self.slope, self.offset, self._p, self._gain, self.serving = *numbers[:2], numbers[2:5], window, bool(serving)

    def _learn(self, logits: Sequence[float], label: int, weights: Sequence[float]) -> None:
        # In local names throughout: the trainer does this for every example.
        slope, offset, (a, ab, b) = self.slope, self.offset, self._p
        for u, weight in zip(logits, weights, strict=True):
            p = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, slope * u + offset))))
            r = max(p * (1.0 - p), 1e-4)
            by_slope, by_offset = a * u + ab, ab * u + b
            share = min(weight, _WEIGHT_MAX) / _WEIGHT_MAX
            scale = 1.0 / (1.0 / (share * r) + u * by_slope + by_offset)
            error = (label - p) / r * scale
            slope += by_slope * error
            offset += by_offset * error
            a = (a - scale * by_slope * by_slope) * _KEEP + _DRIFT
            ab = (ab - scale * by_slope * by_offset) * _KEEP
            b = (b - scale * by_offset * by_offset) * _KEEP + _DRIFT
        self.slope, self.offset, self._p = slope, offset, [a, ab, b]


def logit(p: float) -> float:
    """Of a probability, kept off 0 and 1."""
    p = P_MIN if p < P_MIN else _P_MAX if p > _P_MAX else p
    return math.log(p / (1.0 - p))


def loss(logit: float, label: int) -> float:
    """Log-loss (nats) of a score given as its logit, without overflow."""
    u = -logit if label else logit
    return u + math.log1p(math.exp(-u)) if u > 0.0 else math.log1p(math.exp(u))

"""Probabilities whose odds are multiplied: what an offer is taken to do, wherever that is reckoned."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

_P = TypeVar("_P", float, npt.NDArray[np.float64])


def lifted(p: _P, factor: float) -> _P:
    """The probability, or array of them, whose odds are `factor` (finite, above 0) times those of `p`."""
    return factor * p / (1.0 + (factor - 1.0) * p)

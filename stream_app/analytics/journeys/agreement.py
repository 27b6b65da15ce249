"""How far two groupings of the same things agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def adjusted_rand(first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> float:
    """The adjusted Rand index (Hubert & Arabie, Journal of Classification 2, 1985): 1 the same, 0 as by chance.

    Group numbers of shape (N,), from 0; names of groups do not matter. 1 if neither groups anything.
    """
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1.0)

    def pairs(counts: npt.NDArray[np.float64]) -> float:
        return float((counts * (counts - 1.0) / 2.0).sum())

    together, by_first, by_second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    every = pairs(np.array([float(len(first))]))
    if every == 0.0:
        return 1.0
    expected = by_first * by_second / every
    most = (by_first + by_second) / 2.0
    return 1.0 if most == expected else (together - expected) / (most - expected)

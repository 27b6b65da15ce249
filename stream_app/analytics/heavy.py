"""The names that occur most, of any number of them, in bounded memory.

The summary of Misra and Gries ("Finding repeated elements", 1982) in its mergeable form (Agarwal et al., "Mergeable
summaries", PODS 2012), which knows what Space-Saving knows: when there are more than K names, the (K + 1)-th largest
weight is taken from all, and those left without any go. A name's true weight is at most `missed` more than counted,
and `missed` is at most all weight / (K + 1); so nothing that has a larger share than 1 / (K + 1) is ever lost.

What is counted of a name besides (views, carts, purchases) is exact from when it came in for good; a name that is kept
throughout has all of it, and of any other at most `missed` are not in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from stream_app.analytics.table import Integers, Texts


class Counted(NamedTuple):
    """Names and what was counted of each, shape (N, what is counted); the first column is what they are ranked by."""

    names: list[str]
    counts: Integers


class Heavy:
    """Counts names; `columns` numbers are counted of each, the first of which is its weight."""

    def __init__(self, *, kept_max: int, columns: int) -> None:
        if kept_max < 1 or columns < 1:
            raise ValueError(f"got kept_max {kept_max} and columns {columns}, expected at least 1 each")
        self._kept_max = kept_max
        self._names: Texts = np.empty(0, dtype=object)
        self._weights: Integers = np.empty(0, np.int64)
        self._counts: Integers = np.empty((0, columns), np.int64)
        #: all that was ever added, of all names
        self.total: Integers = np.zeros(columns, np.int64)
        #: how much of a name's weight may not have been counted
        self.missed = 0

    def __len__(self) -> int:
        """Names kept."""
        return len(self._names)

    def add(self, names: Texts, counts: Integers) -> None:
        """Count names of shape (N,), which may repeat; counts of shape (N, columns), not negative."""
        self.total = self.total + counts.sum(axis=0)
        self._take(names, counts[:, 0], counts)

    def merge(self, other: Heavy) -> None:
        """Take in what another has counted."""
        self.total = self.total + other.total
        self.missed += other.missed
        self._take(other._names, other._weights, other._counts)

    def largest(self, count: int | None = None) -> Counted:
        """Names by falling counts."""
        order = sorted(range(len(self._names)), key=lambda n: (-self._counts[n, 0], self._names[n]))[:count]
        return Counted([str(self._names[n]) for n in order], self._counts[order])

    def _take(self, names: Texts, weights: Integers, counts: Integers) -> None:
        codes, known = pd.factorize(np.concatenate([self._names, names]))
        summed = np.zeros((len(known), counts.shape[1] + 1), np.int64)
        new = np.column_stack([np.append(self._weights, weights), np.concatenate([self._counts, counts])])
        np.add.at(summed, codes, new)
        self._names, self._weights, self._counts = np.asarray(known, dtype=object), summed[:, 0], summed[:, 1:]
        if len(known) > self._kept_max:
            cut = int(np.partition(self._weights, -self._kept_max - 1)[-self._kept_max - 1])
            stays = self._weights > cut
            self.missed += cut
            self._names, self._counts = self._names[stays], self._counts[stays]
            self._weights = self._weights[stays] - cut


def smoothed(hits: Integers, of: Integers, *, overall: float, strength: float) -> np.ndarray:
    """Shares drawn towards the overall one as by `strength` more cases of it: few say little of themselves."""
    return (hits + strength * overall) / (of + strength)

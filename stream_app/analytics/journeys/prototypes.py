"""k-prototypes: clusters of things that have numbers and names, by batches.

Huang, "Extensions to the k-means algorithm for clustering large data sets with categorical values" (Data Mining and
Knowledge Discovery 2, 1998): the distance of a thing to a prototype is the squared Euclidean one of its numbers and γ
for each name that differs; a prototype has its members' means and modes. `learn` moves the prototypes with each batch
by all that they have taken so far, as in Sculley, "Web-scale k-means clustering" (WWW 2010), here with the counts of
names beside the means; so memory depends on neither the number of things nor that of batches.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.analytics.table import Floats

Groups = npt.NDArray[np.intp]
#: Codes of names from 0, shape (N, C).
Names = npt.NDArray[np.intp]

#: Weight of a name that differs. Huang takes half of the numbers' spread, which is 1 once they are standardised.
GAMMA: Final = 0.5

#: Tries from other seeds, of which the best is kept, and rounds of each at most.
_TRIES: Final = 4
_ROUNDS: Final = 60


class Prototypes:
    """k prototypes of D numbers and C names; `counts`, shape (k,), is how many each has taken."""

    def __init__(self, numbers: Floats, names: Names, *, values: int, gamma: float = GAMMA) -> None:
        """Start from k things, shapes (k, D) and (k, C); no code of a name may reach `values`."""
        self.gamma = gamma
        self.numbers: Floats = numbers.astype(np.float64)
        self.names: Names = names.astype(np.intp)
        self.counts: Floats = np.zeros(len(numbers))
        self._named: Floats = np.zeros((*names.shape, values))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def distances(self, numbers: Floats, names: Names) -> Floats:
        """To each prototype, shape (N, k)."""
        apart: Floats = ((numbers[:, None, :] - self.numbers) ** 2).sum(axis=2)
        apart += self.gamma * (names[:, None, :] != self.names).sum(axis=2)
        return apart

    def assign(self, numbers: Floats, names: Names) -> Groups:
        """The nearest prototype of each thing, shape (N,)."""
        nearest: Groups = self.distances(numbers, names).argmin(axis=1)
        return nearest

    def learn(self, numbers: Floats, names: Names) -> Groups:
        """Take a batch: each thing goes to the nearest prototype, then these move; gives the groups."""
        groups = self.assign(numbers, names)
        taken = np.bincount(groups, minlength=len(self)).astype(np.float64)
        self.counts += taken
        sums = np.zeros_like(self.numbers)
        np.add.at(sums, groups, numbers)
        some = taken > 0
        self.numbers[some] += (sums[some] - taken[some, None] * self.numbers[some]) / self.counts[some, None]
        for column in range(names.shape[1]):
            np.add.at(self._named[:, column], (groups, names[:, column]), 1.0)
        self.names = np.where(some[:, None], self._named.argmax(axis=2), self.names)
        return groups


def fit(
    numbers: Floats, names: Names, *, k: int, values: int, seed: int, gamma: float = GAMMA
) -> tuple[Prototypes, float]:
    """The best of some tries on things that are all in memory, and its cost: the mean distance to the prototype.

    Seeds are drawn far from each other (k-means++: Arthur & Vassilvitskii, 2007). With fewer distinct things than `k`
    some prototypes are the same.
    """
    random = np.random.default_rng(seed)
    best: tuple[Prototypes, float] | None = None
    for _ in range(_TRIES):
        chosen = _seeds(numbers, names, k, gamma, random)
        prototypes = Prototypes(numbers[chosen], names[chosen], values=values, gamma=gamma)
        groups = prototypes.assign(numbers, names)
        for _ in range(_ROUNDS):
            moved = Prototypes(prototypes.numbers, prototypes.names, values=values, gamma=gamma)
            moved.learn(numbers, names)
            prototypes, before, groups = moved, groups, moved.assign(numbers, names)
            if (groups == before).all():
                break
        cost = float(prototypes.distances(numbers, names).min(axis=1).mean())
        if best is None or cost < best[1]:
            best = prototypes, cost
    assert best is not None
    return best


def _seeds(numbers: Floats, names: Names, k: int, gamma: float, random: np.random.Generator) -> Groups:
    chosen = [int(random.integers(len(numbers)))]
    nearest = np.full(len(numbers), np.inf)
    while len(chosen) < k:
        last = Prototypes(numbers[chosen[-1:]], names[chosen[-1:]], values=1, gamma=gamma)
        nearest = np.minimum(nearest, last.distances(numbers, names)[:, 0])
        total = nearest.sum()
        chosen.append(int(random.choice(len(numbers), p=nearest / total)) if total > 0.0 else chosen[-1])
    return np.array(chosen, np.intp)

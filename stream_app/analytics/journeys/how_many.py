"""How many clusters: evidence for each k, of which none is proof.

The silhouette (Rousseeuw, 1987) asks whether things are nearer to their own cluster than to the next one; stability
(Ben-Hur, Elisseeff & Guyon, 2002) whether two samples give the same clusters. `choose` takes the k of the best
silhouette among those that are stable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.journeys.agreement import adjusted_rand
from stream_app.analytics.journeys.prototypes import GAMMA, Groups, Names, fit
from stream_app.analytics.table import Floats

#: Things of which all distances are taken: 2,000 are 32 MB, and the silhouette's error is 0.01 then.
_COMPARED_MAX: Final = 2_000

#: Agreement of two halves from which clusters are taken as found rather than made.
STABLE: Final = 0.8


class Evidence(NamedTuple):
    """Of one k: mean distance to the prototype, mean silhouette, adjusted Rand index of two halves' clusters."""

    k: int
    cost: float
    silhouette: float
    stability: float


def evidence(numbers: Floats, names: Names, *, ks: Sequence[int], values: int, seed: int) -> list[Evidence]:
    """For each k of at least 2; things of shapes (N, D) and (N, C)."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(numbers))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    compared = order[:_COMPARED_MAX]
    apart = _all_distances(numbers[compared], names[compared])
    found = []
    for k in ks:
        whole, cost = fit(numbers, names, k=k, values=values, seed=seed)
        parts = [fit(numbers[half], names[half], k=k, values=values, seed=seed + 1)[0] for half in halves]
        stability = adjusted_rand(*(part.assign(numbers, names) for part in parts))
        groups = whole.assign(numbers[compared], names[compared])
        found.append(Evidence(k, cost, silhouette(apart, groups), stability))
    return found


def choose(found: Sequence[Evidence]) -> int:
    """The k to take; the most stable one where none is stable enough."""
    stable = [told for told in found if told.stability >= STABLE]
    if stable:
        return max(stable, key=lambda told: told.silhouette).k
    return max(found, key=lambda told: told.stability).k


def silhouette(apart: Floats, groups: Groups) -> float:
    """The mean silhouette, from all distances, shape (N, N); 0 for who is alone in its cluster, or with one cluster."""
    k = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=k).astype(np.float64)
    if (sizes > 0).sum() < 2:
        return 0.0
    sums = np.stack([apart[:, groups == group].sum(axis=1) for group in range(k)], axis=1)
    own = np.arange(len(groups)), groups
    within = sums[own] / np.maximum(1.0, sizes[groups] - 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(sizes > 0, sums / sizes, np.inf)
    means[own] = np.inf
    next_best = means.min(axis=1)
    largest = np.maximum(within, next_best)
    some = (largest > 0.0) & (sizes[groups] > 1)
    return float(np.where(some, (next_best - within) / np.where(largest > 0.0, largest, 1.0), 0.0).mean())


def _all_distances(numbers: Floats, names: Names) -> Floats:
    """Between all pairs; square roots, since the silhouette asks for distances."""
    squares = (numbers**2).sum(axis=1)
    apart = np.maximum(0.0, squares[:, None] + squares - 2.0 * numbers @ numbers.T)
    for column in names.T:
        apart += GAMMA * (column[:, None] != column)
    found: Floats = np.sqrt(apart)
    return found

"""Inputs as bins, and pairs of bins: what lets a linear model bend."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations
from typing import Final

from river import base

from stream_app.core.zoo.inputs import INPUT_NAMES

#: z-scores are clipped here, so that an input has a bounded number of bins.
Z_MAX: Final = 5.0


class Bins(base.Transformer):
    """One-hot bins of `width` standard deviations, for z-scores within ± 5; what lies beyond falls into the last.

    The z-scores must come in the order of `INPUT_NAMES`, as `PurchasePriors` gives them.
    """

    def __init__(self, width: float = 0.5) -> None:
        self.width = width

    @property
    def names(self) -> list[dict[int, str]]:
        """Of each input, number of a bin → its name; number 0 begins at the mean."""
        return _bin_names(math.ceil(Z_MAX / self.width))

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        """1.0 under the name of each input's bin, such as `gap[-2]`: from −2 to −1 widths."""
        width, floor = self.width, math.floor
        # Clipped before it is divided: floor takes no number that is not finite.
        return {
            names[floor(min(max(z, -Z_MAX), Z_MAX) / width)]: 1.0
            for names, z in zip(self.names, x.values(), strict=True)
        }


class Pairs(base.Transformer):
    """Adds to the bins of all inputs every pair among those of `names`, one-hot as well, such as `gap[0]&age[2]`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        """The bins and their pairs; the bins must come in the order of `INPUT_NAMES`."""
        bins = list(x)
        chosen = [bins[place] for place in _places(self.names)]
        return {**x, **{f"{one}&{other}": 1.0 for one, other in combinations(chosen, 2)}}


@cache
def _bin_names(edge: int) -> list[dict[int, str]]:
    """Number of a bin → its name, for each input: put together once, not for every event."""
    return [{n: f"{name}[{n}]" for n in range(-edge, edge + 1)} for name in INPUT_NAMES]


@cache
def _places(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(map(INPUT_NAMES.index, names))

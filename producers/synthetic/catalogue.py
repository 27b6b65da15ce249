"""What the shop sells: categories, brands, items, prices, and how much each draws those who mean to buy."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DEPARTMENTS: Final = ("garden", "kitchen", "sport", "office", "toys", "audio", "lighting", "travel")
_KINDS: Final = ("basic", "pro", "spare", "gift", "kids", "outdoor")
_BRANDS: Final = (
    "alda",
    "brimo",
    "cinder",
    "dovre",
    "elmen",
    "fjord",
    "gale",
    "hollin",
    "ivo",
    "jarl",
    "kelp",
    "lumen",
)

#: Spread (log-odds) of how categories and items differ in drawing buyers.
_CATEGORY_APPEAL_SIGMA: Final = 0.9
_ITEM_APPEAL_SIGMA: Final = 0.7
#: Popularity falls with rank r as 1 / (r + 3)^0.9: a long tail, as in every shop.
_POPULARITY_SHIFT: Final = 3.0
_POPULARITY_POWER: Final = 0.9


class Item(NamedTuple):
    """One product; price in euros."""

    item_id: str
    category: str
    brand: str
    price: float
    page_url: str


class Draw(NamedTuple):
    """One intent's choice: `categories` and, for each category, `items`, as cumulated probabilities for bisection."""

    categories: list[float]
    items: list[list[float]]


class Catalogue:
    """Items in categories, with their appeal.

    Attributes
    ----------
    categories
        Names, such as `garden.pro`.
    items
        For each category its items, most popular first.
    """

    def __init__(self, rng: np.random.Generator, *, items: int, categories: int) -> None:
        names = [f"{department}.{kind}" for kind in _KINDS for department in _DEPARTMENTS]
        if not 1 <= categories <= len(names):
            raise ValueError(f"got {categories} categories, expected 1 to {len(names)}")
        if items < categories:
            raise ValueError(f"got {items} items, expected at least one for each of {categories} categories")
        self.categories = names[:categories]
        self._category_popularity = _popularity(categories)
        self._category_appeal = _appeal(rng, self._category_popularity, sigma=_CATEGORY_APPEAL_SIGMA)
        sizes = np.bincount(np.arange(items) % categories, minlength=categories)
        self._item_popularity = [_popularity(int(size)) for size in sizes]
        self._item_appeal = [_appeal(rng, popular, sigma=_ITEM_APPEAL_SIGMA) for popular in self._item_popularity]
        level = rng.lognormal(3.4, 0.7, categories)
        self.items = [
            [self._item(rng, c, n, float(level[c])) for n in range(int(size))] for c, size in enumerate(sizes)
        ]
        self._next_category_appeal = _appeal(rng, self._category_popularity, sigma=_CATEGORY_APPEAL_SIGMA)
        self._next_item_appeal = [_appeal(rng, popular, sigma=_ITEM_APPEAL_SIGMA) for popular in self._item_popularity]

    def category_probabilities(self, tilt: float, *, shift: float = 0.0) -> NDArray[np.float64]:
        """Shape (categories,): where a new look goes when it leaves the category, for an intent's tilt.

        `shift` from 0 to 1 turns what appeals into something unrelated of the same spread: fashions change.
        """
        appeal = _turned(self._category_appeal, self._next_category_appeal, shift)
        return _tilted(self._category_popularity, appeal, tilt)

    def item_probabilities(self, category: int, tilt: float, *, shift: float = 0.0) -> NDArray[np.float64]:
        """Shape (items of the category,): which item is looked at, for an intent's tilt."""
        appeal = _turned(self._item_appeal[category], self._next_item_appeal[category], shift)
        return _tilted(self._item_popularity[category], appeal, tilt)

    def draw(self, tilt: float, *, shift: float = 0.0) -> Draw:
        """Compile an intent's choices for quick drawing."""
        return Draw(
            _bounds(self.category_probabilities(tilt, shift=shift)),
            [_bounds(self.item_probabilities(number, tilt, shift=shift)) for number in range(len(self.categories))],
        )

    def _item(self, rng: np.random.Generator, category: int, number: int, level: float) -> Item:
        item_id = f"i{category:02d}{number:04d}"
        price = round(max(1.0, level * float(rng.lognormal(0.0, 0.5))), 2)
        brand = _BRANDS[(category * 5 + int(rng.integers(0, 4))) % len(_BRANDS)]
        return Item(item_id, self.categories[category], brand, price, f"/p/{item_id}")


def _popularity(size: int) -> NDArray[np.float64]:
    return _normalised(1.0 / (np.arange(size, dtype=np.float64) + _POPULARITY_SHIFT) ** _POPULARITY_POWER)


def _appeal(rng: np.random.Generator, popularity: NDArray[np.float64], *, sigma: float) -> NDArray[np.float64]:
    """Log-odds with mean 0 and standard deviation `sigma` among what is looked at, so that no seed is easier to score.

    Drawn freely, the appeal of the two or three most popular categories would decide how hard the shop is.
    """
    drawn = rng.normal(0.0, 1.0, len(popularity))
    drawn -= popularity @ drawn
    spread = float(np.sqrt(popularity @ drawn**2))
    appeal: NDArray[np.float64] = drawn * (sigma / spread if spread > 0 else 0.0)
    return appeal


def _turned(now: NDArray[np.float64], then: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    # A rotation, so that the spread, and with it the shop's difficulty, stays what it is on the way.
    return now * math.cos(shift * math.pi / 2) + then * math.sin(shift * math.pi / 2)


def _tilted(popularity: NDArray[np.float64], appeal: NDArray[np.float64], tilt: float) -> NDArray[np.float64]:
    return _normalised(popularity * np.exp(tilt * appeal))


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def _bounds(probabilities: NDArray[np.float64]) -> list[float]:
    # Without the last bound: rounding could leave it below 1, and a draw would point past the end.
    return list(accumulate(probabilities[:-1].tolist()))

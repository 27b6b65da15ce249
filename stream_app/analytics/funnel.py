"""From view to cart to purchase, by category, brand and item."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.episodes import EpisodeRows
from stream_app.analytics.heavy import Heavy, smoothed
from stream_app.analytics.intervals import share, wilson
from stream_app.analytics.table import Floats, Integers

#: By what the funnel is broken down.
BY: Final = ("category", "brand", "item")

#: Names kept of each; a shop has some hundred categories, some thousand brands, and of its items the most seen matter.
KEPT_MAX: Final = 5_000

#: A name's ratios are drawn to the overall ones as by so many episodes, as the served models' priors are (m = 30).
STRENGTH: Final = 30.0

#: What is counted of a name's episodes. `seen`: with a view, by which names are ranked.
COUNTED: Final = ("seen", "episodes", "carted", "bought", "seen and carted", "seen and bought", "carted and bought")

#: The ratios: hits, of what.
RATIOS: Final = {
    "view → cart": ("seen and carted", "seen"),
    "view → purchase": ("seen and bought", "seen"),
    "cart → purchase": ("carted and bought", "carted"),
}


class Ratio(NamedTuple):
    """One ratio of several names, shape (N,) each: hits, cases, plain share with its 95 % interval, smoothed share."""

    hits: Integers
    cases: Integers
    share: Floats
    low: Floats
    high: Floats
    smoothed: Floats


class Funnel:
    """Counts episodes that are over."""

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._by = {name: Heavy(kept_max=kept_max, columns=len(COUNTED)) for name in BY}

    def add(self, rows: EpisodeRows) -> None:
        """Take in episodes, each once; a name that is not known is one, too."""
        seen, carted, bought = rows.views > 0, rows.added_to_cart, rows.purchased
        every = np.ones(len(rows), bool)
        counts = np.stack([seen, every, carted, bought, seen & carted, seen & bought, carted & bought], axis=1).astype(
            np.int64
        )
        for name, heavy in self._by.items():
            heavy.add(getattr(rows, name), counts)

    def merge(self, other: Funnel) -> None:
        """Take in what another has counted."""
        for name, heavy in self._by.items():
            heavy.merge(other._by[name])

    def missed(self, by: str) -> int:
        """How many seen episodes of a name may not be counted; 0 as long as all names are kept."""
        return self._by[by].missed

    def total(self) -> dict[str, int]:
        """Of all episodes, by `COUNTED`."""
        return dict(zip(COUNTED, self._by[BY[0]].total.tolist(), strict=True))

    def ratios(self, by: str, count: int) -> tuple[list[str], dict[str, Ratio]]:
        """The names most seen, and each of `RATIOS` for them; `by` is one of `BY`."""
        names, counts = self._by[by].largest(count)
        total = self.total()
        found = {}
        for ratio, (hit, case) in RATIOS.items():
            hits, cases = counts[:, COUNTED.index(hit)], counts[:, COUNTED.index(case)]
            overall = total[hit] / max(1, total[case])
            drawn = smoothed(hits, cases, overall=overall, strength=STRENGTH)
            found[ratio] = Ratio(hits, cases, share(hits, cases), *wilson(hits, cases), drawn)
        return names, found

"""Purchase priors: how often sessions that touched an item, category, brand, … ended in a checkout.

For each key a decayed count of sessions that touched it and of those that bought. Its prior is the smoothed rate on the
logit scale, as a difference to the running base rate: logit((a + m·r) / (s + m)) − logit(b), where r is what is known
without the key (an item's category, else the base rate b). 0 therefore means "nothing known", whatever the shop sells.

Counts decay with a half-life of 14 days of event time. They are kept in *forward-decayed* form (Cormode et al. 2009):
a session at time t adds 2^((t − landmark) / half-life), and readers multiply by one common factor. No entry has to be
touched to grow old, out-of-order labels need no care, and a snapshot contains only the entries that changed.

Only matured outcomes enter, once per episode (`records.Touched`), and a model transforms an example before it learns
it: an example never sees its own label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from stream_app.core.records import Keys, Touched

#: m: a key needs about this many sessions to speak for itself. DESIGN §7 measured 30.
SMOOTHING_SESSIONS: Final = 30.0

#: Fashions and sales pass in weeks; DESIGN §7 measured 14 days.
HALF_LIFE_MS: Final = 14 * 24 * 3600 * 1000

#: Entries kept per kind. A catalogue has a million items, but most of them sell nothing for weeks; 200,000 take about
#: 40 MB. Past it the entries with the fewest decayed sessions go, and those items speak through their category.
ENTRIES_MAX: Final = 200_000

#: Computed priors remembered between two updates, about 10 MB: a batch asks for the same keys again and again. Updates
#: clear them, but a trainer may be down for hours while a bot asks for ever new ones.
MEMO_MAX: Final = 100_000

#: Share of the entries dropped when the bound is reached, so that the sort is paid rarely.
_EVICT_SHARE: Final = 0.1

#: Weight of the configured base rate, in sessions, until the shop's own is known.
BASE_SESSIONS: Final = 100.0

KINDS: Final = ("item", "category", "brand", "step", "source", "country")

#: What the table adds to a model's input, in order.
PRIOR_NAMES: Final = (
    *(f"prior_{kind}" for kind in KINDS),
    "prior_item_mean",
    "prior_item_max",
    "prior_category_mean",
    "prior_category_max",
    "item_popularity",
)

#: (kind, key)
EntryKey = tuple[str, str]


_K = TypeVar("_K")


class PriorTable:
    """The counts. `base_rate` is assumed until the shop's own is known; event times are ms."""

    def __init__(self, base_rate: float) -> None:
        self.initial_base_rate = base_rate
        #: event time of the first outcome; −1 before it
        self.landmark = -1
        self.newest = -1
        #: [buying sessions, sessions] in forward-decayed form
        self.base = [0.0, 0.0]
        self._entries: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
        self._changed: set[EntryKey] = set()
        #: (kind, key, category) → prior, until something is learned
        self._memo: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
        self._memo_in_category: dict[tuple[str, str], float] = {}

    @property
    def base_rate(self) -> float:
        """Share of episodes that ended in a checkout, smoothed by the assumed one."""
        factor = self._factor()
        return (self.base[0] * factor + BASE_SESSIONS * self.initial_base_rate) / (
            self.base[1] * factor + BASE_SESSIONS
        )

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._entries.values())

    def learn(self, touched: Touched, label: int, time: int) -> None:
        """Count one finished episode: the keys it touched, whether it was bought (1) or not (0), and when."""
        if self.landmark < 0:
            self.landmark = self.newest = time
        self.newest = max(self.newest, time)
        # Exponents stay small: 2^(time span / 14 days) overflows after 39 years.
        weight = 2.0 ** ((time - self.landmark) / HALF_LIFE_MS)
        bought = weight * label
        self.base[0] += bought
        self.base[1] += weight
        for kind, keys in _touched_keys(touched):
            entries = self._entries[kind]
            for key in keys:
                entry = entries.get(key)
                if entry is None:
                    if len(entries) >= ENTRIES_MAX:
                        self._evict(kind)
                    entry = entries[key] = [0.0, 0.0]
                entry[0] += bought
                entry[1] += weight
                self._changed.add((kind, key))
        self._forget()

    def values(self, keys: Keys) -> list[float]:
        """The numbers of `PRIOR_NAMES` for a scored event."""
        rate, entry = self._rate_logit, None
        if keys.item is not None:
            entry = self._entries["item"].get(keys.item)
        items = [rate("item", item) for item in keys.items]
        categories = [rate("category", key) for key in keys.categories]
        return [
            self._item_logit(keys.item, keys.category) if keys.item is not None else 0.0,
            rate("category", keys.category) if keys.category is not None else 0.0,
            rate("brand", keys.brand) if keys.brand is not None else 0.0,
            rate("step", str(keys.step)),
            rate("source", keys.source) if keys.source is not None else 0.0,
            rate("country", keys.country) if keys.country is not None else 0.0,
            math.fsum(items) / len(items) if items else 0.0,
            max(items) if items else 0.0,
            math.fsum(categories) / len(categories) if categories else 0.0,
            max(categories) if categories else 0.0,
            math.log1p(entry[1] * self._factor()) if entry is not None else 0.0,
        ]

    def take_changes(self) -> dict[EntryKey, list[float] | None]:
        """The entries changed since the last call; None for those dropped."""
        changed = {key: self._entries[key[0]].get(key[1]) for key in self._changed}
        self._changed = set()
        return {key: list(entry) if entry is not None else None for key, entry in changed.items()}

    def put_changes(self, changes: Iterable[tuple[EntryKey, list[float] | None]]) -> None:
        """Apply another table's changes, as a scorer or a restarted trainer does."""
        for (kind, key), entry in changes:
            if kind not in self._entries:
                continue
            if entry is None:
                self._entries[kind].pop(key, None)
            else:
                self._entries[kind][key] = entry
        self._forget()

    def set_clock(self, *, landmark: int, newest: int, base: list[float]) -> None:
        """Take over another table's clock and base counts."""
        self.landmark, self.newest, self.base = landmark, newest, list(base)
        self._forget()

    def _factor(self) -> float:
        return math.exp2((self.landmark - self.newest) / HALF_LIFE_MS)

    def _rate_logit(self, kind: str, key: str) -> float:
        """The key's prior, falling back to the base rate."""
        memo = self._memo[kind]
        value = memo.get(key)
        if value is None:
            value = self._logit(_smoothed(self._entries[kind].get(key), self._factor(), self.base_rate))
            self._remember(memo, key, value)
        return value

    def _item_logit(self, item: str, category: str | None) -> float:
        """The item's prior, falling back to its category's."""
        if category is None:
            return self._rate_logit("item", item)
        memo = self._memo_in_category
        value = memo.get((item, category))
        if value is None:
            factor = self._factor()
            rate = _smoothed(self._entries["category"].get(category), factor, self.base_rate)
            value = self._logit(_smoothed(self._entries["item"].get(item), factor, rate))
            self._remember(memo, (item, category), value)
        return value

    def _logit(self, rate: float) -> float:
        base = self.base_rate
        return math.log(rate / (1.0 - rate)) - math.log(base / (1.0 - base))

    @staticmethod
    def _remember(memo: dict[_K, float], key: _K, value: float) -> None:
        if len(memo) >= MEMO_MAX:
            memo.clear()
        memo[key] = value

    def _forget(self) -> None:
        """Something was learned: what was computed before is no longer so."""
        for memo in self._memo.values():
            memo.clear()
        self._memo_in_category.clear()

    def _evict(self, kind: str) -> None:
        entries = self._entries[kind]
        rare = sorted(entries, key=lambda key: (entries[key][1], key))[: int(ENTRIES_MAX * _EVICT_SHARE)]
        for key in rare:
            del entries[key]
            self._changed.add((kind, key))


def _smoothed(entry: list[float] | None, factor: float, rate: float) -> float:
    if entry is None:
        return rate
    return (entry[0] * factor + SMOOTHING_SESSIONS * rate) / (entry[1] * factor + SMOOTHING_SESSIONS)


def _touched_keys(touched: Touched) -> Iterator[tuple[str, Iterable[str]]]:
    yield "item", touched.items
    yield "category", touched.categories
    yield "brand", touched.brands
    yield "step", (str(step) for step in touched.steps)
    if touched.source is not None:
        yield "source", (touched.source,)
    if touched.country is not None:
        yield "country", (touched.country,)

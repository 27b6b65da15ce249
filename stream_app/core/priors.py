"""Purchase priors: how often sessions that touched an item, category, brand, … ended in a checkout.

For each key a decayed count of sessions that touched it and of those that bought. Its prior is the smoothed rate on the
logit scale, as a difference to the running base rate: logit((a + m·r) / (s + m)) − logit(b), where r is what is known
without the key (an item's category, else the base rate b). 0 therefore means "nothing known", whatever the shop sells.
Items, categories and brands have the same of carts besides: they are filled three times as often as they are bought, so
that a key's is known sooner (on the REES46 electronics file worth .006 of ROC AUC).

Transitions between kinds of step are a Markov chain for those who bought and one for those who did not: of each
transition the logarithm of the ratio of its probabilities, add-one smoothed; of an episode their sum and mean.

Counts decay with a half-life of 14 days of event time. They are kept in *forward-decayed* form (Cormode et al. 2009):
a session at time t adds 2^((t − landmark) / half-life), and readers multiply by one common factor. No entry has to be
touched to grow old, out-of-order labels need no care, and a snapshot contains only the entries that changed.

Only matured outcomes enter, once per episode (`records.Touched`), and a model transforms an example before it learns
it: an example never sees its own label.

`native/src/priors.rs` is this table compiled; `core/prior_tables.py` chooses. Here is the reference: both give the same
numbers, to the last bit.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from stream_app.core.pages import GROUPS, TRANSITION_CODES
from stream_app.core.records import Keys, Touched
from stream_app.core.state import TRANSITION_TIMES_MAX

#: m: a key needs about this many sessions to speak for itself. A preliminary study measured 30.
SMOOTHING_SESSIONS: Final = 30.0

#: Fashions and sales pass in weeks; the same study measured 14 days.
HALF_LIFE_MS: Final = 14 * 24 * 3600 * 1000

#: Entries kept per kind. A catalogue has a million items, but most of them sell nothing for weeks; 200,000 take about
#: 40 MB. Past it the entries with the fewest decayed sessions go, and those items speak through their category.
ENTRIES_MAX: Final = 200_000

#: Computed priors remembered between two updates, about 10 MB: a batch asks for the same keys again and again. Updates
#: clear them, but a trainer may be down for hours while a bot asks for ever new ones.
MEMO_MAX: Final = 100_000

#: Share of the entries dropped when the bound is reached, so that the sort is paid rarely.
EVICT_SHARE: Final = 0.1

#: Weight of the configured base rate, in sessions, until the shop's own is known.
BASE_SESSIONS: Final = 100.0

KINDS: Final = ("item", "category", "brand", "step", "source", "country")

#: Kept like the others, though not as rates: bought and all times that a transition was made, and a kind of step left.
TRANSITION: Final = "transition"
ORIGIN: Final = "origin"

#: Of a shop's carted episodes about a quarter buys (the study): what is assumed until the shop's own rate is known.
CARTS_PER_PURCHASE: Final = 3.0

#: What the table adds to a model's input, in order.
PRIOR_NAMES: Final = (
    *(f"prior_{kind}" for kind in KINDS),
    "prior_item_mean",
    "prior_item_max",
    "prior_category_mean",
    "prior_category_max",
    "item_popularity",
    "cart_item",
    "cart_category",
    "cart_brand",
    "cart_item_mean",
    "cart_item_max",
    "cart_category_mean",
    "cart_category_max",
    "markov_step",
    "markov_sum",
    "markov_mean",
)

#: (kind, key)
EntryKey = tuple[str, str]

#: Of purchase and of cart, as differences of logits to the base rates.
Prior = tuple[float, float]
_UNKNOWN: Final[Prior] = (0.0, 0.0)
_NEVER: Final = (0.0, 0.0, 0.0)

Prior3 = tuple[float, float, float]


_K = TypeVar("_K")


class Clock(NamedTuple):
    """What a table's counts are measured by: it travels with every snapshot.

    Event times (ms) of the first outcome and of the newest, −1 before there was one; buying sessions, sessions and
    carted ones in forward-decayed form; the base rate that is assumed until the shop's own is known.
    """

    landmark: int
    newest: int
    base: list[float]
    initial_base_rate: float

    def export(self) -> dict[str, Any]:
        """Plain values, as they travel."""
        return {
            "landmark": self.landmark,
            "newest": self.newest,
            "base": list(self.base),
            "base_rate": self.initial_base_rate,
        }

    @classmethod
    def read(cls, values: dict[str, Any]) -> Clock:
        """Of an `export`; raises ValueError, KeyError or TypeError if it is none, or if a number is not finite."""
        base, initial = [float(count) for count in values["base"]], float(values["base_rate"])
        if len(base) != 3 or not all(map(math.isfinite, base)) or not 0.0 < initial < 1.0:
            raise ValueError(f"priors: got base counts {base} and base rate {initial}, one of them non-finite or none")
        return cls(int(values["landmark"]), int(values["newest"]), base, initial)


class _Now(NamedTuple):
    """The common factor of decayed counts, the base rates, and those on the logit scale."""

    factor: float
    base_rate: float
    cart_rate: float
    base_logit: float
    cart_logit: float


class PriorTable:
    """The counts. `base_rate` is assumed until the shop's own is known; event times are ms.

    `entries_max` bounds the entries of each kind.
    """

    def __init__(self, base_rate: float, *, entries_max: int = ENTRIES_MAX) -> None:
        self.initial_base_rate = base_rate
        self._entries_max = entries_max
        #: event time of the first outcome; −1 before it
        self.landmark = -1
        self.newest = -1
        #: [buying sessions, sessions, those with something in the cart] in forward-decayed form
        self.base = [0.0, 0.0, 0.0]
        self._entries: dict[str, dict[str, list[float]]] = {kind: {} for kind in (*KINDS, TRANSITION, ORIGIN)}
        self._changed: set[EntryKey] = set()
        #: key → its priors of purchase and of cart, until something is learned; the second by (item, category)
        self._memo: dict[str, dict[str, Prior]] = {kind: {} for kind in KINDS}
        self._memo_in_category: dict[tuple[str, str], Prior] = {}
        #: transition → ratio of log-likelihoods
        self._ratios: dict[int, float] = {}
        self._now: _Now | None = None

    @property
    def base_rate(self) -> float:
        """Share of episodes that ended in a checkout, smoothed by the assumed one."""
        return self._as_of_now().base_rate

    @property
    def cart_rate(self) -> float:
        """Share of episodes with something in the cart, or a checkout."""
        return self._as_of_now().cart_rate

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._entries.values())

    def learn(self, touched: Touched, label: int, time: int) -> None:
        """Count one finished episode: the keys it touched, whether it was bought (1) or not (0), and when."""
        if self.landmark < 0:
            self.landmark = self.newest = time
        self.newest = max(self.newest, time)
        # Exponents stay small: 2^(time span / 14 days) overflows after 39 years.
        weight = 2.0 ** ((time - self.landmark) / HALF_LIFE_MS)
        bought, carted = weight * label, weight * (label or touched.carted)
        self.base[0] += bought
        self.base[1] += weight
        self.base[2] += carted
        for code, times in zip(touched.transitions[::2], touched.transitions[1::2], strict=False):
            if not (0 <= code < TRANSITION_CODES and 0 < times <= TRANSITION_TIMES_MAX):
                continue  # nothing that we wrote
            for kind, key in ((TRANSITION, str(code)), (ORIGIN, str(code // len(GROUPS)))):
                made = self._entries[kind].setdefault(key, [0.0, 0.0, 0.0])
                made[0] += times * bought
                made[1] += times * weight
                self._changed.add((kind, key))
        for kind, keys in _touched_keys(touched):
            entries = self._entries[kind]
            for key in keys:
                entry = entries.get(key)
                if entry is None:
                    if len(entries) >= self._entries_max:
                        self._evict(kind)
                    entry = entries[key] = [0.0, 0.0, 0.0]
                entry[0] += bought
                entry[1] += weight
                entry[2] += carted
                self._changed.add((kind, key))
        self._forget()

    def unlearn(self, touched: Touched, label: int, time: int) -> None:
        """Take out an episode that `learn` has counted with this label and time, as if it never had.

        Of an episode that was parted the rest stays a session. Keys that were dropped since are left alone, and no
        count falls below what can be counted.
        """
        if self.landmark < 0:
            return
        weight = 2.0 ** ((time - self.landmark) / HALF_LIFE_MS)
        bought, carted = weight * label, weight * (label or touched.carted)
        if not touched.parted:
            _take_out(self.base, bought, weight, carted)
        for code, times in zip(touched.transitions[::2], touched.transitions[1::2], strict=False):
            for kind, key in ((TRANSITION, str(code)), (ORIGIN, str(code // len(GROUPS)))):
                made = self._entries[kind].get(key)
                if made is not None and 0 < times <= TRANSITION_TIMES_MAX:
                    _take_out(made, times * bought, times * weight, 0.0)
                    self._changed.add((kind, key))
        for kind, keys in _touched_keys(touched):
            for key in keys:
                entry = self._entries[kind].get(key)
                if entry is not None:
                    _take_out(entry, bought, weight, carted)
                    self._changed.add((kind, key))
        self._forget()

    def values(self, keys: Keys) -> list[float]:
        """The numbers of `PRIOR_NAMES` for a scored event."""
        now, prior, entry = self._as_of_now(), self._prior, None
        if keys.item is not None:
            entry = self._entries["item"].get(keys.item)
        item = self._item_prior(keys.item, keys.category) if keys.item is not None else _UNKNOWN
        category = prior("category", keys.category) if keys.category is not None else _UNKNOWN
        brand = prior("brand", keys.brand) if keys.brand is not None else _UNKNOWN
        # Of all of an episode's keys: purchases, then carts.
        items, carted_items = zip(*[prior("item", key) for key in keys.items] or [_UNKNOWN], strict=True)
        categories, carted = zip(*[prior("category", key) for key in keys.categories] or [_UNKNOWN], strict=True)
        return [
            item[0],
            category[0],
            brand[0],
            prior("step", str(keys.step))[0],
            prior("source", keys.source)[0] if keys.source is not None else 0.0,
            prior("country", keys.country)[0] if keys.country is not None else 0.0,
            math.fsum(items) / len(items),
            max(items),
            math.fsum(categories) / len(categories),
            max(categories),
            math.log1p(entry[1] * now.factor) if entry is not None else 0.0,
            item[1],
            category[1],
            brand[1],
            math.fsum(carted_items) / len(carted_items),
            max(carted_items),
            math.fsum(carted) / len(carted),
            max(carted),
            *self._markov(keys.transition, keys.transitions),
        ]

    def values_many(self, keys: Sequence[Keys]) -> bytes:
        """The same for N events: float64, C order, shape (N, len(PRIOR_NAMES))."""
        self._as_of_now()
        found = array("d")
        for key in keys:
            found.extend(self.values(key))
        return found.tobytes()

    def entries(self) -> dict[str, dict[str, list[float]]]:
        """All that is counted, a copy: kind → key → counts, keys in order."""
        return {
            kind: {key: list(counts) for key, counts in sorted(entries.items())}
            for kind, entries in self._entries.items()
        }

    def take_changes(self) -> dict[EntryKey, list[float] | None]:
        """The entries changed since the last call, by kind and key; None for those dropped."""
        changed = {key: self._entries[key[0]].get(key[1]) for key in sorted(self._changed)}
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
                self._entries[kind][key] = list(entry)
        self._forget()

    def set_clock(self, *, landmark: int, newest: int, base: list[float], initial_base_rate: float) -> None:
        """Take over another table's clock, base counts and assumed base rate."""
        self.landmark, self.newest, self.base = landmark, newest, list(base)
        self.initial_base_rate = initial_base_rate
        self._forget()

    def _as_of_now(self) -> _Now:
        """What all priors share, computed once between two updates."""
        now = self._now
        if now is None:
            factor = math.exp2((self.landmark - self.newest) / HALF_LIFE_MS)
            bought, sessions, carted = (count * factor for count in self.base)
            assumed = min(0.5, CARTS_PER_PURCHASE * self.initial_base_rate)
            base_rate = (bought + BASE_SESSIONS * self.initial_base_rate) / (sessions + BASE_SESSIONS)
            cart_rate = (carted + BASE_SESSIONS * assumed) / (sessions + BASE_SESSIONS)
            now = self._now = _Now(factor, base_rate, cart_rate, _logit(base_rate), _logit(cart_rate))
        return now

    def _prior(self, kind: str, key: str) -> Prior:
        """The key's prior, falling back to the base rates."""
        memo = self._memo[kind]
        value = memo.get(key)
        if value is None:
            now = self._as_of_now()
            entry = self._entries[kind].get(key)
            if entry is None:
                return _UNKNOWN
            value = self._logits(_smoothed(entry, now.factor, (now.base_rate, now.cart_rate)))
            self._remember(memo, key, value)
        return value

    def _item_prior(self, item: str, category: str | None) -> Prior:
        """The item's prior, falling back to its category's."""
        if category is None:
            return self._prior("item", item)
        memo = self._memo_in_category
        value = memo.get((item, category))
        if value is None:
            now = self._as_of_now()
            rates = _smoothed(self._entries["category"].get(category), now.factor, (now.base_rate, now.cart_rate))
            value = self._logits(_smoothed(self._entries["item"].get(item), now.factor, rates))
            self._remember(memo, (item, category), value)
        return value

    def _logits(self, rates: Prior) -> Prior:
        now = self._as_of_now()
        return _logit(rates[0]) - now.base_logit, _logit(rates[1]) - now.cart_logit

    def _markov(self, transition: int, transitions: list[int]) -> Prior3:
        """Log-likelihood ratio, buyers against others, of the step at hand, of all the episode's, and of their mean."""
        if not transitions:
            return 0.0, 0.0, 0.0
        times = transitions[1::2]
        total = math.fsum(map(operator.mul, map(self._ratio, transitions[::2]), times))
        return self._ratio(transition), total, total / sum(times)

    def _ratio(self, code: int) -> float:
        """Of a transition: ln P(to | from, bought) − ln P(to | from, did not), each count with one added."""
        ratio = self._ratios.get(code)
        if ratio is None:
            # A code that another version has written tells nothing here.
            ratio = self._computed_ratio(code) if 0 <= code < TRANSITION_CODES else 0.0
            self._ratios[code] = ratio
        return ratio

    def _computed_ratio(self, code: int) -> float:
        left = self._entries[ORIGIN].get(str(code // len(GROUPS)))
        if left is None:
            return 0.0
        made, factor = self._entries[TRANSITION].get(str(code), _NEVER), self._as_of_now().factor
        bought, others = made[0] * factor + 1.0, max(0.0, made[1] - made[0]) * factor + 1.0
        all_bought = left[0] * factor + len(GROUPS)
        all_others = max(0.0, left[1] - left[0]) * factor + len(GROUPS)
        return math.log(bought * all_others / (others * all_bought))

    @staticmethod
    def _remember(memo: dict[_K, Prior], key: _K, value: Prior) -> None:
        if len(memo) >= MEMO_MAX:
            memo.clear()
        memo[key] = value

    def _forget(self) -> None:
        """Something was learned: what was computed before is no longer so."""
        for memo in self._memo.values():
            memo.clear()
        self._memo_in_category.clear()
        self._ratios.clear()
        self._now = None

    def _evict(self, kind: str) -> None:
        entries = self._entries[kind]
        rare = sorted(entries, key=lambda key: (entries[key][1], key))[: int(self._entries_max * EVICT_SHARE)]
        for key in rare:
            del entries[key]
            self._changed.add((kind, key))


def check_entries(entries: Iterable[tuple[EntryKey, list[float] | None]]) -> None:
    """Refuse entries that would make a score useless: raises ValueError unless each has three finite counts."""
    for key, counts in entries:
        if counts is None:
            continue
        if not all(map(math.isfinite, counts)):
            raise ValueError(f"priors: got a non-finite number in counts {counts} of {key}")
        if len(counts) != 3:
            raise ValueError(f"priors: got {len(counts)} counts of {key}, expected 3")


def _take_out(counts: list[float], bought: float, sessions: float, carted: float) -> None:
    counts[1] = max(0.0, counts[1] - sessions)
    counts[0] = min(max(0.0, counts[0] - bought), counts[1])
    counts[2] = min(max(0.0, counts[2] - carted), counts[1])


def _smoothed(entry: list[float] | None, factor: float, rates: Prior) -> Prior:
    if entry is None:
        return rates
    sessions = entry[1] * factor + SMOOTHING_SESSIONS
    return (
        (entry[0] * factor + SMOOTHING_SESSIONS * rates[0]) / sessions,
        (entry[2] * factor + SMOOTHING_SESSIONS * rates[1]) / sessions,
    )


def _logit(rate: float) -> float:
    return math.log(rate / (1.0 - rate))


def _touched_keys(touched: Touched) -> Iterator[tuple[str, Iterable[str]]]:
    yield "item", touched.items
    yield "category", touched.categories
    yield "brand", touched.brands
    yield "step", (str(step) for step in touched.steps)
    if touched.source is not None:
        yield "source", (touched.source,)
    if touched.country is not None:
        yield "country", (touched.country,)

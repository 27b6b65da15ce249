"""A session as the sequence of its pages: how often a visitor came, from which country, and by which kinds of page.

A classifier of this alone is what shops build from URLs. A page's kind is what its URL or its event's type says
(`core.pages`). A record tells the order by pairs: each step's kind with the one before it, as often as it was taken;
what lies three steps apart is known only by the pairs between. All names together are some hundreds, countries hashed
into a few slots, so nothing here grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from stream_app.core.pages import GROUPS, TRANSITION_CODES
from stream_app.core.records import Keys
from stream_app.core.zoo.bins import Z_MAX
from stream_app.core.zoo.inputs import Inputs
from stream_app.core.zoo.scaling import ZScores

#: Inputs that are taken as numbers: how many pages so far, and how many visits before.
NUMBERS: Final = ("events", "episode_events", "earlier_sessions")

#: Slots for countries: two of a shop's ten main ones share one with a chance of a half, of which one is rare.
_COUNTRIES: Final = 64

#: From this many times on a pair counts as taken often, and from the second as taken again.
_OFTEN: Final = 4

#: From this many earlier visits on they are not told apart.
_VISITS_MAX: Final = 5

_NO_NAMES: Final = Keys()
_WIDTH: Final = len(GROUPS)
_KINDS: Final = (*GROUPS, "entry")


class PageSequence(ZScores):
    """Turns inputs into a few z-scores, clipped to ± 5, and one-hot names of pages, pairs of pages, visits and country.

    It needs the `Inputs` that `PurchasePriors` gives; of a plain dict no page is known.
    """

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        """As `{"events": z, …, "last item": 1.0, "list > item": 1.0, "list > item again": 1.0, …}`."""
        found = {name: min(max(self._z(name, x[name]), -Z_MAX), Z_MAX) for name in NUMBERS}
        found[_visits(x["earlier_sessions"])] = 1.0
        names = x.names if isinstance(x, Inputs) else _NO_NAMES
        found.update(dict.fromkeys(page_names(names), 1.0))
        return found

    def _z(self, name: str, value: float) -> float:
        deviation = math.sqrt(self.vars[name])
        return (value - self.means[name]) / deviation if deviation else 0.0


def page_names(names: Keys) -> Iterator[str]:
    """What is known of the pages by name; a code that is none of ours is passed over."""
    if names.country is not None:
        yield f"country {crc32(names.country.encode()) % _COUNTRIES}"
    if 0 <= names.step < 2 * _WIDTH:
        yield f"last {GROUPS[names.step // 2]}{' of the same item' if names.step % 2 else ''}"
    if 0 <= names.transition < TRANSITION_CODES:
        yield f"last {_pair(names.transition)}"
    for code, times in zip(names.transitions[::2], names.transitions[1::2], strict=False):
        if 0 <= code < TRANSITION_CODES:
            pair = _pair(code)
            yield pair
            if times > 1:
                yield f"{pair} again"
            if times >= _OFTEN:
                yield f"{pair} often"


def _pair(code: int) -> str:
    return f"{_KINDS[code // _WIDTH]} > {_KINDS[code % _WIDTH]}"


def _visits(earlier_sessions: float) -> str:
    """By the visitor's finished sessions, which come as ln(1 + sessions)."""
    # Clipped before e is raised to it, and compared so that what is no number is the first of all.
    count = math.expm1(min(max(0.0, earlier_sessions), 3.0))
    return f"visits {min(round(count), _VISITS_MAX)}"

"""What goes with the outcome and with each other: correlations, ranking of features, principal components.

Whole sessions are described here (`session_features`), up to their first purchase. That is right for asking what
buyers' sessions are like, and wrong for foreseeing: longer sessions are so in part because they went on to buy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.balance import TARGETS, targets
from stream_app.analytics.contingency import Association, association
from stream_app.analytics.scatter import Scatter
from stream_app.analytics.session_features import FEATURES, session_matrix
from stream_app.analytics.sessions import SessionRows
from stream_app.analytics.table import Integers, Texts

#: Columns of the correlations: features, then targets.
COLUMNS: Final = (*FEATURES, *TARGETS)

#: Values of a feature told apart in tables: numbers by doublings (0, 1, 2–3, 4–7 …), 24 hours, texts as they come.
VALUES_MAX: Final = 32

_NUMBERS: Final = tuple(name for name in FEATURES if name.startswith("l1_"))
_TEXTS: Final = ("source", "country", "device")
#: What is ranked.
RANKED: Final = (*_NUMBERS, "priced", "hour", "weekday", *_TEXTS)

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class Ranked(NamedTuple):
    """A feature and what its table with a target says."""

    feature: str
    association: Association


class Relations:
    """Counts sessions whose outcome is known and that have a step before their first purchase: others have no traits.

    With those that begin with a purchase, that nothing is known of a session would seem to tell buyers.

    Hours and weekdays are those of the shop's time, which is UTC and `utc_offset_ms`, whatever the season.
    """

    def __init__(self, *, utc_offset_ms: int = 0) -> None:
        self._utc_offset_ms = utc_offset_ms
        self.scatter = Scatter(len(COLUMNS))
        #: feature → (value, sessions and those at each target)
        self._tables: dict[str, Integers] = {
            name: np.zeros((VALUES_MAX, 1 + len(TARGETS)), np.int64) for name in RANKED
        }
        #: text feature → value → its row; the last row is everything that came after the table was full
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}

    def add(self, rows: SessionRows) -> None:
        """Take in sessions, each once."""
        rows = rows.take(rows.steps > 0)
        begun = rows.first_ms + self._utc_offset_ms
        matrix = session_matrix(rows, utc_offset_ms=self._utc_offset_ms)
        hit = np.stack(list(targets(rows).values()), axis=1)
        self.scatter.add(np.column_stack([matrix, hit]).astype(np.float64))
        counts = np.column_stack([np.ones(len(rows), np.int64), hit])
        values = {
            **{name: _doublings(matrix[:, FEATURES.index(name)]) for name in _NUMBERS},
            "priced": matrix[:, FEATURES.index("priced")].astype(np.int64),
            "hour": begun % _DAY_MS // _HOUR_MS,
            "weekday": (begun // _DAY_MS + 3) % 7,
            **{name: self._coded(name, getattr(rows, name)) for name in _TEXTS},
        }
        for name, codes in values.items():
            np.add.at(self._tables[name], codes, counts)

    def merge(self, other: Relations) -> None:
        """Take in what another has counted, of the same shop's time."""
        self.scatter.merge(other.scatter)
        for name, table in other._tables.items():
            if name not in _TEXTS:
                self._tables[name] += table
                continue
            for value, row in other._codes[name].items():
                self._tables[name][self._code(name, value)] += table[row]
            self._tables[name][-1] += table[-1]

    def ranking(self, target: str) -> list[Ranked]:
        """Features by falling mutual information with the target; those that do not vary are left out."""
        column = 1 + TARGETS.index(target)
        found = []
        for name, table in self._tables.items():
            if name == f"l1_{target}":
                continue  # carts tell carts
            told = association(np.stack([table[:, 0] - table[:, column], table[:, column]], axis=1))
            if told is not None:
                found.append(Ranked(name, told))
        return sorted(found, key=lambda ranked: -ranked.association.information)

    def _coded(self, name: str, texts: Texts) -> Integers:
        return np.array([self._code(name, text) for text in texts.tolist()], np.int64)

    def _code(self, name: str, text: str) -> int:
        codes = self._codes[name]
        if text not in codes:
            if len(codes) == VALUES_MAX - 1:
                return VALUES_MAX - 1
            codes[text] = len(codes)
        return codes[text]


def _doublings(l1: np.ndarray) -> Integers:
    """0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7, …, of ln(1 + x): the length of x in bits."""
    # Rounding must not make a 2 of what was a 2 before the logarithm into 1.
    lengths = np.frexp(np.expm1(l1) * (1.0 + 1e-9))[1]
    found: Integers = np.clip(lengths, 0, VALUES_MAX - 1).astype(np.int64)
    return found

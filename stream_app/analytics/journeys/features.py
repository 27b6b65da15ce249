"""Sessions as numbers and names, for clustering: a scale that is fitted once and then kept."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.journeys.prototypes import Names
from stream_app.analytics.session_features import FEATURES, session_matrix
from stream_app.analytics.sessions import PATH_STEPS, SessionRows
from stream_app.analytics.table import Floats, Texts

#: Numbers of a journey; the time of day is not one of them: it would make clusters of mornings and evenings.
NUMBERS: Final = tuple(name for name in FEATURES if name.startswith("l1_"))
#: Names of a journey: what it came by, and the kinds of its first and its last step (of `PATH_STEPS`).
NAMES: Final = ("source", "device", "country", "first_step", "last_step")

#: Values of a name told apart; the last one is all others.
VALUES: Final = 32

_COLUMNS: Final = [FEATURES.index(name) for name in NUMBERS]


class JourneyScale:
    """Means and spreads of the numbers and codes of the names, as of the sessions that it is built from."""

    def __init__(self, rows: SessionRows) -> None:
        matrix = session_matrix(rows)[:, _COLUMNS]
        self.mean: Floats = matrix.mean(axis=0)
        deviation = matrix.std(axis=0)
        self.deviation: Floats = np.where(deviation > 1e-9, deviation, 1.0)
        self._codes: dict[str, dict[str, int]] = {}
        for name in ("source", "device", "country"):
            known, counts = np.unique(getattr(rows, name).astype(str), return_counts=True)
            most = known[np.argsort(-counts, kind="stable")][: VALUES - 1]
            self._codes[name] = {str(text): code for code, text in enumerate(most)}

    def numbers(self, rows: SessionRows) -> Floats:
        """Shape (N, len(NUMBERS)): mean 0 and spread 1 over the sessions of the scale."""
        scaled: Floats = (session_matrix(rows)[:, _COLUMNS] - self.mean) / self.deviation
        return scaled

    def names(self, rows: SessionRows) -> Names:
        """Codes, shape (N, len(NAMES))."""
        last = np.clip(rows.steps, 1, PATH_STEPS) - 1
        columns = [
            *(self._coded(name, getattr(rows, name)) for name in ("source", "device", "country")),
            (rows.path & np.uint64(15)).astype(np.intp),
            ((rows.path >> (4 * last).astype(np.uint64)) & np.uint64(15)).astype(np.intp),
        ]
        return np.stack(columns, axis=1).astype(np.intp)

    def text(self, name: str, code: int) -> str | None:
        """What a code of source, device or country stands for; None for all others together."""
        return next((text for text, known in self._codes[name].items() if known == code), None)

    def _coded(self, name: str, texts: Texts) -> Names:
        codes = self._codes[name]
        return np.array([codes.get(text, VALUES - 1) for text in texts.tolist()], np.intp)

"""How long labels took: from an event's time to the time at which its outcome was known."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream_app.evaluation.run import Results
from stream_app.evaluation.slices import tested

#: Bins of ln(1 + s): 1 % wide, up to the longest delay there can be (a session of 24 hours, and its gap).
_BIN: Final = 0.01
_BINS: Final = 1_600

_QUANTILES: Final = (0.1, 0.5, 0.9, 0.99)


def delays(results: Results) -> dict[str, Any]:
    """Quantiles of the label delay in seconds, of checkouts and of sessions without one; null without any."""
    counts = np.zeros((2, _BINS))
    for chunk in results.rows.chunks():
        mask = tested(chunk)
        seconds = np.maximum(chunk["known"][mask] - chunk["time"][mask], 0) / 1000
        place = np.minimum((np.log1p(seconds) / _BIN).astype(int), _BINS - 1)
        for label in (0, 1):
            chosen = chunk["label"][mask] == label
            counts[label] += np.bincount(place[chosen], chunk["weight"][mask][chosen], _BINS)
    return {"bought": _quantiles(counts[1]), "not_bought": _quantiles(counts[0])}


def _quantiles(counts: np.ndarray) -> dict[str, float] | None:
    if not counts.sum():
        return None
    share = np.cumsum(counts) / counts.sum()
    return {
        f"{quantile:.0%}": round(float(np.expm1(np.searchsorted(share, quantile) * _BIN)), 1) for quantile in _QUANTILES
    }

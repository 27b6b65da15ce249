"""Prequential curves: figures of stretches of rows, in the order in which their labels came."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from stream_app.core.figures import entropy
from stream_app.evaluation.counts import Counts
from stream_app.evaluation.run import Results
from stream_app.evaluation.slices import tested

#: Points of a curve: as many as can be told apart in a figure.
_WINDOWS: Final = 40

#: Rows of a window at least: fewer positives make a curve of noise.
_ROWS_MIN: Final = 500


def windows(results: Results) -> list[dict[str, Any]]:
    """Windows of equal numbers of judged rows: when each ends, its base rate, and by model log-loss and ROC AUC."""
    rows = sum(int(tested(chunk).sum()) for chunk in results.rows.chunks())
    size = max(rows // _WINDOWS, _ROWS_MIN)
    found = []
    counts, filled, last = Counts(len(results.contenders)), 0, 0
    for chunk in results.rows.chunks():
        mask = tested(chunk)
        p, label, weight, known = (chunk[name][mask] for name in ("p", "label", "weight", "known"))
        start = 0
        while start < len(label):
            part = slice(start, start + size - filled)
            counts.add(p[part], label[part], weight[part])
            filled += len(label[part])
            last = int(known[part][-1])
            start += len(label[part])
            if filled == size:
                found.append(_window(results, counts, last))
                counts, filled = Counts(len(results.contenders)), 0
    if filled > size / 2:
        found.append(_window(results, counts, last))
    return found


def _window(results: Results, counts: Counts, known_ms: int) -> dict[str, Any]:
    rate = counts.positive_weight / counts.weight
    figures = {name: counts.figures(model) for model, name in enumerate(results.contenders)}
    return {
        "until": datetime.fromtimestamp(known_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "rows": counts.rows,
        "base_rate": round(rate, 6),
        "log_loss_constant": round(entropy(rate), 6),
        "log_loss": {name: round(float(figure.log_loss), 6) for name, figure in figures.items()},
        "roc_auc": {
            name: round(float(figure.roc_auc), 6) if np.isfinite(figure.roc_auc) else None
            for name, figure in figures.items()
        },
    }

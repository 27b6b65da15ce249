"""Where a model is most wrong: the groups of rows, and the sessions, whose log-loss is furthest above what it expected.

A score of p expects a log-loss of its own entropy. What rows lose beyond that, summed over a group, is zero for a model
that is right about the group, and large where it is surely wrong: where buyers had low scores, or the others high ones.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.core.events import EVENT_TYPES
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.run import Results
from stream_app.evaluation.slices import tested

#: Groups told of each kind, and sessions.
_TOLD: Final = 8
_SESSIONS: Final = 5

#: Positives or expected positives of a group from which on it is told: below, a single buyer makes a group look wrong.
_POSITIVES_MIN: Final = 5.0

#: Events told of a session.
_EVENTS_MAX: Final = 12

#: Upper ends of the lengths that are told apart.
_LENGTHS: Final = (1, 2, 3, 5, 9, 19, 49, 10**9)

_Names = Callable[[int], str]


def mistakes(results: Results, model: int = 0) -> dict[str, Any]:
    """By category, source, event type, episode length and event number; and example sessions. Of one contender."""
    names = results.names.name
    kinds: dict[str, tuple[Callable[[Chunk], npt.NDArray[Any]], _Names]] = {
        "category": (lambda chunk: chunk["category"], names),
        "source": (lambda chunk: chunk["source"], names),
        "event type": (lambda chunk: chunk["event_type"], lambda code: EVENT_TYPES[code]),
        "episode length": (lambda chunk: _length(chunk["episode_length"]), _length_name),
        "event number": (lambda chunk: _length(chunk["events"]), _length_name),
    }
    return {
        "model": results.contenders[model],
        "groups": {kind: _groups(results, model, code, name) for kind, (code, name) in kinds.items()},
        "sessions": _sessions(results, model),
    }


def _groups(results: Results, model: int, code_of: Callable[[Chunk], npt.NDArray[Any]], name: _Names) -> list[Any]:
    #: weight, bought, score, excess; rows
    sums: dict[int, npt.NDArray[np.float64]] = defaultdict(lambda: np.zeros(5))
    for chunk, p, excess in _judged(results, model):
        codes, place = np.unique(code_of(chunk), return_inverse=True)
        weight, label = chunk["weight"], chunk["label"]
        parts = [np.bincount(place, term) for term in (weight, weight * label, weight * p, weight * excess)]
        for code, *values in zip(codes.tolist(), *parts, np.bincount(place), strict=True):
            sums[code] += values
    total = sum(entry[0] for entry in sums.values())
    worst = sorted(
        ((code, entry) for code, entry in sums.items() if max(entry[1], entry[2]) >= _POSITIVES_MIN),
        key=lambda item: -item[1][3],
    )
    return [
        {
            "name": name(code),
            "rows": int(rows),
            "share": round(weight / total, 4),
            "bought": round(bought / weight, 4),
            "mean_score": round(score / weight, 4),
            "excess_log_loss": round(excess / weight, 4),
            "of_all": round(excess / total, 5),
        }
        for code, (weight, bought, score, excess, rows) in worst[:_TOLD]
    ]


def _sessions(results: Results, model: int) -> list[dict[str, Any]]:
    worst: list[tuple[float, int, int]] = []
    for chunk, _, excess in _judged(results, model):
        sessions, first, place = np.unique(chunk["session"], return_index=True, return_inverse=True)
        lost = np.bincount(place, chunk["weight"] * excess)
        found = zip(lost.tolist(), sessions.tolist(), chunk["name"][first].tolist(), strict=True)
        worst = heapq.nlargest(_SESSIONS, [*worst, *found])
    steps: dict[int, list[dict[str, Any]]] = {session: [] for _, session, _ in worst}
    wanted = np.array(sorted(steps), dtype=np.uint64)
    for chunk, p, _ in _judged(results, model):
        for row in np.flatnonzero(np.isin(chunk["session"], wanted)).tolist():
            steps[int(chunk["session"][row])].append(
                {
                    "event": int(chunk["events"][row]),
                    "type": EVENT_TYPES[chunk["event_type"][row]],
                    "category": results.names.name(int(chunk["category"][row])),
                    "score": round(float(p[row]), 4),
                    "label": int(chunk["label"][row]),
                }
            )
    told = []
    for above, session, written in worst:
        visitor_id, session_id = results.names.session(written)
        events = sorted(steps[session], key=lambda step: step["event"])[:_EVENTS_MAX]
        told.append(
            {"visitor_id": visitor_id, "session_id": session_id, "excess_log_loss": round(above, 3), "events": events}
        )
    return told


def _judged(results: Results, model: int) -> Iterator[tuple[Chunk, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Chunks of judged rows, the model's scores, and how much more each row lost than it expected."""
    for chunk in results.rows.chunks():
        mask = tested(chunk)
        judged = {name: values[mask] for name, values in chunk.items()}
        p = judged["p"][:, model]
        loss = -np.log(np.where(judged["label"] == 1, p, 1.0 - p))
        yield judged, p, loss + p * np.log(p) + (1.0 - p) * np.log(1.0 - p)


def _length(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.searchsorted(_LENGTHS, values)


def _length_name(code: int) -> str:
    low = _LENGTHS[code - 1] + 1 if code else 1
    high = _LENGTHS[code]
    return str(low) if low == high else f"{low} on" if high == _LENGTHS[-1] else f"{low}–{high}"

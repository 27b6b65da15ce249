"""Two alarms for features that know too much.

A feature must not change when later events are deleted: the first events of the history are folded again and again,
each time with fewer of them, and every feature and key of an event must stay what it was, to the bit.

And no feature alone may tell buyers from others nearly perfectly: of a real one that has never been seen, so a column
that does was filled with the outcome, here or by whoever wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.events import Event
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import INPUT_NAMES
from stream_app.core.plan import Rules
from stream_app.core.records import Keys
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.folding import Folder
from stream_app.evaluation.nobody import NOBODY

#: Events that are folded again: a feature that reads ahead does so in almost any session, and these are hundreds.
_EVENTS: Final = 2_000

#: Events of a batch there: long enough for many events of one session to be in it together.
_BATCH: Final = 250

#: Where the history is cut short: within batches, at places of no meaning.
_CUTS: Final = (0.137, 0.291, 0.443, 0.618, 0.811, 0.953)

#: ROC AUC of a single column from which on it is suspected. The strongest honest one measured has .65 with hundreds of
#: buyers, .74 with forty (docs/evaluation.md).
SUSPICIOUS_AUC: Final = 0.90

#: Rows of the smaller class from which on a column's AUC says something: its standard error is then below .05.
_ROWS_MIN: Final = 40


class Row(NamedTuple):
    """What an event's features and keys were."""

    event: tuple[str, str, int]
    x: bytes
    keys: Keys


class Leak(NamedTuple):
    """A column that knows too much, and how that was seen."""

    column: str
    found: str


def later_events(events: Iterable[Event], rules: Rules, directory: Path) -> list[Leak]:
    """The features and keys of the first events that change when later ones are deleted."""
    chosen = list(islice(events, _EVENTS))
    whole = _rows(chosen, rules, directory / "whole")
    leaks: dict[str, Leak] = {}
    for number, share in enumerate(_CUTS):
        cut = _rows(chosen[: int(share * len(chosen))], rules, directory / f"cut{number}")
        for short, long in zip(cut, whole, strict=False):
            if short != long:
                for column in _differing(short, long):
                    leaks.setdefault(column, Leak(column, "changes when later events are deleted"))
    return list(leaks.values())


def single_columns(aucs: Mapping[str, float]) -> list[Leak]:
    """The inputs that tell buyers from others nearly alone, from the ROC AUC of each."""
    return [Leak(name, f"has a ROC AUC of {auc:.3f} alone") for name, auc in aucs.items() if auc >= SUSPICIOUS_AUC]


def column_aucs(rows: Chunk) -> dict[str, float]:
    """The ROC AUC of each input alone, whichever way it points, of rows with `inputs` and `label`.

    Nothing when there are too few rows of a class.
    """
    positive = rows["label"].astype(bool)
    if min(positive.sum(), len(positive) - positive.sum()) < _ROWS_MIN:
        return {}
    return {name: _auc(rows["inputs"][:, n], positive) for n, name in enumerate(INPUT_NAMES)}


def _rows(events: Sequence[Event], rules: Rules, directory: Path) -> list[Row]:
    directory.mkdir(parents=True)
    folder = Folder(rules, directory)
    found = []
    for start in range(0, len(events), _BATCH):
        folded = folder.fold(events[start : start + _BATCH], NOBODY)
        for scored, x, keys in zip(folded.scored, folded.x, folded.keys, strict=True):
            found.append(Row((scored.visitor_id, scored.session_id, scored.events), x.tobytes(), keys))
    folder.close()
    return found


def _differing(one: Row, other: Row) -> list[str]:
    if one.event != other.event:
        return ["session"]
    x, y = np.frombuffer(one.x), np.frombuffer(other.x)
    names = [FEATURE_NAMES[place] for place in np.flatnonzero(x != y)]
    return names if one.keys == other.keys else [*names, "keys"]


def _auc(column: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float:
    values, place = np.unique(column, return_inverse=True)
    negatives = np.bincount(place[~positive], minlength=len(values))
    positives = np.bincount(place[positive], minlength=len(values))
    below = np.cumsum(negatives) - negatives / 2
    auc = float((positives * below).sum() / (positives.sum() * negatives.sum()))
    return max(auc, 1 - auc)

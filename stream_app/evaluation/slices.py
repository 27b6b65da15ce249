"""Parts of the test that are looked at apart, each as a mask on a chunk of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.run import BEFORE_CART, BEFORE_CHECKOUT, IS_PURCHASE, THIRD

Mask = npt.NDArray[np.bool_]
Slice = Callable[[Chunk], Mask]


def tested(chunk: Chunk) -> Mask:
    """Rows that are judged at all."""
    return np.asarray(chunk["fold"] >= 0)


def in_fold(number: int) -> Slice:
    """Rows scored in one fold."""
    return lambda chunk: np.asarray(chunk["fold"] == number)


def third_event(chunk: Chunk) -> Mask:
    """Rows at the third event of their session."""
    return np.asarray(tested(chunk) & (chunk["events"] == THIRD))


def _at(low: int, high: float = math.inf) -> Slice:
    return lambda chunk: np.asarray(tested(chunk) & (chunk["events"] >= low) & (chunk["events"] <= high))


def _stage(bit: int) -> Slice:
    return lambda chunk: tested(chunk) & np.asarray(chunk["stage"] & bit, dtype=bool)


#: In the order of the report.
SLICES: Final[dict[str, Slice]] = {
    "event 1": _at(1, 1),
    "event 2": _at(2, 2),
    "event 3": third_event,
    "event 4": _at(4, 4),
    "event 5": _at(5, 5),
    "events 6–9": _at(6, 9),
    "event 10 on": _at(10),
    "before the first cart": _stage(BEFORE_CART),
    "before checkout pages": _stage(BEFORE_CHECKOUT),
    "without purchases": lambda chunk: np.asarray(tested(chunk) & ((chunk["stage"] & IS_PURCHASE) == 0)),
}

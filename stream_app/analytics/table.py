"""Rows as columns: what events, episodes and sessions are kept in while there are many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Flags: TypeAlias = npt.NDArray[np.bool_]
#: Of Python's `str`; "" is "not known".
Texts: TypeAlias = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length N, each an array of shape (N,); a subclass names them. Never changed in place."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """The rows at these places, or where the flags are set."""
        return type(self)(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """All rows of the parts, one after the other; ValueError without any part."""
        if len(parts) == 1:
            return parts[0]
        names = [column.name for column in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def last_known(known: Flags, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """For each stretch of rows that begins at `starts`: the place of its last row that is known, else of its first."""
    places = np.where(known, np.arange(len(known)), -1)
    found = np.maximum.reduceat(places, starts)
    return np.where(found < 0, starts, found)


def first_known(known: Flags, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The place of each stretch's first row that is known, else of its first."""
    places = np.where(known, np.arange(len(known)), len(known))
    found = np.minimum.reduceat(places, starts)
    return np.where(found == len(known), starts, found)

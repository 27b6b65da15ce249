"""The units that an experiment has counted: each visitor once, in eight bytes."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

#: Units of one experiment: 32 MB. Who needs more to see a difference looks for one of a few thousandths of the base
#: rate. Beyond it none is counted, whatever its arm, so what is there stays right.
UNITS_MAX: Final = 4_000_000

#: Newest ones that are kept apart until they are merged: the merge costs some 10 ms at the bound.
_NEW_MAX: Final = 16_384


class Settled:
    """A set of visitors that only grows, by 64-bit hashes: of four million, one is mistaken with probability 4e-7."""

    def __init__(self) -> None:
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._new: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._new)

    def __contains__(self, visitor_id: str) -> bool:
        hashed = _hash(visitor_id)
        if hashed in self._new:
            return True
        place = int(self._sorted.searchsorted(np.uint64(hashed)))
        return place < len(self._sorted) and int(self._sorted[place]) == hashed

    def add(self, visitor_id: str) -> None:
        """Take one that is not in it."""
        self._new.add(_hash(visitor_id))
        if len(self._new) >= _NEW_MAX:
            self._merge()

    def export(self) -> npt.NDArray[np.uint64]:
        """The hashes in order, to continue from."""
        self._merge()
        return self._sorted.copy()

    def restore(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Continue from an `export`; raises ValueError if it is none, and nothing has changed then."""
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or not (hashes[1:] > hashes[:-1]).all():
            raise ValueError(f"settled: got {hashes.dtype} of shape {hashes.shape}, expected uint64 in rising order")
        self._sorted, self._new = hashes.copy(), set()

    def _merge(self) -> None:
        if self._new:
            new = np.fromiter(self._new, dtype=np.uint64, count=len(self._new))
            self._sorted = np.sort(np.concatenate((self._sorted, new)), kind="stable")
            self._new = set()


def _hash(visitor_id: str) -> int:
    return int.from_bytes(blake2b(visitor_id.encode(), digest_size=8, person=b"settled").digest(), "big")

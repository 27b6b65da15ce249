"""Records of one output partition, kept as a few numbers each: what an audit remembers to recognise them again.

A key says which input it belongs to, a digest what it says; both are 64 bits of BLAKE2b. Two different records would
have to agree in both to be taken for one another: for a hundred million of them the chance is below 10⁻²².
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def hashed(*parts: str | bytes | int) -> int:
    """64 bits of the parts, each told apart from the next and from one of another type."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


class Rows:
    """Rows in offset order: `add` all, then `find`. `columns` further integers are kept with each."""

    def __init__(self, columns: int = 0) -> None:
        self._keys = array("Q")
        self._digests = array("Q")
        self.offsets = array("q")
        self.columns = [array("q") for _ in range(columns)]
        self._order: npt.NDArray[np.int64] | None = None
        self._sorted: npt.NDArray[np.uint64] | None = None
        #: of each row, whether the input explains it
        self.seen = bytearray()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: int, digest: int, offset: int, *columns: int) -> None:
        """Append one record."""
        self._keys.append(key)
        self._digests.append(digest)
        self.offsets.append(offset)
        for column, value in zip(self.columns, columns, strict=True):
            column.append(value)
        self.seen.append(0)
        self._order = None

    def find(self, key: int) -> Sequence[int]:
        """The rows with this key, in offset order."""
        if self._order is None or self._sorted is None:
            keys = np.array(self._keys, dtype=np.uint64)
            self._order = np.argsort(keys, kind="stable")
            self._sorted = keys[self._order]
        wanted = np.uint64(key)
        first = int(np.searchsorted(self._sorted, wanted, side="left"))
        found = []
        while first < len(self._sorted) and self._sorted[first] == wanted:
            found.append(int(self._order[first]))
            first += 1
        return found

    def key(self, row: int) -> int:
        """Which input the row belongs to."""
        return self._keys[row]

    def digest(self, row: int) -> int:
        """What the row says."""
        return self._digests[row]

    def unseen(self) -> list[int]:
        """Rows that nothing has explained."""
        return [row for row, seen in enumerate(self.seen) if not seen]

"""A scorer for when only features and outcomes are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.core.plan import WithoutReasons
from stream_app.core.records import Keys


class Nobody(WithoutReasons):
    """Says one half of everyone."""

    name, version, updates, cold = "nobody", 0, 0, True
    bands = None

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """One half, N times."""
        return np.full(len(x), 0.5)


NOBODY: Final = Nobody()

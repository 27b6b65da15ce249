"""How far a share may be from the truth, of many or of few, looked at once."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.analytics.table import Floats

#: Probability that an interval misses: 1 in 20, as everywhere in our reports.
ALPHA: Final = 0.05
#: Standard errors on either side at `ALPHA`.
Z: Final = NormalDist().inv_cdf(1.0 - ALPHA / 2.0)


def wilson(hits: npt.NDArray[Any], of: npt.NDArray[Any], *, z: float = Z) -> tuple[Floats, Floats]:
    """The score interval of a share (Wilson, JASA 22, 1927), shape (N,) each: it holds near 0 and with few, too.

    From 0 to 1 where `of` is 0: nothing is known.
    """
    n = np.asarray(of, dtype=np.float64)
    some = np.maximum(n, 1.0)
    p = np.asarray(hits, dtype=np.float64) / some
    middle = (p + z * z / (2.0 * some)) / (1.0 + z * z / some)
    reach = z / (1.0 + z * z / some) * np.sqrt(p * (1.0 - p) / some + z * z / (4.0 * some * some))
    low: Floats = np.where(n > 0.0, np.clip(middle - reach, 0.0, 1.0), 0.0)
    high: Floats = np.where(n > 0.0, np.clip(middle + reach, 0.0, 1.0), 1.0)
    return low, high


def share(hits: npt.NDArray[Any], of: npt.NDArray[Any]) -> Floats:
    """Hits over all, NaN of none."""
    n = np.asarray(of, dtype=np.float64)
    found: Floats = np.divide(hits, n, out=np.full(n.shape, np.nan), where=n > 0.0)
    return found

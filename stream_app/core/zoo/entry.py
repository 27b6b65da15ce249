"""What the catalogue says of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

#: Share of a trainer's or a scorer's time that snapshots may take: neither learns nor scores meanwhile.
_SNAPSHOT_SHARE: Final = 0.05

#: The default of the setting `snapshot_interval_ms`, which most models keep to.
_INTERVAL_MS_MIN: Final = 500


class Cost(NamedTuple):
    """Measured by `benchmarks/models.py`, the priors included: µs per example or event, kB and ms per snapshot.

    `batch_us` is per row of a batch of 500; `snapshot_ms` is what the trainer needs for one, `restore_ms` a scorer.
    """

    predict_us: float
    batch_us: float
    learn_us: float
    snapshot_kb: float
    snapshot_ms: float
    restore_ms: float

    @property
    def snapshot_interval_ms(self) -> int:
        """The setting at which they take a twentieth of a trainer's and a scorer's time, or its default."""
        slower = max(self.snapshot_ms, self.restore_ms)
        return max(_INTERVAL_MS_MIN, 100 * math.ceil(slower / _SNAPSHOT_SHARE / 100))


class ZooEntry(NamedTuple):
    """A classifier by name.

    `build` makes a new one for a base rate. `weighted` says whether its `learn_one` heeds a sample weight `w`; `batch`,
    whether its `predict_proba_many` says, for each row, what `predict_proba_one` says, and sooner.
    """

    name: str
    build: Callable[[float], Any]
    about: str
    cost: Cost
    weighted: bool = False
    batch: bool = False

"""What the logs of exposures and outcomes come to, by experiment: all that is reported, shown, and learned from.

Whoever reads the two topics comes to the same figures, in whatever process, whenever it began to read. Of an
experiment's visitor the first outcome in the log counts. The one figure that depends on the order of reading is the
smallest p-value of the sample-ratio check, since it is that of all looks; each order is a right one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from stream_app.discounts.core.bandit import LevelBandit
from stream_app.discounts.core.confidence import PLANNED_UNITS
from stream_app.discounts.core.records import Arm, Exposure, Outcome
from stream_app.discounts.core.sample_ratio import SampleRatio
from stream_app.discounts.core.settled import UNITS_MAX, Settled
from stream_app.discounts.core.uplift import Uplift

#: Experiments with figures: those whose exposures are the newest.
EXPERIMENTS_MAX: Final = 50

#: What is counted of that which is not used.
UNUSED: Final = ("repeated", "other_window", "other_share", "wrong", "crowded_out")


class ExperimentFigures:
    """One experiment.

    Attributes
    ----------
    uplift, bandit, exploration
        Of settled units; the share of its choices that the bandit spreads evenly.
    ratio
        Of all units, from their exposure on; None without a holdout.
    holdout_share, window_ms
        Those of the first record that told them. A record with others belongs to another experiment of the same name,
        which should have had a name of its own: it is counted as unused.
    planned
        At how many visitors the sequential intervals are narrowest: what the earliest exposure says, in whatever order
        they are read. Who changes a plan later has looked already.
    exposures
        By arm; `seen` counts each visitor once.
    from_ms, to_ms
        Event times of the first and the newest exposure; `settled_to_ms` is when the newest outcome matured. −1 is
        none.
    unused
        By one of `UNUSED`.
    """

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment
        self.uplift = Uplift()
        self.exploration = 1.0
        self.bandit = LevelBandit(exploration=self.exploration)
        self.ratio: SampleRatio | None = None
        self.holdout_share: float | None = None
        self.window_ms = 0
        self.planned = PLANNED_UNITS
        self.exposures: Counter[Arm] = Counter()
        self.seen: Counter[Arm] = Counter()
        self.from_ms = self.to_ms = self.settled_to_ms = -1
        self.unused: Counter[str] = Counter(dict.fromkeys(UNUSED, 0))
        self._exposed = Settled()
        self._settled = Settled()

    def settled(self, arm: Arm) -> int:
        """Units with an outcome."""
        return self.uplift.slices["all", ""][arm].n

    def open(self, arm: Arm) -> int:
        """Units whose window, or the delay after it, is not over."""
        return self.seen[arm] - self.settled(arm)

    def is_settled(self, visitor_id: str) -> bool:
        """Whether the visitor's outcome was taken."""
        return visitor_id in self._settled

    def expose(self, exposure: Exposure) -> None:
        """Take an exposure."""
        self._begin(exposure)
        if exposure.holdout_share != self.holdout_share:
            self.unused["other_share"] += 1
            return
        self.exposures[exposure.arm] += 1
        self._unit(exposure)

    def settle(self, outcome: Outcome) -> Outcome | None:
        """Take an outcome; the same if it counts, None if it does not."""
        exposure = outcome.exposure
        reason = self._unusable(outcome)
        if reason:
            self.unused[reason] += 1
            return None
        try:
            self.bandit.learn(outcome)
        except ValueError:
            # Its probabilities contradict what was done: nothing that it says of a level can be believed.
            self.unused["wrong"] += 1
            return None
        self.window_ms = outcome.window_ms
        # Its exposure may be read after it, or be older than what is kept of them.
        self._begin(exposure)
        self._unit(exposure)
        self._settled.add(exposure.visitor_id)
        self.uplift.add(outcome)
        self.settled_to_ms = max(self.settled_to_ms, outcome.matured_at)
        return outcome

    def explore(self, share: float) -> None:
        """Let the bandit spread another share of its choices evenly."""
        learned = self.bandit.export()
        self.exploration = share
        self.bandit = LevelBandit(exploration=share)
        self.bandit.restore(learned)

    def _begin(self, exposure: Exposure) -> None:
        if self.holdout_share is None:
            share = self.holdout_share = exposure.holdout_share
            if 0.0 < share < 1.0:
                self.ratio = SampleRatio({"treatment": 1.0 - share, "holdout": share})

    def _unit(self, exposure: Exposure) -> None:
        time, visitor_id = exposure.event_time, exposure.visitor_id
        if self.from_ms < 0 or time < self.from_ms:
            self.from_ms, self.planned = time, exposure.planned or PLANNED_UNITS
        self.to_ms = max(self.to_ms, time)
        if visitor_id in self._exposed:
            return
        if len(self._exposed) >= UNITS_MAX:
            self.unused["crowded_out"] += 1
            return
        self._exposed.add(visitor_id)
        self.seen[exposure.arm] += 1
        if self.ratio is not None:
            self.ratio.add(exposure.arm)

    def _unusable(self, outcome: Outcome) -> str:
        if outcome.exposure.visitor_id in self._settled:
            return "repeated"
        if self.window_ms and outcome.window_ms != self.window_ms:
            return "other_window"
        if self.holdout_share not in (None, outcome.exposure.holdout_share):
            return "other_share"
        return "crowded_out" if len(self._settled) >= UNITS_MAX else ""


class Figures:
    """All experiments, by id."""

    def __init__(self) -> None:
        self.experiments: dict[str, ExperimentFigures] = {}
        #: records of experiments older than the `EXPERIMENTS_MAX` newest
        self.refused = 0

    def expose(self, exposure: Exposure) -> None:
        """Take an exposure, in the order of the log."""
        found = self.of(exposure.experiment, exposure.event_time)
        if found is not None:
            found.expose(exposure)

    def settle(self, outcome: Outcome) -> Outcome | None:
        """Take an outcome, in the order of the log; the same if it counts."""
        exposure = outcome.exposure
        found = self.of(exposure.experiment, exposure.event_time)
        return found.settle(outcome) if found is not None else None

    def current(self, *, within_ms: int) -> list[ExperimentFigures]:
        """Experiments whose newest exposure is at most so much older than the newest of all."""
        newest = max((found.to_ms for found in self.experiments.values()), default=-1)
        return [found for found in self.experiments.values() if found.to_ms >= newest - within_ms]

    def of(self, experiment: str, time_ms: int) -> ExperimentFigures | None:
        """Those of one experiment, empty at first; None if it is older at `time_ms` than all that there is room for."""
        found = self.experiments.get(experiment)
        if found is None:
            if len(self.experiments) >= EXPERIMENTS_MAX:
                oldest = min(self.experiments.values(), key=lambda each: each.to_ms)
                if time_ms <= oldest.to_ms:
                    self.refused += 1
                    return None
                del self.experiments[oldest.experiment]
            found = self.experiments[experiment] = ExperimentFigures(experiment)
        return found

    def is_settled(self, experiment: str, visitor_id: str) -> bool:
        """Whether a visitor's outcome was taken."""
        found = self.experiments.get(experiment)
        return found is not None and found.is_settled(visitor_id)

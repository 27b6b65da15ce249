"""Notices when the shop or the scores are no longer as they were.

Watched is one value of each episode whose outcome has come, as its events resemble one another:

* `log_loss` of the served scores, and only its rise;
* `surprise`: the log-loss less what the score itself expected, and only its rise: visitors who are hard to tell apart
  cost log-loss, and surprise nobody;
* `bias`: bought or not, less the score;
* `score`: its mean;
* each feature by name, as of the episode's last example; not the clock, which always moves.

A shop has hours: at night others come. So a block of episodes (`BLOCK_EPISODES`, and `BLOCK_MS` at least) is compared
with the blocks of the same hours on the days before, which fade with a half-life of a week; its deviation is measured
in standard deviations of such deviations, so that what usually varies from day to day is no alarm. Deviations beyond
`SLACK` add up (a CUSUM chart, Page 1954), each counting `STEP_MAX` at most: a single wild block is none either. When
the sum passes `LIMIT` there is an alarm, and the quantity is learned anew; `changed` until that is done.

Nothing is watched before there were `SETTLED_MS` and `SETTLED_BLOCKS` of it. Scores that were cold do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Example

#: Episodes and event time of a block at least. Half an hour is short against the days compared; a thousand episodes
#: have thirty buyers, few enough to be quick, enough for a mean that is not ruled by one of them.
BLOCK_EPISODES: Final = 1_000
BLOCK_MS: Final = 30 * 60_000

#: Parts of the day (UTC) that are compared with themselves: three hours each.
PARTS: Final = 8

#: When a quantity begins to be watched: each part of the day has been seen twice, and the spread is known to a tenth.
SETTLED_MS: Final = 2 * 86_400_000
SETTLED_BLOCKS: Final = 30

#: In standard deviations of a block: what is borne without adding up, the most that one block adds, and the alarm.
SLACK: Final = 0.75
STEP_MAX: Final = 4.0
LIMIT: Final = 20.0

#: After so long a block counts half as much in what is usual.
_HALF_LIFE_MS: Final = 7 * 86_400_000

#: A block's standard deviation is not taken to be less: a feature that never varied may begin to.
_DEVIATION_MIN: Final = 1e-3

#: Alarms remembered: the head of every snapshot carries them.
ALARMS_MAX: Final = 50

#: Episodes that wait to be added up together.
_WAITING_MAX: Final = 500

_DAY_MS: Final = 86_400_000
_OF_SCORES: Final = ("log_loss", "surprise", "bias", "score")
_CLOCK: Final = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
_FEATURES: Final = tuple(n for n, name in enumerate(FEATURE_NAMES) if name not in _CLOCK)

#: Numbers given of an episode: those of its scores, and all features.
_GIVEN: Final = len(_OF_SCORES) + len(FEATURE_NAMES)

#: What is watched, in order.
WATCHED: Final = (*_OF_SCORES, *(FEATURE_NAMES[n] for n in _FEATURES))

#: A fall of these is good news.
_RISE_ONLY: Final = np.array([name in ("log_loss", "surprise") for name in WATCHED])

Array = npt.NDArray[np.float64]


class Alarm(msgspec.Struct, array_like=True, frozen=True):
    """A change: of what, in the block that ended at an event time (ms), and by how much.

    `usual` and `now` are means over the blocks since it began; `size` is their difference in standard deviations of
    single episodes.
    """

    time: int
    what: str
    usual: float
    now: float
    size: float


class Drift:
    """The charts of all that is watched."""

    def __init__(self) -> None:
        #: the newest `ALARMS_MAX`, oldest first
        self.alarms: list[Alarm] = []
        width = len(WATCHED)
        #: (width,) alarms so far
        self._counts: Array = np.zeros(width)
        #: (width,) 1 from an alarm until settled again
        self._changed: Array = np.zeros(width)
        #: (PARTS, width) mean by part of the day, and the faded number of blocks in it
        self._usual: Array = np.zeros((PARTS, width))
        self._blocks: Array = np.zeros((PARTS, width))
        #: (width,) faded sum of squared deviations, and their number; variance of single episodes; blocks; first time
        self._squares: Array = np.zeros(width)
        self._compared: Array = np.zeros(width)
        self._variance: Array = np.zeros(width)
        self._seen: Array = np.zeros(width)
        self._since: Array = np.zeros(width)
        #: (2, width) up and down: the chart, the blocks since it left zero, and their deviations and usual means
        self._chart: Array = np.zeros((2, width))
        self._run: Array = np.zeros((2, width))
        self._moved: Array = np.zeros((2, width))
        self._from: Array = np.zeros((2, width))
        #: of the block at hand: episodes, first and newest time; (2, width) sums and sums of squares
        self._block = [0, -1, -1]
        self._sums: Array = np.zeros((2, width))
        self._last = -1
        #: of episodes that wait to be added up, one after the other
        self._waiting: list[float] = []

    def observe(self, examples: Sequence[Example]) -> None:
        """Take an episode's examples, whose outcome has come."""
        loss = surprise = bias = score = 0.0
        number = 0
        for example in examples:
            if example.cold:
                continue
            p, label = example.score, example.label
            logit = math.log(p / (1.0 - p))
            error = label - p
            loss -= math.log(p if label else 1.0 - p)
            surprise -= error * logit
            bias += error
            score += p
            number += 1
        if number:
            last = msgspec.structs.astuple(examples[-1].features)
            self.add((loss / number, surprise / number, bias / number, score / number, *last), examples[-1].label_time)

    def add(self, values: tuple[float, ...], time: int) -> None:
        """Take an episode's values: those of its scores, then all features."""
        self._waiting.extend(values)
        block = self._block
        block[0] += 1
        block[1] = time if block[1] < 0 else block[1]
        block[2] = max(block[2], time)
        if block[0] >= BLOCK_EPISODES and block[2] - block[1] >= BLOCK_MS:
            self._add_up()
            self._close(block[0], block[1], block[2])
            self._block, self._sums = [0, -1, -1], np.zeros_like(self._sums)
        elif len(self._waiting) >= _WAITING_MAX * _GIVEN:
            self._add_up()

    def counts(self) -> dict[str, int]:
        """Alarms so far, by what."""
        return dict(zip(WATCHED, self._counts.astype(int).tolist(), strict=True))

    def changed(self) -> dict[str, bool]:
        """By what: whether it has changed, and is not settled again."""
        return dict(zip(WATCHED, (self._changed > 0).tolist(), strict=True))

    def levels(self) -> dict[str, float]:
        """By what: how far its chart is on the way to an alarm, 0 to 1; NaN while it is not watched."""
        levels = np.where(self._settled(self._last), self._chart.max(axis=0) / LIMIT, math.nan)
        return dict(zip(WATCHED, levels.tolist(), strict=True))

    def export(self) -> dict[str, Any]:
        """Plain values and arrays to continue from."""
        self._add_up()
        return {
            "alarms": [msgspec.to_builtins(alarm) for alarm in self.alarms],
            "block": [*self._block, self._last],
            **{name: getattr(self, f"_{name}").copy() for name in _ARRAYS},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none; nothing has changed then.
        """
        alarms = [msgspec.convert(alarm, Alarm) for alarm in values["alarms"]]
        *block, last = (int(number) for number in values["block"])
        arrays = {name: np.array(values[name], dtype=np.float64) for name in _ARRAYS}
        for name, found in arrays.items():
            if found.shape != getattr(self, f"_{name}").shape or not np.isfinite(found).all():
                raise ValueError(f"drift: got {name} of shape {found.shape}, or not finite")
        if len(block) != 3:
            raise ValueError(f"drift: got block {block}")
        self.alarms, self._block, self._last, self._waiting = alarms, block, last, []
        for name, found in arrays.items():
            setattr(self, f"_{name}", found)

    def _settled(self, now: int) -> npt.NDArray[np.bool_]:
        settled: npt.NDArray[np.bool_] = (self._seen >= SETTLED_BLOCKS) & (now - self._since >= SETTLED_MS)
        return settled

    def _add_up(self) -> None:
        """Add the episodes that wait to their block's sums, one after the other whenever this is done."""
        if not self._waiting:
            return
        waiting = np.array(self._waiting).reshape(-1, _GIVEN)
        self._waiting = []
        own = len(_OF_SCORES)
        values = np.concatenate((waiting[:, :own], waiting[:, own:][:, _FEATURES]), axis=1)
        terms = np.concatenate((self._sums[None], np.stack((values, values * values), axis=1)))
        self._sums = np.cumsum(terms, axis=0)[-1]

    def _close(self, episodes: int, begun: int, ended: int) -> None:
        """A block is complete: compare it with what is usual, then count it in."""
        mean = self._sums[0] / episodes
        variance = np.maximum(self._sums[1] / episodes - mean * mean, 0.0)
        part = (begun + ended) // 2 % _DAY_MS * PARTS // _DAY_MS
        self._fade(ended)
        self._since = np.where(self._seen > 0, self._since, begun)
        usual, blocks = self._usual[part], self._blocks[part]
        known = blocks > 0.5
        deviation = np.where(known, mean - usual, 0.0)
        # What is usual is itself the mean of a few blocks.
        doubt = 1.0 + 1.0 / np.maximum(blocks, 0.5)
        between = self._squares / np.maximum(self._compared, 1.0)
        spread = np.sqrt(np.maximum(between, self._variance / episodes) * doubt)
        steps = np.clip(deviation / np.maximum(spread, _DEVIATION_MIN), -STEP_MAX, STEP_MAX)
        settled = self._settled(ended)
        self._changed *= ~settled
        self._move(np.stack((steps, np.where(_RISE_ONLY, 0.0, -steps))), known & settled, deviation, usual)
        began_anew = self._alarm(ended)
        counted = known & ~began_anew
        self._squares += np.where(counted, deviation * deviation / doubt, 0.0)
        self._compared += counted
        self._seen += 1.0
        self._blocks[part] += 1.0
        self._usual[part] += (mean - self._usual[part]) / self._blocks[part]
        self._variance += (variance - self._variance) / np.minimum(self._seen, 50.0)
        self._last = ended

    def _fade(self, now: int) -> None:
        if self._last >= 0:
            keep = 0.5 ** (max(0, now - self._last) / _HALF_LIFE_MS)
            self._blocks *= keep
            self._squares *= keep
            self._compared *= keep

    def _move(self, steps: Array, watched: npt.NDArray[np.bool_], deviation: Array, usual: Array) -> None:
        """Move the charts of what is watched; a chart at zero has no run."""
        chart = np.where(watched, np.maximum(self._chart + steps - SLACK, 0.0), self._chart)
        on = watched & (chart > 0.0)
        off = watched & (chart <= 0.0)
        self._chart = chart
        self._run = np.where(off, 0.0, self._run + on)
        self._moved = np.where(off, 0.0, self._moved + on * deviation)
        self._from = np.where(off, 0.0, self._from + on * usual)

    def _alarm(self, now: int) -> npt.NDArray[np.bool_]:
        """Tell what has passed the limit, and learn it anew; which these are."""
        passed: npt.NDArray[np.bool_] = self._chart.max(axis=0) > LIMIT
        for n in np.flatnonzero(passed).tolist():
            way = int(self._chart[:, n].argmax())
            run = self._run[way, n]
            moved, usual = self._moved[way, n] / run, self._from[way, n] / run
            size = moved / math.sqrt(max(self._variance[n], _DEVIATION_MIN**2))
            self.alarms = [*self.alarms, Alarm(now, WATCHED[n], float(usual), float(usual + moved), float(size))]
            self.alarms = self.alarms[-ALARMS_MAX:]
            self._counts[n] += 1.0
            self._changed[n] = 1.0
            for table in (self._usual, self._blocks, self._chart, self._run, self._moved, self._from):
                table[:, n] = 0.0
            for row in (self._squares, self._compared, self._variance, self._seen):
                row[n] = 0.0
            self._since[n] = now
        return passed


#: The arrays of a `Drift` that are its state.
_ARRAYS: Final = (
    "counts", "changed", "usual", "blocks", "squares", "compared", "variance", "seen", "since", "chart", "run", "moved",
    "from", "sums",
)  # fmt: skip

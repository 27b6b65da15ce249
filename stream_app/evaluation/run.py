"""The pass: every tick is scored by all, then what it has resolved is written down and learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.core.events import EVENT_CODE
from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.plan import WithoutReasons
from stream_app.core.records import Keys
from stream_app.evaluation.batch_models import Fitted, fit
from stream_app.evaluation.columns import CHUNK_ROWS, Columns
from stream_app.evaluation.contenders import Frozen, Online
from stream_app.evaluation.counts import Counts
from stream_app.evaluation.folding import Folded, Folder, SessionKey
from stream_app.evaluation.history import History, Progress, event_time, ticks
from stream_app.evaluation.inputs import inputs
from stream_app.evaluation.leaks import Leak, column_aucs, later_events, single_columns
from stream_app.evaluation.names import Names
from stream_app.evaluation.question import Question
from stream_app.evaluation.training_rows import TrainingRows

#: Events of a tick at most, as of a worker's batch.
_TICK_EVENTS_MAX: Final = 4_000

#: Rows that wait to be scored by the batch models of their fold, a call of which costs as much as a thousand rows.
_WAITING_MAX: Final = 8_192

#: The event at which a well-known talk judges its models, and so do we, besides.
THIRD: Final = 3

#: Bits of a row's `stage`.
BEFORE_CART: Final = 1
BEFORE_CHECKOUT: Final = 2
IS_PURCHASE: Final = 4

_CARTS, _CHECKOUTS = FEATURE_NAMES.index("n_cart"), FEATURE_NAMES.index("n_checkout")


@dataclass(slots=True)
class Waiting:
    """A scored event that waits for its outcome."""

    p: npt.NDArray[np.float64]
    colds: tuple[bool, ...]
    inputs: npt.NDArray[np.float32]
    stage: int
    fold: int


@dataclass(slots=True)
class Fold:
    """A stretch of the test: where it begins (ms), the thresholds fixed on the past, and what was fitted there."""

    start_ms: int
    #: by contender; for F1 on all rows, and for a balanced test of third events
    thresholds: npt.NDArray[np.float64]
    thresholds_third: npt.NDArray[np.float64]
    fitted: list[Fitted]
    training_rows: int


@dataclass(slots=True)
class Results:
    """What a pass leaves behind: rows on disk, and what was done when."""

    contenders: tuple[str, ...]
    rows: Columns
    names: Names
    horizon_ms: int
    folds: list[Fold] = field(default_factory=list)
    events: int = 0
    sessions: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    cold_in_test: Counter[str] = field(default_factory=Counter)
    #: online models that learning has made useless, and how
    broken: dict[str, str] = field(default_factory=dict)
    #: sessions that were open at the end: their last rows have no label
    open_at_end: int = 0
    training_share: float = 1.0
    leaks: list[Leak] = field(default_factory=list)
    column_aucs: dict[str, float] = field(default_factory=dict)


class Panel(WithoutReasons):
    """All online contenders and frozen twins as one scorer. Whose score the core sees makes no difference to any."""

    version, updates, cold = 0, 0, False
    bands = None

    def __init__(self, question: Question) -> None:
        self.online = [
            Online(variant, base_rate=question.base_rate, hold_ms=question.hold_ms) for variant in question.online
        ]
        self.frozen: list[Frozen] = []
        self._width = len(question.contenders)
        self.name = question.online[0].name
        self.p: npt.NDArray[np.float64] = np.empty((0, self._width))
        #: whether each online contender served the base rate
        self.colds: tuple[bool, ...] = ()

    def freeze(self) -> None:
        """Replace the frozen twins by ones as of now."""
        self.frozen = [contender.frozen() for contender in self.online]

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        """Everybody's scores into `p`; the first contender's are given back."""
        self.colds = tuple(contender.cold for contender in self.online)
        self.p = np.full((len(x), self._width), np.nan)
        everybody: list[Online | Frozen] = [*self.online, *self.frozen]
        for column, contender in enumerate(everybody):
            self.p[:, column] = contender.score_many(x, keys)
        return self.p[:, 0]


class Pass:
    """One reading of a history with a question."""

    def __init__(self, question: Question, history: History, directory: Path) -> None:
        self._question = question
        self._panel = Panel(question)
        self._directory = directory
        self._folder = Folder(question.rules, directory)
        self._history = history
        self._starts = question.boundaries(history.survey)
        self._training = TrainingRows(directory, rows_max=question.training_rows_max)
        self._waiting: dict[SessionKey, dict[int, Waiting]] = {}
        #: row, inputs and fold of what batch models have yet to score
        self._unscored: list[tuple[int, npt.NDArray[np.float32], int]] = []
        width = len(question.contenders)
        self.results = Results(
            question.contenders,
            Columns(
                directory / "results",
                {
                    "p": (np.float64, width),
                    "label": (np.uint8, 0),
                    "weight": (np.float64, 0),
                    "events": (np.int32, 0),
                    "episode_length": (np.int32, 0),
                    "time": (np.int64, 0),
                    "known": (np.int64, 0),
                    "event_type": (np.uint8, 0),
                    "stage": (np.uint8, 0),
                    "fold": (np.int16, 0),
                    "session": (np.uint64, 0),
                    "category": (np.int32, 0),
                    "source": (np.int32, 0),
                    "name": (np.int64, 0),
                },
            ),
            Names(directory),
            question.horizon(history.survey),
        )
        self._past = Counts(len(question.online))
        self._past_third = Counts(len(question.online))
        self._past_rows = 0

    def run(self, progress: Progress) -> Results:
        """Read everything once."""
        rules = self._question.rules
        self.results.leaks += later_events(self._history.events(), rules, self._directory / "leaks")
        done, total = 0, self._history.survey.events
        stream = ticks(
            self._history.events(),
            freshness_ms=self._question.freshness_ms,
            cuts=self._starts,
            events_max=_TICK_EVENTS_MAX,
        )
        said = 0
        for tick in stream:
            for start in self._starts[len(self.results.folds) :]:
                if event_time(tick[0]) >= start:
                    self._begin_fold(progress)
            folded = self._folder.fold(tick, self._panel)
            self._expect(folded)
            self._resolve(folded)
            done += len(tick)
            if done >= said:
                progress("scoring and learning", done, total)
                said = done + 500
        progress("scoring and learning", total, total)
        self._score_batch()
        self.results.rows.flush()
        self.results.events = done
        self.results.open_at_end = len(self._waiting)
        self.results.refused.update({c.name: c.refused for c in self._panel.online if c.refused})
        self.results.broken = {c.name: told for c in self._panel.online if (told := c.broken()) is not None}
        self.results.training_share = self._training.session_share
        self.results.column_aucs = column_aucs(self._training.all())
        self.results.leaks += single_columns(self.results.column_aucs)
        return self.results

    def close(self) -> None:
        """Let go of the files."""
        self._folder.close()
        self._training.close()
        self.results.rows.close()
        self.results.names.close()

    # ---- a fold begins ----------------------------------------------------------------------------------------------

    def _begin_fold(self, progress: Progress) -> None:
        question, number = self._question, len(self.results.folds)
        self._catch_up_with_the_past()
        rows = self._training.all()
        fitted = []
        for n, variant in enumerate(question.batch):
            progress(f"fitting, fold {number + 1}", n, len(question.batch))
            fitted.append(fit(variant, rows))
        if question.batch:
            progress(f"fitting, fold {number + 1}", len(question.batch), len(question.batch))
        if question.frozen:
            self._panel.freeze()
        online = [self._past.best_f1(n)[0] for n in range(len(question.online))]
        third = [self._past_third.best_f1(n, balanced=True)[0] for n in range(len(question.online))]
        twins = 2 if question.frozen else 1
        self.results.folds.append(
            Fold(
                self._starts[number],
                np.array([*online * twins, *(_threshold(chosen) for chosen in fitted)]),
                np.array([*third * twins, *(_threshold_third(chosen) for chosen in fitted)]),
                fitted,
                len(self._training),
            )
        )

    def _catch_up_with_the_past(self) -> None:
        """Count the rows that have come to be known since the last fold began, for the thresholds."""
        rows, online = self.results.rows, len(self._question.online)
        for start in range(self._past_rows, len(rows), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            p = np.array(rows.column("p")[part, :online])
            label, weight, events = (np.array(rows.column(name)[part]) for name in ("label", "weight", "events"))
            self._past.add(p, label, weight)
            third = events == THIRD
            self._past_third.add(p[third], label[third], weight[third])
        self._past_rows = len(rows)

    # ---- a tick -----------------------------------------------------------------------------------------------------

    def _expect(self, folded: Folded) -> None:
        """Keep what everybody said of each event until its outcome comes."""
        if not folded.scored:
            return
        panel, fold = self._panel, len(self.results.folds) - 1
        p, x = panel.p, folded.x
        matrix = inputs(x, folded.keys, panel.online[0].learner.model.priors.table)
        stages = BEFORE_CART * (x[:, _CARTS] == 0) + BEFORE_CHECKOUT * (x[:, _CHECKOUTS] == 0)
        if fold >= 0:
            served = zip(panel.online, panel.colds, strict=True)
            self.results.cold_in_test.update({c.name: len(folded.scored) for c, cold in served if cold})
        for n, scored in enumerate(folded.scored):
            waiting = Waiting(p[n], panel.colds, matrix[n], int(stages[n]), fold)
            self._waiting.setdefault((scored.visitor_id, scored.session_id), {})[scored.events] = waiting

    def _resolve(self, folded: Folded) -> None:
        """Write down and learn what has come to be known, then forget the sessions that ended."""
        outcomes = self._question.outcomes(folded)
        lengths = Counter((example.visitor_id, example.session_id, example.position[:2]) for example in outcomes)
        for example in outcomes:
            key = (example.visitor_id, example.session_id)
            samples = lengths[(*key, example.position[:2])]
            self._take(key, example, folded.time, round(samples * example.weight))
        for key in folded.closed:
            self.results.sessions += 1
            self._waiting.pop(key, None)

    def _take(self, key: SessionKey, example: TypedExample, known: int, length: int) -> None:
        waiting = self._waiting[key].pop(example.events)
        session = int.from_bytes(blake2b("\0".join(key).encode(), digest_size=8).digest())
        results, names = self.results, self.results.names
        judged = waiting.fold if example.event_time <= results.horizon_ms else -1
        results.rows.append(
            {
                "p": waiting.p,
                "label": example.label,
                "weight": example.weight,
                "events": example.events,
                "episode_length": length,
                "time": example.event_time,
                "known": known,
                "event_type": EVENT_CODE[example.event_type],
                "stage": waiting.stage | IS_PURCHASE * (example.event_type == "purchase"),
                "fold": judged,
                "session": session,
                "category": names.code(example.keys.category),
                "source": names.code(example.keys.source),
                "name": names.place(key),
            }
        )
        self._training.add(
            waiting.inputs, label=example.label, weight=example.weight, events=example.events, session=session
        )
        if self._question.batch and judged >= 0:
            self._unscored.append((len(results.rows) - 1, waiting.inputs, judged))
            if len(self._unscored) >= _WAITING_MAX:
                self._score_batch()
        for column, contender in enumerate(self._panel.online):
            contender.learn(example, score=float(waiting.p[column]), cold=waiting.colds[column])

    def _score_batch(self) -> None:
        """Let the batch models say what they had said: each of the fold in which the event was scored."""
        if not self._unscored:
            return
        p: Any = self.results.rows.column("p")
        first = len(self._question.contenders) - len(self._question.batch)
        for number in sorted({fold for _, _, fold in self._unscored}):
            chosen = [entry for entry in self._unscored if entry[2] == number]
            places = np.array([place for place, _, _ in chosen])
            matrix = np.stack([row for _, row, _ in chosen])
            for n, fitted in enumerate(self.results.folds[number].fitted):
                p[places, first + n] = fitted.predict(matrix)
        self._unscored = []


def _threshold(fitted: Fitted) -> float:
    """What is best for F1 on the rows that are there to choose by."""
    counts = Counts(1)
    counts.add(fitted.validation["p"], fitted.validation["label"], fitted.validation["weight"])
    return counts.best_f1(0)[0]


def _threshold_third(fitted: Fitted) -> float:
    third = fitted.validation["events"] == THIRD
    counts = Counts(1)
    counts.add(*(fitted.validation[name][third] for name in ("p", "label", "weight")))
    return counts.best_f1(0, balanced=True)[0]

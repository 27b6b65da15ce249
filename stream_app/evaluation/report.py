"""Results → the report: one plain value that is printed, written as JSON, and drawn. All times in it are UTC text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.evaluation.bootstrap import DRAWN, Draws, draws, only
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.counts import Counts, Figures
from stream_app.evaluation.delays import delays
from stream_app.evaluation.history import Progress, Survey
from stream_app.evaluation.mistakes import mistakes
from stream_app.evaluation.noise import calibration_noise
from stream_app.evaluation.question import Question
from stream_app.evaluation.run import Results
from stream_app.evaluation.slices import SLICES, Slice, in_fold, tested, third_event
from stream_app.evaluation.windows import windows

#: Draws of the bootstrap unless told otherwise: the ends of a 95 % interval are then the 5th and 195th.
DRAWS: Final = 200

Report = dict[str, Any]


def make_report(question: Question, survey: Survey, results: Results, *, drawn: int, progress: Progress) -> Report:
    """Everything that is told, from the rows on disk; sessions are drawn `drawn` times for the intervals."""
    judge = _Judge(results, drawn, progress)
    whole = judge.counts(tested)
    models = judge.models(whole, tested, "all")
    for name, noise in zip(results.contenders, judge.noise(), strict=True):
        models[name]["ece_by_chance"] = number(noise)
    report: Report = {
        "history": _history(survey, results),
        "setting": _setting(question, results),
        "models": models,
        "models_by_sampled_row": judge.models(judge.counts(tested, weighted=False), None, "each row once"),
        "slices": {name: judge.models(judge.counts(mask), None, name) for name, mask in SLICES.items()},
        "third_event": judge.third(),
        "folds": [
            {
                "start": when(fold.start_ms),
                "training_rows": fold.training_rows,
                "settings": {
                    variant.name: fitted.settings for variant, fitted in zip(question.batch, fold.fitted, strict=True)
                },
                "models": models
                if len(results.folds) == 1
                else judge.models(judge.counts(in_fold(n)), in_fold(n), f"fold {n + 1}"),
            }
            for n, fold in enumerate(results.folds)
        ],
        "reliability": {
            name: whole.calibration(model).round(6).tolist() for model, name in enumerate(results.contenders)
        },
        "curves": {name: _thinned(whole.curves(model)) for model, name in enumerate(results.contenders)},
        "windows": windows(results),
        "label_delay_s": delays(results),
        "mistakes": mistakes(results),
        "checks": {
            "leaks": [leak._asdict() for leak in results.leaks],
            "strongest_columns": dict(
                sorted(((name, number(auc)) for name, auc in results.column_aucs.items()), key=_auc_of)[:10]
            ),
        },
    }
    return report


class _Judge:
    """Counts and intervals over parts of the rows."""

    def __init__(self, results: Results, drawn: int, progress: Progress) -> None:
        self._results = results
        self._drawn = drawn
        self._progress = progress
        self._thresholds = np.stack([fold.thresholds for fold in results.folds])
        self._thirds = np.stack([fold.thresholds_third for fold in results.folds])

    def counts(self, mask: Slice, *, third: bool = False, weighted: bool = True) -> Counts:
        counts = Counts(len(self._results.contenders))
        for chunk in self._rows(mask):
            weight = chunk["weight"] if weighted else np.ones(len(chunk["label"]))
            counts.add(chunk["p"], chunk["label"], weight, self._of(third)(chunk))
        return counts

    def models(self, counts: Counts, drawn_from: Slice | None, name: str) -> Report:
        """By model; with intervals where `drawn_from` says of which rows."""
        found = self._draws(drawn_from, name) if drawn_from is not None else None
        return {
            contender: plain(counts.figures(model)) | _intervals(found, model)
            for model, contender in enumerate(self._results.contenders)
        }

    def noise(self) -> npt.NDArray[np.float64]:
        """The calibration errors of chance alone."""
        return calibration_noise(self._rows(tested), models=len(self._results.contenders))

    def third(self) -> Report:
        """The third event: as it comes, and as if half of the sessions there bought."""
        counts = self.counts(third_event, third=True)
        found = self._draws(third_event, "event 3", third=True)
        return {
            name: {
                "base_rate": number(counts.figures(model).base_rate),
                "roc_auc": number(counts.figures(model).roc_auc),
                "f1_balanced": number(counts.balanced_f1(model)),
                "f1_balanced_best": number(counts.best_f1(model, balanced=True)[1]),
                "f1_balanced_all_positive": round(2 / 3, 4),
                **_intervals(found, model),
            }
            for model, name in enumerate(self._results.contenders)
        }

    def _draws(self, mask: Slice, name: str, *, third: bool = False) -> Draws | None:
        if not self._drawn:
            return None
        self._progress(f"drawing sessions, {name}", 0, None)
        models = len(self._results.contenders)
        return draws(self._rows(mask), self._of(third), models=models, number=self._drawn)

    def _rows(self, mask: Slice) -> Iterator[Chunk]:
        return only(self._results.rows.chunks(), mask)

    def _of(self, third: bool) -> Callable[[Chunk], npt.NDArray[np.float64]]:
        chosen = self._thirds if third else self._thresholds
        return lambda chunk: np.asarray(chosen[chunk["fold"]])


def plain(figures: Figures) -> Report:
    """Figures as JSON has them: rounded to six digits, null where not defined."""
    return {name: value if isinstance(value, int) else number(value) for name, value in figures._asdict().items()} | {
        "skill": number(1 - figures.log_loss / figures.log_loss_constant if figures.log_loss_constant else math.nan)
    }


def number(value: float) -> float | None:
    """A number as JSON has it."""
    return round(float(value), 6) if math.isfinite(value) else None


def when(time_ms: int) -> str:
    """An event time as text."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _intervals(found: Draws | None, model: int) -> Report:
    if found is None:
        return {}
    return {
        "interval": {figure: [number(end) for end in found.interval(model, figure)] for figure in DRAWN},
        "less_first": {figure: [number(end) for end in found.difference(model, 0, figure)] for figure in DRAWN},
    }


def _auc_of(entry: tuple[str, float | None]) -> tuple[float, str]:
    return -(entry[1] or 0.0), entry[0]


def _history(survey: Survey, results: Results) -> Report:
    return {
        "events": survey.events,
        "rejected": dict(survey.rejected),
        "first": when(survey.first_ms),
        "last": when(survey.last_ms),
        "judged_until": when(results.horizon_ms),
        "sessions_ended": results.sessions,
        "sessions_open_at_the_end": results.open_at_end,
        "sorted_on_disk": sorted(path.name for path in survey.unordered),
    }


def _setting(question: Question, results: Results) -> Report:
    rules = question.rules
    return {
        "online": [variant.name for variant in question.online],
        "batch": [variant.name for variant in question.batch],
        "freshness_s": question.freshness_ms / 1000,
        "session_gap_s": rules.gap_ms / 1000,
        "reservoir_size": rules.reservoir_size,
        "label_hold_s": question.hold_ms / 1000,
        "assumed_base_rate": question.base_rate,
        "training_session_share": results.training_share,
        "refused_examples": dict(results.refused),
        "broken_models": results.broken,
        "events_scored_cold_in_test": dict(results.cold_in_test),
    }


def _thinned(curve: npt.NDArray[np.float64], points: int = 200) -> list[list[float]]:
    """A curve with few points, ends included."""
    if len(curve) > points:
        curve = curve[np.unique(np.linspace(0, len(curve) - 1, points).astype(int))]
    thin: list[list[float]] = curve.round(5).tolist()
    return thin

"""What the learner knows of its scores, as gauges: how good they were, what has drifted, who serves.

Some seven hundred series of the one process that learns, which take 5 to 15 ms: so they are set every few seconds and
not with every snapshot. `observe.Observer` owns it, and says in the log what is news.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from stream_app.core.drift import WATCHED
from stream_app.core.prequential import SLICES
from stream_app.core.score_counts import SHOWN_FROM_EXAMPLES_OF_A_CLASS, Quality, ScoreCounts
from stream_app.metrics import Metrics

if TYPE_CHECKING:
    from stream_app.core.learner import Learner

#: Bins of the reliability curve: enough to see its shape, each with a tenth of the scores.
RELIABILITY_BINS: Final = 10

#: Field of `Quality` → gauge.
_FIGURES: Final = {
    "log_loss": "intent_log_loss",
    "log_loss_constant": "intent_log_loss_constant",
    "roc_auc": "intent_roc_auc",
    "pr_auc": "intent_pr_auc",
    "base_rate": "intent_base_rate",
    "mean_score": "intent_mean_score",
    "brier": "intent_brier_score",
    "ece": "intent_calibration_error",
    "f1": "intent_f1",
    "f1_all_positive": "intent_f1_all_positive",
    "examples": "intent_quality_examples",
}


class QualityGauges:
    """Sets the gauges of a learner."""

    def __init__(self, metrics: Metrics) -> None:
        self._figures = [_OfSlices(metrics, window, name) for window in ("total", "recent") for name in SLICES]
        self._threshold = metrics.gauge("intent_f1_threshold")
        self._alarms = metrics.counter("intent_drift_alarms_total")
        self._alarmed: dict[str, int] = {}
        self._changed = metrics.gauge("intent_drift_changed")
        self._level = metrics.gauge("intent_drift_level")
        self._last_alarm = metrics.gauge("intent_drift_last_alarm_time_seconds")
        self._champion = metrics.gauge("intent_champion")
        self._pinned = metrics.gauge("intent_champion_pinned")
        self._changes = metrics.counter("intent_champion_changes_total")
        self._changes_counted = 0
        self._log_loss = metrics.gauge("intent_model_log_loss")
        self._difference = metrics.gauge("intent_model_log_loss_difference")
        self._z = metrics.gauge("intent_model_log_loss_difference_z")
        self._calibrator = metrics.gauge("intent_calibrator_serving")
        self._band = metrics.gauge("intent_band_min")

    def begin(self, *, changes: int) -> None:
        """Count changes of champion from here on: those of before the process are no event of this one."""
        self._changes_counted = changes

    def show(self, learner: Learner) -> None:
        """Set all of them."""
        self._show_quality(learner)
        self._show_drift(learner)
        self._show_models(learner)

    def _show_quality(self, learner: Learner) -> None:
        prequential = learner.prequential
        for gauges in self._figures:
            counts = prequential.total if gauges.window == "total" else prequential.window
            gauges.show(counts(gauges.slice))
        self._threshold.set(prequential.threshold if prequential.threshold < 1.0 else math.nan)

    def _show_drift(self, learner: Learner) -> None:
        drift = learner.drift
        for what, count in drift.counts().items():
            # The learner's own count goes on after a restart; a series is there, at 0, before its first alarm.
            self._alarms.labels(what).inc(max(0, count - self._alarmed.get(what, 0)))
            self._alarmed[what] = max(count, self._alarmed.get(what, 0))
        for gauge, values in ((self._changed, drift.changed()), (self._level, drift.levels())):
            for what in WATCHED:
                gauge.labels(what).set(values[what])
        self._last_alarm.set(drift.alarms[-1].time / 1000 if drift.alarms else math.nan)

    def _show_models(self, learner: Learner) -> None:
        # One may have left: only those that learn now are shown.
        for gauge in (self._champion, self._log_loss, self._difference, self._z, self._calibrator):
            gauge.clear()
        for name, contender in learner.contenders.items():
            standing = contender.standing()
            known = standing.examples > 0
            self._champion.labels(name).set(name == learner.champion.name)
            self._calibrator.labels(name).set(contender.model.calibrator.serving)
            self._log_loss.labels(name).set(standing.log_loss if known else math.nan)
            if name != learner.champion.name:
                self._difference.labels(name).set(standing.difference if known else math.nan)
                self._z.labels(name).set(standing.z if known else math.nan)
        self._pinned.set(learner.champion.pinned)
        self._changes.inc(max(0, learner.champion.changed - self._changes_counted))
        self._changes_counted = max(self._changes_counted, learner.champion.changed)
        fence, likely = learner.bands.bands
        self._band.labels("on_the_fence").set(fence)
        self._band.labels("likely").set(likely)


class _OfSlices:
    """The gauges of one window and slice."""

    def __init__(self, metrics: Metrics, window: str, name: str) -> None:
        self.window, self.slice = window, name
        self._figures: list[tuple[str, Gauge]] = [
            (field, metrics.gauge(gauge).labels(window, name)) for field, gauge in _FIGURES.items()
        ]
        self._curve = [
            tuple(
                metrics.gauge(gauge).labels(window, name, str(n + 1))
                for gauge in ("intent_reliability_score", "intent_reliability_bought")
            )
            for n in range(RELIABILITY_BINS)
        ]

    def show(self, counts: ScoreCounts) -> None:
        quality = counts.quality().shown()
        for field, gauge in self._figures:
            gauge.set(getattr(quality, field))
        rows = counts.reliability(RELIABILITY_BINS).tolist() if _enough(quality) else []
        rows += [[math.nan] * 3] * (RELIABILITY_BINS - len(rows))
        for (score, bought), (_, mean, share) in zip(self._curve, rows, strict=True):
            score.set(mean)
            bought.set(share)


def _enough(quality: Quality) -> bool:
    return min(quality.positives, quality.examples - quality.positives) >= SHOWN_FROM_EXAMPLES_OF_A_CLASS

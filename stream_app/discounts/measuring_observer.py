"""What measuring has to say, said once: each event its log line and its metrics, and the figures as gauges."""

from __future__ import annotations

import logging
import math
from typing import Final

from prometheus_client import Gauge

from stream_app.core.codec import Rejected
from stream_app.discounts.core.figures import ExperimentFigures, Figures
from stream_app.discounts.core.sample_ratio import SampleRatio
from stream_app.discounts.core.settling import Settling
from stream_app.discounts.core.uplift import ALL, ARMS, MEASURES
from stream_app.log_lines import Line
from stream_app.metrics import Metrics

_LOG: Final = logging.getLogger("stream_app")

#: Levels whose learned profit is shown, of an experiment; a policy has a handful.
_LEVELS_SHOWN: Final = 12


class MeasuringObserver:
    """Takes note of what measuring does, on the metrics of its process."""

    def __init__(self, metrics: Metrics) -> None:
        self._errors = metrics.counter("intent_discount_errors_total").labels("kafka")
        self._unreadable = metrics.counter("intent_measuring_unreadable_total")
        self._units = metrics.gauge("intent_experiment_units")
        self._conversions = metrics.gauge("intent_experiment_conversions")
        self._exposures = metrics.gauge("intent_experiment_exposures")
        self._means = {
            measure: metrics.gauge(f"intent_experiment_{measure}_per_visitor") for measure in ("revenue", "profit")
        }
        self._uplift = metrics.gauge("intent_experiment_uplift")
        self._p_value = metrics.gauge("intent_experiment_sample_ratio_p_value")
        self._levels = metrics.gauge("intent_experiment_level_profit")
        self._unused = metrics.gauge("intent_experiment_unused")
        self._not_used = metrics.gauge("intent_measuring_not_used")
        self._alarmed: set[str] = set()
        #: the series of each experiment that is shown
        self._shown: dict[str, set[tuple[Gauge, tuple[str, ...]]]] = {}

    def failed(self, error: Exception) -> None:
        """Kafka failed: everything is read again, and nothing is lost."""
        self._errors.inc()
        _LOG.warning(Line("measuring_failed", error=error))

    def unreadable(self, topic: str, why: Rejected) -> None:
        """A record of ours could not be read; it is left out."""
        self._unreadable.labels(topic).inc()
        _LOG.error(Line("measuring_unreadable", topic=topic, reason=why.reason, detail=why.detail))

    def incomplete(self, topic: str, partition: int, units: int) -> None:
        """Records that orders may have been in were deleted before they were read."""
        _LOG.error(
            Line(
                "measuring_incomplete",
                topic=topic,
                partition=partition,
                units=units,
                what_to_do="keep the topic for longer than window, delay and any outage of this application together",
            )
        )

    def show(self, figures: Figures, settling: Settling) -> None:
        """Bring the gauges up to date; experiments that ended long enough ago to be settled are taken away."""
        current = figures.current(within_ms=settling.window_ms + settling.delay_ms)
        for ended in self._shown.keys() - {found.experiment for found in current}:
            for gauge, labels in self._shown.pop(ended):
                gauge.remove(*labels)
        for found in current:
            self._show(found)
        for name, count in settling.counts.items():
            self._not_used.labels(name).set(count)

    def _show(self, found: ExperimentFigures) -> None:
        for arm in ARMS:
            settled = found.uplift.slices[ALL][arm]
            self._set(found, self._units, arm, "settled", value=settled.n)
            self._set(found, self._units, arm, "open", value=found.open(arm))
            self._set(found, self._conversions, arm, value=settled.converted)
            self._set(found, self._exposures, arm, value=found.exposures[arm])
            for measure, gauge in self._means.items():
                self._set(found, gauge, arm, value=settled.spread(measure).mean if settled.n else math.nan)
        for measure in MEASURES:
            difference = found.uplift.compare(measure, planned=found.planned)
            told = (math.nan,) * 3
            if difference is not None:
                told = (difference.value, *(difference.sequential or (math.nan, math.nan)))
            for bound, value in zip(("estimate", "low", "high"), told, strict=True):
                self._set(found, self._uplift, measure, bound, value=value)
        for reason, count in found.unused.items():
            self._set(found, self._unused, reason, value=count)
        for level, profit in list(found.bandit.profits().items())[:_LEVELS_SHOWN]:
            self._set(found, self._levels, f"{level:g}", value=profit)
        if found.ratio is not None:
            self._set(found, self._p_value, value=found.ratio.p_value)
            self._check(found, found.ratio)

    def _set(self, found: ExperimentFigures, gauge: Gauge, *labels: str, value: float) -> None:
        gauge.labels(found.experiment, *labels).set(value)
        self._shown.setdefault(found.experiment, set()).add((gauge, (found.experiment, *labels)))

    def _check(self, found: ExperimentFigures, ratio: SampleRatio) -> None:
        """Say once that the arms have not their shares."""
        if not ratio.mismatch or found.experiment in self._alarmed:
            return
        self._alarmed.add(found.experiment)
        _LOG.error(
            Line(
                "sample_ratio_mismatch",
                experiment=found.experiment,
                p_value=ratio.p_value,
                **{arm: ratio.counts[arm] for arm in ARMS},
                holdout_share=found.holdout_share,
                what_to_do="believe no figure of it: docs/runbook.md#sampleratiomismatch",
            )
        )

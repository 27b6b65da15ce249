"""What is worth showing of a run at one moment: counts, and what they come to over the last seconds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from stream_app.core.learner import Learner
from stream_app.core.score_counts import Quality
from stream_app.demo.tally import ShownScore, Tally
from stream_app.histogram import HistogramSeries, quantile

#: Rates and latencies are those of so many seconds.
_WINDOW_S: Final = 5.0
#: Points of the AUC's curve; it is thinned out when it is full, so that it always shows the whole run.
_CURVE_POINTS_MAX: Final = 24
#: Between two looks at the quality, in seconds: the recent one goes through 10,000 examples, 8 ms.
_QUALITY_S: Final = 1.0


class Status(NamedTuple):
    """One moment of a run. Seconds are wall clock; `event_time` is ms, 0 before the first event.

    `offers` by what became of them, None where nobody answers any.
    """

    phase: str
    seconds: float
    sent: int
    labels_sent: int
    wanted: int | None
    event_time: int
    scored: int
    repeated: int
    rejected: dict[str, int]
    per_second: float
    latency_p50: float
    latency_p99: float
    sessions_opened: int
    sessions_closed: int
    labels: dict[str, int]
    offers: dict[str, int] | None
    examples: dict[str, int]
    corrections: int
    learned: int
    held: int
    checkouts_learned: int
    cold: bool
    model: str
    version: int
    quality: Quality
    recent: Quality
    third: Quality
    curve: list[float]
    last: list[ShownScore]


class Watch:
    """Looks at the parts of a run and says how it stands."""

    def __init__(
        self,
        tally: Tally,
        latency: HistogramSeries,
        learner: Callable[[], Learner],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally = tally
        self._latency = latency
        self._learner = learner
        self._now = now
        #: Set by the one who feeds.
        self.phase = "starting"
        self.sent = self.labels_sent = self.event_time = 0
        self.wanted: int | None = None
        self.offers: dict[str, int] | None = None
        self.rejected_rows: Counter[str] = Counter()
        self._begun = self._ended = 0.0
        self._past: deque[tuple[float, int, list[int]]] = deque()
        self._quality: tuple[Quality, Quality] | None = None
        self._quality_time = 0.0
        self._curve: list[float] = []
        self._curve_step, self._curve_skipped = 1, 0

    def begin(self) -> None:
        """The first event is about to be sent."""
        self._begun = self._now()
        self._past.clear()  # waiting for the first event is not part of any rate
        self.phase = "running"

    def end(self) -> None:
        """The last event has been scored: the clock stands still."""
        if self._begun and not self._ended:
            self._ended = self._now()

    def status(self) -> Status:
        """How the run stands; the rate and the latencies are of the last seconds."""
        now, tally, learner = self._now(), self._tally, self._learner()
        per_second, p50, p99 = self._recently(now)
        quality, recent = self._how_good(now, learner)
        return Status(
            phase=self.phase,
            seconds=(self._ended or now) - self._begun if self._begun else 0.0,
            sent=self.sent,
            labels_sent=self.labels_sent,
            wanted=self.wanted,
            event_time=self.event_time,
            scored=tally.scored,
            repeated=tally.events["duplicate"] + tally.events["replayed"],
            rejected=dict(tally.rejected + self.rejected_rows),
            per_second=per_second,
            latency_p50=p50,
            latency_p99=p99,
            sessions_opened=tally.sessions_opened,
            sessions_closed=tally.sessions_closed,
            labels=dict(tally.labels),
            offers=self.offers,
            examples=dict(tally.examples),
            corrections=tally.corrections,
            learned=learner.updates,
            held=len(learner.held),
            checkouts_learned=learner.positives,
            cold=learner.cold,
            model=learner.champion.name,
            version=learner.version,
            quality=quality,
            recent=recent,
            third=learner.prequential.third_event().shown(),
            curve=list(self._curve),
            last=tally.last_scores(),
        )

    def overall(self) -> dict[str, Any]:
        """The run's sum, as JSON values; a metric that says nothing yet is None."""
        self._quality = None
        status = self.status()
        quality = status.quality
        return {
            "seconds": round(status.seconds, 3),
            "events_sent": status.sent,
            "labels_sent": status.labels_sent,
            "scores": status.scored,
            "repeated": status.repeated,
            "rejected": status.rejected,
            "events_per_second": round(status.scored / status.seconds, 1) if status.seconds else 0.0,
            "latency_p50_seconds": _number(quantile(self._latency.bounds, self._latency.counts, 0.5)),
            "latency_p99_seconds": _number(quantile(self._latency.bounds, self._latency.counts, 0.99)),
            "sessions_opened": status.sessions_opened,
            "sessions_closed": status.sessions_closed,
            "labels": status.labels,
            "offers": status.offers,
            "examples": status.examples,
            "corrections": status.corrections,
            "examples_learned": status.learned,
            "examples_held": status.held,
            "checkouts_learned": status.checkouts_learned,
            "roc_auc": _number(quality.roc_auc),
            "roc_auc_recent": _number(status.recent.roc_auc),
            "roc_auc_third_event": _number(status.third.roc_auc),
            "pr_auc": _number(quality.pr_auc),
            "log_loss": _number(quality.log_loss),
            "log_loss_constant": _number(quality.log_loss_constant),
            "base_rate": _number(quality.base_rate),
            "mean_score": _number(quality.mean_score),
            "quality_examples": quality.examples,
            "model": status.model,
            "model_version": status.version,
            "cold": status.cold,
        }

    def _recently(self, now: float) -> tuple[float, float, float]:
        counts = self._latency.counts
        self._past.append((now, self._tally.scored, counts))
        while len(self._past) > 2 and self._past[1][0] <= now - _WINDOW_S:
            self._past.popleft()
        then, scored, before = self._past[0]
        new = [count - old for count, old in zip(counts, before, strict=True)]
        per_second = (self._tally.scored - scored) / (now - then) if now > then else 0.0
        bounds = self._latency.bounds
        return per_second, quantile(bounds, new, 0.5), quantile(bounds, new, 0.99)

    def _how_good(self, now: float, learner: Learner) -> tuple[Quality, Quality]:
        if self._quality is None or now - self._quality_time >= _QUALITY_S:
            self._quality = learner.prequential.since_start().shown(), learner.prequential.recent().shown()
            self._quality_time = now
            self._draw(self._quality[1].roc_auc)
        return self._quality

    def _draw(self, auc: float) -> None:
        """Add a point to the curve; when it is full every second point goes, and half as many come from then on."""
        self._curve_skipped += 1
        if auc != auc or self._curve_skipped < self._curve_step:
            return
        self._curve_skipped = 0
        self._curve.append(auc)
        if len(self._curve) > _CURVE_POINTS_MAX:
            self._curve = self._curve[1::2]
            self._curve_step *= 2


def _number(value: float) -> float | None:
    return None if value != value else round(value, 6)

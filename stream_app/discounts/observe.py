"""What happens in the discount application, said once: each event becomes its log line and its metrics here.

As in `stream_app/observe.py`: WARNING is recovered, ERROR is for a person; what repeats while an outage lasts is told
once and at its end.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector

from stream_app import __version__
from stream_app.discounts.core.deciding import REASONS
from stream_app.discounts.core.timing import Window
from stream_app.log_lines import Line
from stream_app.metrics import Metrics
from stream_app.partition_gauges import PerPartition

if TYPE_CHECKING:
    from stream_app.discounts.deliberation import Deliberation
    from stream_app.discounts.partition import Partition

_LOG: Final = logging.getLogger("stream_app")

#: What may become of a moment beside the core's `REASONS`: it tells of a checkout (`bought`); the rule is `bandit`, and
#: what it has learned is not there yet (`not_ready`); it is no moment (`rejected`).
OUTCOMES: Final = ("bought", "not_ready", "rejected")

_STATES: Final = ("restoring", "ready", "fenced", "stopped")


class DiscountObserver:
    """Takes note of everything. One per process; `registry` is where the metrics are shown."""

    def __init__(
        self, metrics: Metrics, registry: CollectorRegistry, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        ProcessCollector(namespace="intent", registry=registry)
        metrics.gauge("intent_build_info").labels(__version__, platform.python_version(), "python", "").set(1)
        self._monotonic = monotonic
        self._ready = metrics.gauge("intent_ready")
        self._moments = metrics.counter("intent_discount_moments_total")
        self._exposures = metrics.counter("intent_discount_exposures_total")
        self._offers = metrics.counter("intent_discount_offers_total")
        self._offer_seconds = metrics.histogram("intent_discount_offer_seconds")
        self._spent = metrics.gauge("intent_discount_spent")
        self._left = metrics.gauge("intent_discount_left")
        self._accounts = metrics.counter("intent_discount_accounts_total")
        self._timers = PerPartition(metrics.gauge("intent_discount_timers"))
        self._timers_refused = metrics.counter("intent_discount_timers_refused_total")
        self._crowded_out = metrics.counter("intent_discount_visitors_crowded_out_total")
        self._policy_info = metrics.gauge("intent_discount_policy_info")
        self._policy_enabled = metrics.gauge("intent_discount_policy_enabled")
        self._policy_errors = metrics.counter("intent_discount_policy_errors_total")
        self._states = metrics.gauge("intent_discount_partition_state")
        self._restore_seconds = metrics.histogram("intent_discount_restore_seconds").labels()
        self._fenced = metrics.counter("intent_discount_fenced_total")
        self._inbox = PerPartition(metrics.gauge("intent_discount_inbox_records"))
        self._progress = PerPartition(metrics.gauge("intent_discount_progress_age_seconds"))
        self._errors = metrics.counter("intent_discount_errors_total")
        self._since = math.nan
        metrics.gauge("intent_discount_policy_age_seconds").set_function(lambda: self._monotonic() - self._since)
        # Series that begin with their first count would hide it from a rate.
        for outcome in (*REASONS, *OUTCOMES):
            self._moments.labels(outcome)
        for arm in ("treatment", "holdout"):
            self._exposures.labels(arm)
        for what in ("kafka", "redis"):
            self._errors.labels(what)
        for what in ("lost", "opened"):
            self._accounts.labels(what)

    def readiness(self, ready: Callable[[], tuple[bool, str]]) -> None:
        """Ask at each scrape."""
        self._ready.labels("discounts").set_function(lambda: float(ready()[0]))

    # ---- partitions -------------------------------------------------------------------------------------------------

    def own(self, partition: Partition) -> None:
        """Show a partition's own figures from now on."""
        self._progress.ask(partition.number, lambda: self._monotonic() - partition.progress)

    def disown(self, partition: Partition) -> None:
        """… and no longer."""
        for gauge in (self._progress, self._inbox, self._timers):
            gauge.drop(partition.number)

    def state(self, partition: int, state: str, problem: str) -> None:
        """A partition's state is told; DEBUG, what matters is told by its cause."""
        for each in _STATES:
            self._states.labels(str(partition), each).set(float(each == state))
        _LOG.debug(Line("discounts_partition", partition=partition, state=state, problem=problem))

    def restored(self, partition: int, exposures: int, timers: int, seconds: float) -> None:
        """A partition was taken over."""
        self._restore_seconds.observe(seconds)
        _LOG.info(
            Line("discounts_ready", partition=partition, exposures=exposures, timers=timers, seconds=round(seconds, 2))
        )

    def batch(self, partition: Partition, deliberation: Deliberation, *, now_ms: int, told_ms: list[int]) -> None:
        """A batch was written and remembered; `told_ms`: when each of its causes was told, by the wall's clock."""
        for outcome, count in deliberation.outcomes.items():
            self._moments.labels(outcome).inc(count)
        for (exposure, offer), since_ms in zip(deliberation.decided, told_ms, strict=True):
            self._exposures.labels(exposure.arm).inc()
            if offer is not None:
                self._offers.labels(exposure.kind).inc()
                self._offer_seconds.labels(exposure.kind).observe(max(0, now_ms - since_ms) / 1000)
        inbox, timers = partition.sizes
        self._inbox.set(partition.number, inbox)
        self._timers.set(partition.number, timers)

    def bounds_hit(self, *, timers: int, visitors: int) -> None:
        """So many sessions could not be waited for, and so many visitors were forgotten early."""
        self._timers_refused.inc(timers)
        self._crowded_out.inc(visitors)

    def rejected(self, partition: int, offset: int, reason: str, detail: str) -> None:
        """A record of the moments or of the closed sessions is none. They are ours: a person has to look."""
        _LOG.error(Line("discounts_rejected", partition=partition, offset=offset, reason=reason, detail=detail))

    def fenced(self, partition: int, error: str) -> None:
        """Another owner writes to the partition."""
        self._fenced.inc()
        _LOG.warning(Line("discounts_fenced", partition=partition, error=error))

    def kafka_error(self, partition: int, error: Exception, *, again: bool) -> None:
        """A call to Kafka failed and will be tried again."""
        self._errors.labels("kafka").inc()
        if not again:
            _LOG.warning(Line("discounts_kafka_error", partition=partition, error=error))

    def redis_error(self, partition: int, error: Exception, *, again: bool) -> None:
        """Redis did not answer: the partition's moments wait."""
        self._errors.labels("redis").inc()
        if not again:
            _LOG.warning(Line("discounts_wait_for_redis", partition=partition, error=error))

    # ---- the budget -------------------------------------------------------------------------------------------------

    def budget_lost(self, partition: int, why: str) -> None:
        """The account in Redis cannot be trusted."""
        self._accounts.labels("lost").inc()
        _LOG.warning(Line("discounts_budget_lost", partition=partition, why=why))

    def budget_opened(self, account: int, exposures: int, seconds: float) -> None:
        """A new account holds what the exposures say was spent."""
        self._accounts.labels("opened").inc()
        _LOG.info(Line("discounts_budget_opened", account=account, exposures=exposures, seconds=round(seconds, 2)))

    def budget(self, *, hour: float, day: float, hour_left: float, day_left: float) -> None:
        """What was spent and what is left, in money."""
        for window, spent, left in (("hour", hour, hour_left), ("day", day, day_left)):
            self._spent.labels(window).set(spent)
            self._left.labels(window).set(left)

    def timing(self, error: Exception, *, again: bool) -> None:
        """What tells of time could not be read: what was learned of purchases' times stays as it is."""
        self._errors.labels("kafka").inc()
        if not again:
            _LOG.warning(Line("discounts_timing_failed", error=error))

    def timing_learned(self, clock: str, windows: Mapping[str | None, Window]) -> None:
        """Enough was read for the bounds that a policy wants learned, for the first time or after a failure."""
        common = windows[None]
        _LOG.info(
            Line(
                "discounts_timing_learned",
                clock=clock,
                earliest_s=round(common.earliest_s, 1),
                latest_s=round(common.latest_s, 1),
                categories=len(windows) - 1,
            )
        )

    # ---- the policy -------------------------------------------------------------------------------------------------

    def policy(self, version: str, *, enabled: bool, replaced: str | None) -> None:
        """A policy came into force."""
        self._since = self._monotonic()
        if replaced is not None and replaced != version:
            self._policy_info.remove(replaced)
        self._policy_info.labels(version).set(1)
        self._policy_enabled.set(float(enabled))
        _LOG.info(Line("discounts_policy", version=version, enabled=enabled, replaced=replaced or ""))

    def policy_refused(self, problem: str, *, kept: str) -> None:
        """A changed policy file cannot be used: somebody meant something by it."""
        self._policy_errors.inc()
        _LOG.error(Line("discounts_policy_refused", problem=problem, kept=kept))

"""Exposures and orders, folded into one outcome for each visitor of an experiment.

    first exposure ├──────────── window ────────────┤── delay ──┤ matured: told once, never changed

A visitor is what is randomised, so a visitor is what counts: once, from its first exposure on, with everything it
ordered within `window_ms`, in whatever session. An outcome is told only when the window is over and `delay_ms` more
have passed, in which late words of orders may still come. To tell buyers as they buy and others when the window ends
would make the newest visitors of both arms look like buyers, and of the arm whose visitors buy sooner more so.

Within the delay nothing depends on the order in which exposures and orders are told, nor on how often each is. An
order that is told by several events (one a row) and by a label is one: what the label says was paid counts, or else the
sum of the rows; the telling that knows of an offer says when, or else the earliest. A purchase event without an order
id is the order of a label that lies within `ORDER_MATCH_MS`, as it is for the engine that scores.

Times of this fold are event times; its clock is told by `advance` and never goes back. An order's price on the list is
what was paid by the share that the offer left; profit = list price × margin − discount, the margin being a share of the
list price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream_app.core.checkouts import ORDER_MATCH_MS
from stream_app.discounts.core.records import Arm, Checkout, Exposure, Outcome
from stream_app.discounts.core.settled import UNITS_MAX, Settled

#: Visitors whose outcome is open at once: some 2 kB each. Further ones are not taken, whatever their arm.
OPEN_MAX: Final = 300_000

#: Orders kept of visitors not exposed so far, in case that their exposure is still to be read: a day of a large shop.
UNEXPOSED_ORDERS_MAX: Final = 200_000

#: Orders and exposures of one visitor that are kept: a person has a handful.
OF_ONE_MAX: Final = 64

#: What is counted of that which is not used, see `Outcomes.counts`.
COUNTED: Final = ("exposures_again", "exposures_late", "orders_late", "orders_crowded_out", "units_refused")


class Open(NamedTuple):
    """What is known so far of an arm's units whose outcome is still open. No estimate is made of it."""

    units: int = 0
    converted: int = 0
    orders: int = 0
    revenue: float = 0.0


class _Unit:
    """A visitor whose outcome is open."""

    def __init__(self, first: Exposure, orders: dict[str, Checkout]) -> None:
        self.first = first
        #: event times by exposure id
        self.exposures = {first.exposure_id: first.event_time}
        self.orders = orders


class Outcomes:
    """The fold of one experiment.

    `margin` is the share of a list price that is profit, `margins` that of single categories: of an order's, or else of
    its visitor's first exposure. `counts` says by name what was not used: exposures and orders that came when they
    could no longer count, and what a bound kept out.

    Raises ValueError if `window_ms` is not positive or `delay_ms` is negative.
    """

    def __init__(
        self,
        experiment: str,
        *,
        window_ms: int,
        delay_ms: int,
        margin: float,
        margins: Mapping[str, float] | None = None,
    ) -> None:
        if window_ms <= 0 or delay_ms < 0:
            raise ValueError(f"outcomes: got window {window_ms} ms and delay {delay_ms} ms, expected > 0 and >= 0")
        self.experiment = experiment
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self._window_ms, self._delay_ms = window_ms, delay_ms
        self._margin, self._margins = margin, dict(margins or {})
        self._clock = -1
        self._units: dict[str, _Unit] = {}
        self._unexposed: dict[str, dict[str, Checkout]] = {}
        self._settled = Settled()
        #: (when it matures, visitor); where an earlier first exposure was read later there is an earlier entry as well
        self._due: list[tuple[int, str]] = []
        #: (when it is forgotten, visitor, order)
        self._forget: list[tuple[int, str, str]] = []
        self._open: dict[Arm, Open] = {"treatment": Open(), "holdout": Open()}

    @property
    def open(self) -> dict[Arm, Open]:
        """By arm, the totals of what is not yet certain."""
        return dict(self._open)

    @property
    def settled(self) -> int:
        """Units whose outcome was told."""
        return len(self._settled)

    def expose(self, exposure: Exposure) -> bool:
        """Take an exposure. True if it is a new unit's first that is read: what the check of the shares counts."""
        if exposure.experiment != self.experiment or exposure.visitor_id in self._settled:
            return False
        visitor_id = exposure.visitor_id
        unit = self._units.get(visitor_id)
        if unit is not None and exposure.exposure_id in unit.exposures:
            self.counts["exposures_again"] += 1
            return False
        if exposure.event_time + self._delay_ms < self._clock:
            # Orders that followed it may be forgotten: who bought would be counted as one who did not.
            self.counts["exposures_late"] += 1
            return False
        if unit is None:
            return self._begin(visitor_id, exposure)
        self._total(unit, -1)
        if len(unit.exposures) < OF_ONE_MAX:
            unit.exposures[exposure.exposure_id] = exposure.event_time
        if (exposure.event_time, exposure.exposure_id) < (unit.first.event_time, unit.first.exposure_id):
            unit.first = exposure
            heappush(self._due, (self._matures(unit), visitor_id))
        self._total(unit, 1)
        return False

    def checkout(self, told: Checkout) -> None:
        """Take an order, or one taken back."""
        visitor_id = told.visitor_id
        unit = self._units.get(visitor_id)
        if unit is not None:
            self._total(unit, -1)
            self._keep(unit.orders, told)
            self._total(unit, 1)
        elif told.time + self._delay_ms < self._clock:
            # Of a visitor that is settled; or of one that was not exposed, whom it does not concern.
            self.counts["orders_late"] += visitor_id in self._settled
        elif visitor_id not in self._settled:
            self._keep(self._unexposed.setdefault(visitor_id, {}), told)
            heappush(self._forget, (told.time + self._delay_ms, visitor_id, told.order_id))
            if len(self._forget) > UNEXPOSED_ORDERS_MAX:
                self.counts["orders_crowded_out"] += self._forget_one()

    def first(self, visitor_id: str) -> Exposure | None:
        """The first exposure known of an open unit; None if there is no such unit."""
        unit = self._units.get(visitor_id)
        return unit.first if unit is not None else None

    def told(self, visitor_id: str) -> None:
        """The visitor's outcome stands in the log already: another process, or this one before a crash, has told it."""
        if visitor_id in self._settled:
            return
        unit = self._units.pop(visitor_id, None)
        if unit is not None:
            self._total(unit, -1)
        self._settled.add(visitor_id)

    def advance(self, now_ms: int) -> list[Outcome]:
        """Move the clock on; the outcomes that are certain by then, by the time since when they are.

        `now_ms` must not run ahead of what was read of exposures and of orders by more than the delay: what comes later
        than that is counted as late.
        """
        self._clock = max(self._clock, now_ms)
        while self._forget and self._forget[0][0] < self._clock:
            self._forget_one()
        matured = []
        while self._due and self._due[0][0] <= self._clock:
            unit = self._units.pop(heappop(self._due)[1], None)
            if unit is not None:
                self._total(unit, -1)
                self._settled.add(unit.first.visitor_id)
                matured.append(self._outcome(unit))
        return matured

    def export(self) -> dict[str, Any]:
        """Plain values and one array (the settled units' hashes) to continue from."""
        return {
            "experiment": self.experiment,
            "spans": [self._window_ms, self._delay_ms],
            "clock": self._clock,
            "counts": dict(self.counts),
            "settled": self._settled.export(),
            "units": [
                [msgspec.to_builtins(u.first), dict(u.exposures), _plain(u.orders)] for u in self._units.values()
            ],
            "unexposed": [_plain(orders) for orders in self._unexposed.values()],
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export` of the same experiment; margins may be others, they apply from now on.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none, or of another experiment, window or delay; nothing has changed then.
        """
        told = (values["experiment"], *values["spans"])
        if told != (self.experiment, self._window_ms, self._delay_ms):
            raise ValueError(
                f"outcomes: got those of {told}, expected {self.experiment, self._window_ms, self._delay_ms}"
            )
        settled = Settled()
        settled.restore(np.asarray(values["settled"]))
        units = [_unit(*of_one) for of_one in values["units"]]
        unexposed = [_orders(of_one) for of_one in values["unexposed"]]
        clock, counts = int(values["clock"]), Counter({name: int(values["counts"][name]) for name in COUNTED})
        self._clock, self.counts, self._settled = clock, counts, settled
        self._units = {unit.first.visitor_id: unit for unit in units}
        self._unexposed = {told.visitor_id: orders for orders in unexposed for told in orders.values()}
        self._due = [(self._matures(unit), visitor_id) for visitor_id, unit in self._units.items()]
        self._forget = [
            (told.time + self._delay_ms, told.visitor_id, told.order_id)
            for orders in unexposed
            for told in orders.values()
        ]
        heapify(self._due)
        heapify(self._forget)
        self._open = {"treatment": Open(), "holdout": Open()}
        for unit in units:
            self._total(unit, 1)

    def _begin(self, visitor_id: str, exposure: Exposure) -> bool:
        if len(self._units) >= OPEN_MAX or len(self._units) + len(self._settled) >= UNITS_MAX:
            self.counts["units_refused"] += 1
            return False
        unit = self._units[visitor_id] = _Unit(exposure, self._unexposed.pop(visitor_id, {}))
        heappush(self._due, (self._matures(unit), visitor_id))
        self._total(unit, 1)
        return True

    def _matures(self, unit: _Unit) -> int:
        return unit.first.event_time + self._window_ms + self._delay_ms

    def _keep(self, orders: dict[str, Checkout], told: Checkout) -> None:
        known = orders.get(told.order_id)
        if known is not None:
            joined = _joined(known, told)
            if len(joined.rows) > OF_ONE_MAX:
                self.counts["orders_crowded_out"] += 1
                return
            orders[told.order_id] = joined
        elif len(orders) < OF_ONE_MAX:
            orders[told.order_id] = told
        else:
            self.counts["orders_crowded_out"] += 1

    def _forget_one(self) -> bool:
        """Forget the order that is due first; False if it is known by another time now, or its visitor was exposed."""
        due, visitor_id, order_id = heappop(self._forget)
        orders = self._unexposed.get(visitor_id, {})
        if order_id not in orders or orders[order_id].time + self._delay_ms != due:
            return False
        del orders[order_id]
        if not orders:
            del self._unexposed[visitor_id]
        return True

    def _counted(self, unit: _Unit) -> list[Checkout]:
        """The unit's orders of its window, by time."""
        begin = unit.first.event_time
        named = [order.time for order in unit.orders.values() if order.named]
        counted = [
            order
            for order in unit.orders.values()
            if not order.taken_back
            and 0 <= order.time - begin < self._window_ms
            and (order.named or all(abs(order.time - time) > ORDER_MATCH_MS for time in named))
        ]
        return sorted(counted, key=lambda order: (order.time, order.order_id))

    def _total(self, unit: _Unit, sign: int) -> None:
        """Add a unit to what is open, or take it away."""
        counted, before = self._counted(unit), self._open[unit.first.arm]
        if before.units + sign == 0:
            # Exactly nothing, whatever rounding has left of the revenue.
            self._open[unit.first.arm] = Open()
            return
        self._open[unit.first.arm] = Open(
            before.units + sign,
            before.converted + sign * bool(counted),
            before.orders + sign * len(counted),
            before.revenue + sign * sum(order.value for order in counted),
        )

    def _outcome(self, unit: _Unit) -> Outcome:
        counted, first = self._counted(unit), unit.first
        revenue = discount = profit = 0.0
        for order in counted:
            paid = order.value
            listed = paid / (1.0 - order.percent / 100.0)
            category = first.category if order.category is None else order.category
            margin = self._margins.get(category, self._margin) if category is not None else self._margin
            revenue += paid
            discount += listed - paid
            profit += listed * margin - (listed - paid)
        return Outcome(
            exposure=first,
            exposures=sum(time - first.event_time < self._window_ms for time in unit.exposures.values()),
            orders=len(counted),
            revenue=revenue,
            discount=discount,
            profit=profit,
            window_ms=self._window_ms,
            matured_at=self._matures(unit),
        )


def _joined(one: Checkout, other: Checkout) -> Checkout:
    """Two tellings of one order, whichever came first: each thing by a rule for which their order does not matter."""
    # Who knows of an offer knows more, then the earlier time.
    better = max(one, other, key=lambda told: (not told.taken_back, told.percent, -told.time, str(told.category)))
    worse = one if better is other else other
    both = one.rows.keys() & other.rows.keys()
    return msgspec.structs.replace(
        better,
        paid=max(one.paid, other.paid),
        rows={**one.rows, **other.rows, **{row: max(one.rows[row], other.rows[row]) for row in both}},
        category=better.category or worse.category,
        named=one.named or other.named,
        taken_back=one.taken_back or other.taken_back,
    )


def _plain(orders: dict[str, Checkout]) -> list[Any]:
    return [msgspec.to_builtins(order) for order in orders.values()]


def _orders(plain: list[Any]) -> dict[str, Checkout]:
    return {order.order_id: order for order in (msgspec.convert(told, Checkout) for told in plain)}


def _unit(first: Any, exposures: dict[str, int], orders: list[Any]) -> _Unit:
    unit = _Unit(msgspec.convert(first, Exposure), _orders(orders))
    unit.exposures = dict(exposures)
    return unit

"""Whether a reported uplift is the true one: seeded experiments in the synthetic shop, whose truth is known.

    python -m benchmarks.uplift_coverage [--experiments N] [--seed S] [--visits N] [--days D] [--holdout SHARE]
        [--json | --read FILE]

Each experiment is a shop of its own seed under the default policy, with a salt of its own. Moments are decided about
by `decide`; exposures, purchase events and labels go through the bytes of their topics into `Settling` and `Figures`:
the very path of the discount application, without Kafka in between. Scores are the shop's truth.

The truth of an experiment is the mean over all who were exposed, held out or not, of what their offer changes: the shop
tells the chance of a purchase with and without it at that moment (`standing.py`), and what the order costs if there is
one. Who orders in another visit of the window anyway cannot be converted by the offer any more.

An interval is `right` if it holds the truth at the end, and `ever wrong` if at the end of any day it did not.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.offers import START_MS, as_moment
from producers.synthetic.reporting import Happening
from producers.synthetic.shop import Shop
from producers.synthetic.trial import Seen, Trial
from stream_app.core.codec import encode as encode_fact
from stream_app.core.events import CheckoutLabel
from stream_app.discounts.core.assignment import Assignment
from stream_app.discounts.core.confidence import Interval
from stream_app.discounts.core.deciding import Known, decide
from stream_app.discounts.core.figures import ExperimentFigures, Figures
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import read_policy
from stream_app.discounts.core.records import Exposure, Outcome, decode, encode
from stream_app.discounts.core.settling import Settling
from stream_app.discounts.core.situation import situation
from stream_app.discounts.core.uplift import MEASURES
from stream_app.discounts.orders import order_of_event, order_of_label

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS

#: As the application's defaults; the shop tells every order at once, so an hour is delay enough.
_WINDOW_MS: Final = _DAY_MS
_DELAY_MS: Final = _HOUR_MS


class HeardShop(Shop):
    """A shop of which everything that happens is heard by `hear` before anybody acts on it."""

    def hear(self, happening: Happening) -> None:
        """Take note."""

    def happenings(self) -> Iterator[Happening]:
        for happening in super().happenings():
            self.hear(happening)
            yield happening


class Truth(NamedTuple):
    """Of one exposed visitor: its visit, when, and what the offer changes there, by measure."""

    session_id: str
    event_time: int
    changes: tuple[float, float, float]


class Experiment:
    """One experiment in one shop."""

    def __init__(self, policy: Policy, *, seed: int, visits: int, days: float) -> None:
        self.shop = HeardShop(seed=seed, start_ms=START_MS, sessions_per_hour=visits / days / 24)
        self.shop.hear = self._heard  # type: ignore[method-assign]
        self._policy = policy
        self._visits = visits
        assigned = policy.experiment
        self._assignment = Assignment(assigned.id, assigned.salt, assigned.holdout)
        self._settling = Settling(
            window_ms=_WINDOW_MS,
            delay_ms=_DELAY_MS,
            margin=policy.money.margin,
            margins=policy.money.margin_by_category,
        )
        self._all = Figures()
        self.truths: dict[str, Truth] = {}
        #: by visitor: (session, time) of each purchase
        self._bought: dict[str, list[tuple[str, int]]] = {}
        self._cool_down: dict[str, int] = {}
        self._decided: set[str] = set()
        self._day = START_MS + _DAY_MS
        #: by day and measure
        self.looks: list[dict[str, tuple[Interval | None, Interval | None]]] = []

    @property
    def figures(self) -> ExperimentFigures:
        """What was found out."""
        found = self._all.of(self._policy.experiment.id, START_MS)
        assert found is not None
        return found

    def run(self) -> None:
        """Let everybody come and go, then everything mature."""
        Trial(self.shop, self._offer, margin=self._policy.money.margin, scored=True).run(self._visits)
        self._settle(self.shop.now_ms + _WINDOW_MS + _DELAY_MS + 1)
        self._look()

    def truth(self) -> dict[str, float]:
        """Per exposed visitor, by measure."""
        rows = np.array([self._changes(visitor, truth) for visitor, truth in self.truths.items()])
        return dict(zip(MEASURES, rows.mean(axis=0).tolist(), strict=True))

    def _changes(self, visitor: str, truth: Truth) -> tuple[float, float, float]:
        conversion, revenue, profit = truth.changes
        elsewhere = any(
            session != truth.session_id and 0 <= time_ms - truth.event_time < _WINDOW_MS
            for session, time_ms in self._bought.get(visitor, ())
        )
        return (0.0 if elsewhere else conversion), revenue, profit

    def _offer(self, seen: Seen) -> float:
        """The policy, asked as the application asks it."""
        session = str(seen.session_id)
        if not seen.counted:
            return 0.0
        known = Known(
            arm=self._assignment.arm(seen.visitor_id),
            draw=0.5,
            hour_left=math.inf,
            day_left=math.inf,
            decided=session in self._decided,
            cool_down_until=self._cool_down.get(seen.visitor_id, 0),
        )
        decision = decide(self._policy, situation(as_moment(seen), now_ms=seen.now_ms), known)
        if decision.exposure is None:
            return 0.0
        exposure = decode(Exposure, encode(decision.exposure))
        assert isinstance(exposure, Exposure)
        self._decided.add(session)
        self._cool_down[seen.visitor_id] = seen.now_ms + round(1000 * self._policy.offer.cool_down_s)
        self._settling.expose(exposure, 0)
        self._all.expose(exposure)
        if seen.visitor_id not in self.truths:
            self.truths[seen.visitor_id] = Truth(session, exposure.event_time, self._true_changes(seen, exposure))
        return decision.offer.percent if decision.offer is not None else 0.0

    def _true_changes(self, seen: Seen, exposure: Exposure) -> tuple[float, float, float]:
        """What the level that was chosen for both arms changes, whether it is offered or not."""
        ((percent, _),) = exposure.levels
        standing = self.shop.standing(seen.visitor_id, seen.now_ms)
        if standing is None or not standing.here:
            return 0.0, 0.0, 0.0
        effect = standing.effect(percent)
        before, after, margin = effect.without, effect.with_offer, self._policy.money.margin
        price = self.shop.price_if_bought(seen.visitor_id) if before > 0.0 else 0.0
        off = percent / 100.0
        return (
            after - before,
            price * (after * (1.0 - off) - before),
            price * (after * (margin - off) - before * margin),
        )

    def _heard(self, happening: Happening) -> None:
        event = happening.event
        now = event.event_time
        assert isinstance(now, int)
        while now >= self._day:
            self._settle(self._day)
            self._look()
            self._day += _DAY_MS
        if event.event_type != "purchase":
            return
        self._bought.setdefault(event.visitor_id, []).append((str(event.session_id), now))
        told = order_of_event(encode_fact(event), record_time_ms=now)
        assert told is not None
        self._settling.checkout(told)
        if happening.percent:
            assert event.order_id is not None
            # The order system knows which offer was redeemed.
            label = CheckoutLabel(event.visitor_id, event.order_id, now, value=event.price)
            label.discount_percent = happening.percent
            redeemed = order_of_label(encode_fact(label), record_time_ms=now)
            assert redeemed is not None
            self._settling.checkout(redeemed)

    def _settle(self, now_ms: int) -> None:
        for _, due in self._settling.advance(now_ms):
            outcome = decode(Outcome, encode(due))
            assert isinstance(outcome, Outcome)
            self._all.settle(outcome)

    def _look(self) -> None:
        look: dict[str, tuple[Interval | None, Interval | None]] = {}
        for measure in MEASURES:
            found = self.figures.uplift.compare(measure)
            look[measure] = (found.sequential, found.fixed) if found is not None else (None, None)
        self.looks.append(look)


def judged(experiment: Experiment) -> dict[str, Any]:
    """One experiment's row: by measure the truth, the estimate, half-widths, and which intervals held it when."""
    truth, figures = experiment.truth(), experiment.figures
    row: dict[str, Any] = {
        "exposed": len(experiment.truths),
        "held_out_buyers": figures.uplift.slices["all", ""]["holdout"].converted,
        "p_value": figures.ratio.p_value if figures.ratio is not None else 1.0,
        "settled": figures.settled("treatment") + figures.settled("holdout"),
    }
    for measure in MEASURES:
        found = figures.uplift.compare(measure)
        assert found is not None
        told: dict[str, Any] = {"truth": truth[measure], "estimate": found.value}
        for place, kind in enumerate(("sequential", "fixed")):
            intervals = [interval for look in experiment.looks if (interval := look[measure][place]) is not None]
            held = [interval.low <= truth[measure] <= interval.high for interval in intervals]
            told[kind] = {
                "looks": len(held),
                "right": bool(held) and held[-1],
                "ever_wrong": not all(held),
                "half_width": (intervals[-1].high - intervals[-1].low) / 2 if intervals else None,
            }
        row[measure] = told
    return row


def default_policy(*, seed: int, holdout: float) -> Policy:
    """The shipped one, as an experiment of its own."""
    text = resources.files("stream_app.discounts").joinpath("default_policy.toml").read_text()
    policy = read_policy(text, where="default_policy.toml")
    of_its_own = msgspec.structs.replace(policy.experiment, id=f"e{seed}", salt=f"salt {seed}", holdout=holdout)
    return msgspec.structs.replace(policy, experiment=of_its_own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first; each has the next one")
    parser.add_argument("--visits", type=int, default=30_000, help="of each")
    parser.add_argument("--days", type=float, default=14.0, help="over which they come")
    parser.add_argument("--holdout", type=float, default=0.5, help="share of the visitors")
    parser.add_argument("--json", action="store_true", help="one JSON object for each experiment, nothing else")
    parser.add_argument("--read", type=Path, metavar="FILE", help="the tables of what --json has told before")
    asked = parser.parse_args()
    if asked.read is not None:
        summarise([json.loads(line) for line in asked.read.read_text().splitlines()])
        return
    rows = []
    for seed in range(asked.seed, asked.seed + asked.experiments):
        policy = default_policy(seed=seed, holdout=asked.holdout)
        experiment = Experiment(policy, seed=seed, visits=asked.visits, days=asked.days)
        experiment.run()
        rows.append({"seed": seed, **judged(experiment)})
        if asked.json:
            print(json.dumps(rows[-1]), flush=True)
    if not asked.json:
        summarise(rows)


def summarise(rows: list[dict[str, Any]]) -> None:
    """The tables, for people."""
    buyers, exposed = [row["held_out_buyers"] for row in rows], [row["exposed"] for row in rows]
    alarms = sum(row["p_value"] < 0.001 for row in rows)
    print(f"{len(rows)} experiments, {min(exposed)} to {max(exposed)} exposed visitors, {min(buyers)} to {max(buyers)} "
          f"held-out buyers; alarms of the sample-ratio check: {alarms}")  # fmt: skip
    print("| measure | truth | estimate less truth | interval | right at the end | ever wrong at a day's end "
          "| looks | half-width |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for measure in MEASURES:
        told = [row[measure] for row in rows]
        truth = float(np.mean([each["truth"] for each in told]))
        bias = np.array([each["estimate"] - each["truth"] for each in told])
        off = f"{bias.mean():+.4f} ± {bias.std(ddof=1) / math.sqrt(len(bias)) if len(bias) > 1 else math.nan:.4f}"
        for kind in ("sequential", "fixed"):
            of_kind = [each[kind] for each in told]
            count: Counter[str] = Counter()
            for each in of_kind:
                count.update({"right": each["right"], "ever": each["ever_wrong"], "looks": each["looks"]})
            widths = [each["half_width"] for each in of_kind if each["half_width"] is not None]
            width = f"{np.mean(widths):.4f}" if widths else "–"
            print(f"| {measure} | {truth:.4f} | {off} | {kind} | {count['right']} of {len(rows)} | {count['ever']} "
                  f"| {count['looks'] / len(rows):.1f} | {width} |")  # fmt: skip


if __name__ == "__main__":
    main()

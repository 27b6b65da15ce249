"""What the watch over drift tells of a synthetic shop: false alarms, and how long a planted change goes unnoticed.

    python benchmarks/drift.py [--events N] [--seed S] [--change-at N] [--drift-days D]

The shop's events go through the very code of a partition and the trainer, as in `synthetic_truth.py`. Each alarm is
printed with the examples learned by then; at the end, how near to an alarm anything came that gave none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.synthetic_truth import START_MS, Bench
from producers.synthetic.calendar import Requests
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.drift import Alarm
from stream_app.settings import Settings


class Watched(Bench):
    """A bench that notes the alarms, and how many examples there were at the change."""

    def __init__(self, *given: Any, change_at: int | None, **named: Any) -> None:
        super().__init__(*given, **named)
        self.change_at = change_at
        self.at_change: int | None = None
        self.alarms = 0
        self.highest: dict[str, float] = {}

    def _carry_out(self, events: Any, labels: Any) -> bool:
        more = super()._carry_out(events, labels)
        if self.change_at is not None and self.at_change is None and self.offsets["events"] >= self.change_at:
            self.at_change = self.examples
            print(f"{self.examples:9,d} the change", flush=True)
        drift = self.learner.drift
        told = sum(drift.counts().values())
        for alarm in drift.alarms[self.alarms - told :] if told > self.alarms else ():
            self.tell(alarm)
        self.alarms = told
        for what, level in drift.levels().items():
            if level > self.highest.get(what, 0.0):
                self.highest[what] = level
        return more

    def tell(self, alarm: Alarm) -> None:
        days = (alarm.time - START_MS) / 86_400_000
        since = "" if self.at_change is None else f", {self.examples - self.at_change:,d} after the change"
        print(
            f"{self.examples:9,d} day {days:.2f} {alarm.what}: {alarm.usual:.4g} → {alarm.now:.4g} "
            f"({alarm.size:+.2f} standard deviations){since}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--change-at", type=int, metavar="EVENTS")
    parser.add_argument("--drift-days", type=float, default=0.0)
    arguments = parser.parse_args()
    requests = Requests(change_events=arguments.change_at, drift_days=arguments.drift_days)
    shop = Shop(seed=arguments.seed, start_ms=START_MS, requests=requests)
    settings = Settings()
    truth = Truth(shop.catalogue, shop.calendar)
    bench = Watched(shop, truth, model=settings.model, settings=settings, change_at=arguments.change_at)
    bench.run(arguments.events)
    near = sorted(((level, what) for what, level in bench.highest.items()), reverse=True)[:5]
    days = (bench.learner.clock - START_MS) / 86_400_000
    print(f"{bench.examples:,d} examples, {days:.1f} days: {bench.alarms} alarms. Nearest to one (1 is an alarm):")
    print(", ".join(f"{what} {level:.2f}" for level, what in near))


if __name__ == "__main__":
    main()

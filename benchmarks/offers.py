"""What offers earn in the synthetic shop: simple rules, and beside them the best policy there can be, which knows all.

    python benchmarks/offers.py [--visits N] [--seeds S,S,…] [--margin M] [--scored] [--policy FILE] [--json]

Each policy runs over the same visits. `orders` and `profit` are without offers as they turned out, plus what the policy
truly changes (`producers/synthetic/trial.py`): of the luck of who happened to buy, the one part is common to all
policies and the other left out. Rules with a score see the shop's truth (--scored), than which no model's can be
better.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from producers.synthetic.best import Best
from producers.synthetic.offers import MARGIN
from producers.synthetic.shop import Shop
from producers.synthetic.trial import Offering, Seen, Tally, Trial
from stream_app.discounts.core.deciding import Known, decide
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import read_policy
from stream_app.discounts.core.records import Moment
from stream_app.discounts.core.situation import situation

START_MS: Final = 1_735_689_600_000

#: Rules that see what anybody sees, by what they are called.
RULES: Final[dict[str, Callable[[Seen], float]]] = {
    "nobody": lambda seen: 0.0,
    "everybody at the first event, 10 %": lambda seen: 10.0,
    "cart older than 10 min, 10 %": lambda seen: 10.0 if seen.cart_age_s >= 600.0 else 0.0,
    "cart, at once, 5 %": lambda seen: 5.0 if seen.carts else 0.0,
    "cart quiet for 30 s, 5 %": lambda seen: 5.0 if seen.carts and seen.quiet_s >= 30.0 else 0.0,
    "cart quiet for 30 s, 10 %": lambda seen: 10.0 if seen.carts and seen.quiet_s >= 30.0 else 0.0,
    "cart quiet for 30 s, 15 %": lambda seen: 15.0 if seen.carts and seen.quiet_s >= 30.0 else 0.0,
    "cart quiet for 5 min, 10 %": lambda seen: 10.0 if seen.carts and seen.quiet_s >= 300.0 else 0.0,
}
SCORED: Final[dict[str, Callable[[Seen], float]]] = {
    "on the fence (.02 to .15), 5th event on, 5 %": lambda seen: (
        5.0 if seen.events >= 5 and 0.02 <= seen.score < 0.15 else 0.0
    ),
    "cart quiet for 30 s, below .3, 5 %": lambda seen: (
        5.0 if seen.carts and seen.quiet_s >= 30.0 and seen.score < 0.3 else 0.0
    ),
}


class ByPolicy:
    """A policy file as it decides about everybody (nobody is held out), without budget; its score is the truth."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known = Known(arm="treatment", draw=0.0, hour_left=math.inf, day_left=math.inf)

    def __call__(self, seen: Seen) -> float:
        decision = decide(self._policy, situation(as_moment(seen), now_ms=seen.now_ms), self._known)
        return decision.offer.percent if decision.offer else 0.0


def as_moment(seen: Seen) -> Moment:
    """What is seen of a visit, as the scoring engine would tell it at this moment."""
    return Moment(
        moment_id="-",
        kind="quiet" if seen.quiet_s else "band",
        visitor_id=seen.visitor_id,
        session_id=str(seen.session_id),
        event_id="-",
        event_time=seen.last_ms,
        events=seen.events,
        score=seen.score,
        band="on_the_fence",
        trend=0.0,
        cart_value=seen.cart_value,
        purchases=int(seen.over),
        features={"age": math.log1p((seen.last_ms - seen.first_ms) / 1000.0)},
        model_version=0,
        cold=False,
        scored_at=seen.now_ms,
        category=seen.category,
        source=seen.source,
        country=seen.country,
        device=seen.device,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=100_000, help="of each seed")
    parser.add_argument("--seeds", default="1", help="of the shop, such as 1,2,3: figures are of all together")
    parser.add_argument("--margin", type=float, default=MARGIN, help="share of the list price that is profit")
    parser.add_argument("--scored", action="store_true", help="rules that see a score as well; slower")
    parser.add_argument("--policy", type=Path, help="a policy file to try as well; sees a score")
    parser.add_argument("--json", action="store_true", help="one JSON object for each policy")
    asked = parser.parse_args()
    policies: dict[str, Callable[[Shop], Offering]] = {name: lambda _, rule=rule: rule for name, rule in RULES.items()}
    scored: dict[str, Callable[[Shop], Offering]] = {
        name: lambda _, rule=rule: rule for name, rule in (SCORED.items() if asked.scored else ())
    }
    if asked.policy is not None:
        read = ByPolicy(read_policy(asked.policy.read_text(), where=str(asked.policy)))
        scored[f"policy {asked.policy.name}"] = lambda _: read
    policies |= scored
    policies["best possible"] = lambda shop: Best(shop, margin=asked.margin)
    baseline: Tally | None = None
    for name, policy in policies.items():
        start = time.perf_counter()
        tallies = []
        for seed in map(int, asked.seeds.split(",")):
            shop = Shop(seed=seed, start_ms=START_MS)
            trial = Trial(shop, policy(shop), margin=asked.margin, scored=name in scored)
            tallies.append(trial.run(asked.visits))
        seconds = time.perf_counter() - start
        tally = Tally(*(sum(column) for column in zip(*tallies, strict=True)))
        baseline = baseline or tally
        show(name, tally, baseline, seconds, as_json=asked.json)


def show(name: str, tally: Tally, without: Tally, seconds: float, *, as_json: bool) -> None:
    conversion = (without.orders + tally.more_orders) / tally.visits
    profit = (without.profit + tally.more_profit) / tally.visits
    gain = tally.more_profit / without.profit
    row = {
        "policy": name,
        "offers": tally.offers / tally.visits,
        "conversion": conversion,
        "profit_per_1000_visits": 1000.0 * profit,
        "gain": gain,
        "realised": [tally.orders, tally.revenue, tally.profit],
        "visits_per_s": tally.visits / seconds,
    }
    if as_json:
        print(json.dumps(row), flush=True)
        return
    print(
        f"{name:<46} offers {tally.offers / tally.visits:6.1%}  conversion {conversion:6.3%}"
        f"  profit per 1,000 visits {1000.0 * profit:8.2f} ({gain:+6.1%})"
        f"  realised {tally.orders} orders, profit {tally.profit:.0f}  ({tally.visits / seconds:.0f} visits/s)",
        flush=True,
    )


if __name__ == "__main__":
    main()

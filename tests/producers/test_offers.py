"""What an offer does: to a chain exactly, to shoppers by type, level and moment, and to a shop's stream."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from producers.synthetic.behaviour import INTENT_NAMES
from producers.synthetic.calendar import Requests
from producers.synthetic.chain import BOUGHT, CARTED, EMPTY, EXIT, STATES, TYPES, state_of
from producers.synthetic.offers import SHARES, SHOPPERS, Effect, odds_factor, reception, shopper_of
from producers.synthetic.regime import SHIFT_STEPS, Regime, RegimeKey
from producers.synthetic.reporting import Happening
from producers.synthetic.shop import Shop
from producers.synthetic.standing import Standing
from producers.synthetic.tilted import TiltedChain
from producers.synthetic.trial import Seen, Trial
from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.core.odds import lifted
from tests.producers.truth_run import START_MS, hours, time_of

OPEN = BOUGHT * len(TYPES)


def odds(p: np.ndarray) -> np.ndarray:
    return p / (1.0 - p)


# ---- a tilted chain ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("intent", range(4))
@pytest.mark.parametrize("shift", [0, SHIFT_STEPS])
def test_tilting_a_chain_multiplies_the_odds_from_every_state_on(shift: int, intent: int, factor: float) -> None:
    chain = Regime(RegimeKey(shift)).chains[intent]
    tilted = TiltedChain(chain, factor)
    assert odds(tilted.buys[:OPEN]) == pytest.approx(factor * odds(chain.buys[:OPEN]))
    # The chances claimed are those of the steps drawn: h = P h, with h 1 at the purchase.
    steps = np.zeros((STATES, STATES + 1))
    for state in range(STATES):
        for to, chance in tilted.row(state):
            steps[state, to] = chance
    assert steps.sum(axis=1) == pytest.approx(1.0)
    bought = state_of(BOUGHT, "purchase")
    solved = np.linalg.solve(np.eye(OPEN) - steps[:OPEN, :OPEN], steps[:OPEN, bought])
    assert tilted.buys[:OPEN] == pytest.approx(solved, abs=1e-12)
    assert (steps[bought] == chain.transition[bought]).all()
    assert tilted.buys[bought] == tilted.buys[EXIT] == 0.0


def test_a_factor_of_one_changes_nothing_and_an_infinite_one_makes_sure() -> None:
    chain = Regime(RegimeKey()).chains[3]
    same, sure = TiltedChain(chain, 1.0), TiltedChain(chain, math.inf)
    for state in range(STATES):
        assert [to for to, _ in same.row(state)] == [to for to, _ in chain.follows[state]]
        assert [p for _, p in same.row(state)] == pytest.approx([p for _, p in chain.follows[state]])
    rng = np.random.default_rng(1)
    for _ in range(200):
        state = state_of(EMPTY, "view_item")
        while state < OPEN:
            state = sure.after(state, rng.random())
        assert state == state_of(BOUGHT, "purchase")
    crawler = Regime(RegimeKey()).chains[4]
    with pytest.raises(ValueError, match="from which no purchase can follow"):
        TiltedChain(crawler, math.inf).after(state_of(EMPTY, "view_item"), 0.5)


# ---- shoppers ---------------------------------------------------------------------------------------------------


def test_types_have_their_shares_within_each_intent_and_a_visitor_keeps_its_own() -> None:
    for intent, name in enumerate(INTENT_NAMES):
        drawn = [shopper_of(7, f"v{number}", intent) for number in range(20_000)]
        for shopper, share in zip(SHOPPERS, SHARES[name], strict=True):
            assert drawn.count(shopper) / 20_000 == pytest.approx(share, abs=0.012)
        assert drawn == [shopper_of(7, f"v{number}", intent) for number in range(20_000)]
    assert [shopper_of(7, f"v{n}", 3) for n in range(99)] != [shopper_of(8, f"v{n}", 3) for n in range(99)]


def test_who_is_sure_only_costs_and_others_answer_by_level() -> None:
    at = {"state": state_of(CARTED, "view_cart"), "events": 6, "quiet_ms": 30_000.0}
    factor = {who: [odds_factor(who, percent, **at) for percent in (0, 5, 10, 15, 20)] for who in SHOPPERS}  # type: ignore[arg-type]
    assert factor["sure"] == [1.0] * 5
    for who in ("hesitant", "bargain_hunter", "browser"):
        assert factor[who][0] == 1.0
        assert factor[who] == sorted(factor[who])
    # A little is nearly as good as a lot for one, and nothing for the other.
    assert math.log(factor["hesitant"][1]) > 0.6 * math.log(factor["hesitant"][4])
    assert factor["bargain_hunter"][1] < 1.3 < 10.0 < factor["bargain_hunter"][3]
    assert factor["browser"][4] < 1.5


def test_it_matters_when() -> None:
    view, cart, checkout = (
        state_of(EMPTY, "view_item"),
        state_of(CARTED, "view_cart"),
        state_of(CARTED, "add_payment_info"),
    )
    first = reception(view, events=1, quiet_ms=0.0)
    hesitating = reception(cart, events=8, quiet_ms=60_000.0)
    assert first < 0.1
    assert hesitating > 0.85
    assert first < reception(view, events=8, quiet_ms=0.0) < reception(cart, events=8, quiet_ms=0.0) < hesitating
    assert reception(checkout, events=8, quiet_ms=60_000.0) < 0.3 * hesitating
    assert (
        reception(state_of(BOUGHT, "purchase"), events=8, quiet_ms=0.0)
        == reception(EXIT, events=8, quiet_ms=0.0)
        == 0.0
    )


# ---- a shop that makes offers -----------------------------------------------------------------------------------


def test_without_offers_the_stream_is_what_it_always_was() -> None:
    # Of 12,000 facts each, by the shop before it could be asked for discounts.
    everything = Requests(
        drift_days=0.5, change_events=4_000, sales=(hours(0.2, 0.6),), bots=0.02, unlabelled=(hours(0.1, 0.7),)
    )
    for expected, shop in (
        ("b54af11e50b3890802cdb3696cc38eaf", Shop(seed=1, start_ms=START_MS)),
        ("c2281180754770d2a884493f1fd2743b", Shop(seed=7, start_ms=START_MS, sessions_per_hour=300.0)),
        ("7c9e7ca47234accf3a9c3b582b4117e0", Shop(seed=5, start_ms=START_MS, label_share=0.3, requests=everything)),
        ("81e007f0310ce2472963321d6e8fe27e", Shop(seed=1, start_ms=START_MS, session_ids=False)),
    ):
        lines = b"".join(encode(fact) + b"\n" for fact in islice(shop, 12_000))
        assert blake2b(lines, digest_size=16).hexdigest() == expected


class Watched(Shop):
    """A shop of which every visit's events are kept, whole."""

    def happenings(self) -> Iterator[Happening]:
        self.told: dict[str, list[Event]] = defaultdict(list)
        self.percents: dict[str, float] = {}
        for happening in super().happenings():
            name = str(happening.event.session_id)
            self.told[name].append(happening.event)
            if happening.event.event_type == "purchase":
                self.percents[name] = happening.percent
            yield happening

    def bought(self, name: str) -> bool:
        return name in self.percents


class Offered(NamedTuple):
    """An offer as it was made: to whom, where the visit stood, its effect, and the event by which it was made."""

    standing: Standing
    effect: Effect
    events: int


class Haphazard:
    """Offers something to one visit in two, sooner or later, by chance alone; also to those who have left."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._random = np.random.default_rng(4)
        self.made: dict[str, Offered] = {}
        self.gone: set[str] = set()

    def __call__(self, seen: Seen) -> float:
        # A cart is rare: ask there oftener.
        if self._random.random() > (0.3 if seen.carts else 0.12):
            return 0.0
        percent = float(self._random.choice([5.0, 10.0, 15.0, 20.0]))
        standing = self._shop.standing(seen.visitor_id, seen.now_ms)
        assert standing is not None
        if standing.here:
            self.made[str(seen.session_id)] = Offered(standing, standing.effect(percent), seen.events)
        else:
            self.gone.add(str(seen.session_id))
        return percent


class Twins(NamedTuple):
    """Two runs of one shop that differ in the offers alone."""

    plain: Watched
    offering: Watched
    policy: Haphazard
    visits: int


@pytest.fixture(scope="module")
def twins() -> Twins:
    visits = 12_000
    plain, offering = (Watched(seed=3, start_ms=START_MS, sessions_per_hour=3_000.0) for _ in range(2))
    policy = Haphazard(offering)
    Trial(plain, lambda seen: 0.0).run(visits)
    Trial(offering, policy).run(visits)
    return Twins(plain, offering, policy, visits)


def z_of(errors: list[float], variances: list[float]) -> float:
    return sum(errors) / math.sqrt(sum(variances))


def test_an_offer_changes_its_own_visit_from_then_on_and_no_other(twins: Twins) -> None:
    plain, offering, made = twins.plain.told, twins.offering.told, twins.policy.made
    assert len(made) > 3_600
    common = [name for name in plain if name in offering and name not in made]
    assert len(common) > 6_000
    # Both runs end at a time: what was under way then is cut.
    end = min(
        time_of(events[-1])
        for shop in (twins.plain, twins.offering)
        for events in [max(shop.told.values(), key=lambda e: time_of(e[-1]))]
    )
    for name in common:
        if time_of(plain[name][-1]) < end - 3_600_000:
            assert [encode(event) for event in plain[name]] == [encode(event) for event in offering[name]]
    for name, offered in made.items():
        until = offered.events
        assert plain[name][:until] == offering[name][:until]
        assert all(".o" in event.event_id for event in offering[name][until:])
    ids = [event.event_id for events in offering.values() for event in events]
    assert len(ids) == len(set(ids))


def test_offers_come_true_as_computed_with_and_without_for_every_type_level_and_moment(twins: Twins) -> None:
    groups: dict[str, list[tuple[float, float, Effect]]] = defaultdict(list)
    for name, offered in twins.policy.made.items():
        row = (float(twins.plain.bought(name)), float(twins.offering.bought(name)), offered.effect)
        standing = offered.standing
        when = "quiet" if standing.quiet_ms else "carted" if standing.state // len(TYPES) == CARTED else "looking"
        for group in ("all", standing.shopper, f"{offered.effect.percent:g} %", when, INTENT_NAMES[standing.intent]):
            groups[group].append(row)
    assert len(groups) == 1 + 4 + 4 + 3 + 4
    found = {}
    for group, rows in groups.items():
        before = [effect.without for *_, effect in rows]
        after = [effect.with_offer for *_, effect in rows]
        found[f"{group}, without"] = z_of(
            [y - p for (y, *_), p in zip(rows, before, strict=True)], [p * (1 - p) for p in before]
        )
        found[f"{group}, with"] = z_of(
            [y - p for (_, y, _), p in zip(rows, after, strict=True)], [p * (1 - p) for p in after]
        )
    # 32 comparisons: one beyond 4 by chance in five hundred runs, and the seed is fixed.
    assert {name: z for name, z in found.items() if abs(z) > 4.0} == {}
    # And there is something to be seen: with the chances exchanged it would be found out at once.
    rows = groups["hesitant"]
    assert z_of([y1 - e.without for _, y1, e in rows], [e.without * (1 - e.without) for *_, e in rows]) > 8.0
    assert z_of([y0 - e.with_offer for y0, _, e in rows], [e.with_offer * (1 - e.with_offer) for *_, e in rows]) < -8.0
    assert all(effect.without == effect.with_offer for *_, effect in groups["sure"])


def test_whoever_has_left_is_not_there_for_an_offer_and_never_buys(twins: Twins) -> None:
    assert len(twins.policy.gone) > 30
    assert not any(twins.offering.bought(name) or twins.plain.bought(name) for name in twins.policy.gone)


def test_a_purchase_tells_what_is_paid_and_how_much_was_redeemed(twins: Twins) -> None:
    listed = {item.item_id: item.price for items in twins.plain.catalogue.items for item in items}
    redeemed = 0
    for name, percent in twins.offering.percents.items():
        (purchase,) = [event for event in twins.offering.told[name] if event.event_type == "purchase"]
        made = twins.policy.made.get(name)
        assert percent == (made.effect.percent if made else 0.0)
        assert purchase.price == pytest.approx(listed[str(purchase.item_id)] * (1 - percent / 100), abs=0.0051)
        redeemed += percent > 0
    assert redeemed > 150
    views = [event for events in twins.offering.told.values() for event in events if event.event_type == "view_item"]
    assert all(event.price == listed[str(event.item_id)] for event in views)


def test_orders_cost_the_same_with_an_offer_and_without(twins: Twins) -> None:
    # What the expected profit is reckoned with: a draw of the price given a purchase, on an untouched shop.
    shop = Watched(seed=9, start_ms=START_MS)
    drawn: dict[str, float] = {}
    for happening in islice(shop.happenings(), 60_000):
        event = happening.event
        if event.event_type == "add_to_cart" and str(event.session_id) not in drawn:
            drawn[str(event.session_id)] = shop.price_if_bought(event.visitor_id)
    real = np.log(
        [
            next(e.price or 0.0 for e in shop.told[name] if e.event_type == "purchase")
            for name in drawn
            if shop.bought(name)
        ]
    )
    guessed = np.log(list(drawn.values()))
    assert len(real) > 150
    assert real.mean() == pytest.approx(guessed.mean(), abs=4 * real.std() / math.sqrt(len(real)))


def test_an_offer_that_makes_no_sense_is_refused_and_a_second_one_counts_for_nothing() -> None:
    shop = Shop(seed=2, start_ms=START_MS)
    event = next(shop.happenings()).event
    for percent in (0.0, -5.0, 100.0, math.nan):
        with pytest.raises(ValueError, match=r"got percent .*, expected above 0 and below 100"):
            shop.offer(event.visitor_id, percent)
    assert shop.offer("nobody", 10.0) is None
    standing = shop.standing(event.visitor_id)
    assert standing is not None
    assert standing.here
    assert standing.quiet_ms == 0
    effect = shop.offer(event.visitor_id, 10.0)
    assert effect == standing.effect(10.0)
    assert effect is not None
    assert effect.with_offer == pytest.approx(lifted(effect.without, effect.factor))
    assert shop.offer(event.visitor_id, 20.0) is None


def test_an_offer_cannot_change_what_has_happened() -> None:
    shop = Shop(seed=2, start_ms=START_MS)
    for happening in shop.happenings():
        visitor = happening.event.visitor_id
        shop.next_ms()  # its next event is drawn
        if math.isinf(shop._present[visitor].next_ms):
            continue
        with pytest.raises(ValueError, match="when the visit's next event comes"):
            shop.offer(visitor, 10.0, time_of(happening.event) + 25 * 60 * 1000)
        break


def test_visits_long_over_are_forgotten() -> None:
    shop = Shop(seed=2, start_ms=START_MS)
    largest = 0
    for _ in islice(shop.happenings(), 60_000):
        largest = max(largest, len(shop._present))
    # Those of the last 20 minutes at 2,000 visits an hour, at the day's busiest 1.7 times as many.
    assert largest < 2_500


def test_the_example_of_the_docs_gives_what_the_docs_say(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "synthetic.md").read_text()
    code, output = re.findall(r"```python\n(.*?)```\n+```\n(.*?)```", text, re.DOTALL)[0]
    exec(code, {})
    assert capsys.readouterr().out == output

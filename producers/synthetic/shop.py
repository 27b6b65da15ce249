"""The shop itself: lets visitors come, look, hesitate and buy, in event time, from a seed.

How an event comes about (everything hidden is marked *):

1. Visits arrive as a Poisson process with daily and weekly seasons (`arrivals`). A visitor whose time to return has
   come takes the arrival, else it is a new visitor of a type* drawn by the types' shares.
2. The visit's intent* is drawn from the visitor type's mix, independently of the visitor's other visits.
3. Given the intent, and nothing else: source and device; the first event and each next one from the intent's Markov
   chain over (mode, event type), whose mode is empty / carted / bought; the log-normal gap before each event; the
   category and item looked at (one seen before with chance `revisit`, the same category with chance `stay`, otherwise
   by popularity tilted by appeal).

So the probability that a visit will still end in a purchase, given all that can be seen, is computable: keep for each
visitor the posterior over types (each earlier visit's likelihood, summed over intents), for each visit the posterior
over intents (a product of the factors of 3.), and weigh with it each chain's chance of reaching a purchase from the
state at hand (`Chain.buys`, a linear system). `truth.py` does that.

How hard it is, measured with the default arguments on seeds 1 to 4, 350,000 events (43 h, 75,000 visits) each: 3.1 to
3.3 % of the visits buy; 25 to 27 % of those with something in the cart; 51 to 55 % of the purchases have no add_to_cart
before them; a visit has 4.5 events (median 3, 28 % have one). ROC AUC in the last 40 % of the visits of a logistic
regression (histogram gradient boosting) fitted on the first 60 %, on counts, gaps, cart, revisits, item and category
priors, visitor history and context: all events .745 to .766 (.716 to .748); the first event of a visit .650 to .664
(.662 to .679); the third .705 to .715 (.691 to .718). The truth itself reaches .810 to .826 over all events; the
regression's log-loss is 8 to 11 % above the truth's. `tests/producers/test_difficulty.py` holds it there.
Speed: about 200,000 events/s on one core.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import accumulate, count
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np

from producers.synthetic import behaviour
from producers.synthetic.arrivals import HOUR_MS, next_arrival
from producers.synthetic.behaviour import COUNTRIES, INTENT_NAMES, INTENTS, VISITOR_TYPES, Intent
from producers.synthetic.catalogue import Catalogue, Item
from producers.synthetic.chain import CODE, EXIT, TYPES, Weights
from producers.synthetic.session import VISIT_EVENTS_MAX, Visit, Visitor
from stream_app.core.events import CheckoutLabel, Event

#: What a shop sends.
Fact: TypeAlias = Event | CheckoutLabel

#: Times between events are drawn from this many quantiles: smooth to a thousandth, and quicker than a logarithm.
_GAP_QUANTILES: Final = 4096

#: A checkout told by the order system arrives this late, in ms: evenly between the two.
_LABEL_DELAY_MS: Final = (60_000, 600_000)

_CURRENCY: Final = "EUR"

_VIEW_ITEM, _SELECT_ITEM = CODE["view_item"], CODE["select_item"]
_ADD, _REMOVE, _PURCHASE = CODE["add_to_cart"], CODE["remove_from_cart"], CODE["purchase"]
_SEARCH, _LIST = CODE["search"], CODE["view_item_list"]
#: These concern the item on the screen.
_ON_ITEM: Final = frozenset(CODE[name] for name in ("add_to_wishlist", "like", "share"))
#: Pages without an item or a category: their URL says it all.
_PAGES: Final = {
    CODE["page_view"]: "/",
    CODE["view_cart"]: "/cart",
    CODE["begin_checkout"]: "/checkout",
    CODE["add_shipping_info"]: "/checkout/shipping",
    CODE["add_payment_info"]: "/checkout/payment",
}


class Shop:
    """An endless, reproducible stream of a shop's events: the same arguments give the same stream, byte for byte.
    Iterate once; for the same stream again make another shop.

    Parameters
    ----------
    seed
        Of everything random.
    start_ms
        Event time of the beginning, ms since the epoch.
    sessions_per_hour
        Visits in an average hour of event time; a visit has about 5 events.
    items, categories
        Size of the catalogue; at most 48 categories.
    session_ids
        Whether events carry a session id, as Google Analytics does, or leave it to the inactivity gap.
    label_share
        Share of the purchases that the clickstream misses and the order system tells, as a `CheckoutLabel`, some
        minutes later.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(
        self,
        *,
        seed: int,
        start_ms: int,
        sessions_per_hour: float = 2_000.0,
        items: int = 2_000,
        categories: int = 32,
        session_ids: bool = True,
        label_share: float = 0.0,
    ) -> None:
        if not sessions_per_hour > 0:
            raise ValueError(f"got sessions_per_hour {sessions_per_hour}, expected a number above 0")
        if not 0.0 <= label_share <= 1.0:
            raise ValueError(f"got label_share {label_share}, expected 0 to 1")
        self.seed = seed
        self.start_ms = start_ms
        self.catalogue = Catalogue(np.random.default_rng(seed), items=items, categories=categories)
        self._sessions_per_hour = sessions_per_hour
        self._session_ids = session_ids
        self._label_share = label_share
        self._random = random.Random(seed)
        self._uniform = self._random.random
        self._draws = [self.catalogue.draw(intent.tilt) for intent in INTENTS]
        self._gaps = [_gaps_ms(intent) for intent in INTENTS]
        self._sources = [_Choice(intent.sources) for intent in INTENTS]
        self._devices = [_Choice(intent.devices) for intent in INTENTS]
        self._countries = _Choice(COUNTRIES)
        self._kinds = _Choice({str(n): kind.share for n, kind in enumerate(VISITOR_TYPES)})
        self._intents = [
            _Choice({str(INTENT_NAMES.index(name)): weight for name, weight in kind.intents.items()})
            for kind in VISITOR_TYPES
        ]
        self._numbers = count(1)
        self._orders = count(1)
        self._visitors = count(1)
        self._ties = count()
        #: Visitors who will come back: (due, tie-break, visitor).
        self._returning: list[tuple[int, int, Visitor]] = []
        #: Open visits and labels under way: (time of the next event or delivery, tie-break, what, events so far).
        self._agenda: list[tuple[int, int, Visit | CheckoutLabel, int]] = []
        self._events_prefix = f"{seed:x}-"

    def __iter__(self) -> Iterator[Fact]:
        return self._facts()

    def _facts(self) -> Iterator[Fact]:
        agenda, uniform, ties = self._agenda, self._uniform, self._ties
        arrival = next_arrival(self.start_ms, per_hour=self._sessions_per_hour, uniform=uniform)
        while True:
            while not agenda or arrival <= agenda[0][0]:
                heappush(agenda, (arrival, next(ties), self._visit(arrival), 0))
                arrival = next_arrival(arrival, per_hour=self._sessions_per_hour, uniform=uniform)
            now, _, what, events = agenda[0]
            if isinstance(what, CheckoutLabel):
                heappop(agenda)
                yield what
                continue
            fact = self._fact(what, now)
            state = EXIT if events >= VISIT_EVENTS_MAX else INTENTS[what.intent].chain.after(what.state, uniform())
            if state == EXIT:
                heappop(agenda)
                self._leave(what.visitor, now)
            else:
                what.state = state
                gap = self._gaps[what.intent][int(uniform() * _GAP_QUANTILES)]
                heapreplace(agenda, (now + gap, next(ties), what, events + 1))
            if isinstance(fact, CheckoutLabel):
                low, high = _LABEL_DELAY_MS
                heappush(agenda, (now + low + int(uniform() * (high - low)), next(ties), fact, 0))
            else:
                yield fact

    def _visit(self, now: int) -> Visit:
        """Let somebody in: the one who is due to return, or somebody new."""
        uniform = self._uniform
        if self._returning and self._returning[0][0] <= now:
            visitor = heappop(self._returning)[2]
        else:
            number = next(self._visitors)
            kind = int(self._kinds.draw(uniform()))
            visitor = Visitor(f"v{self._events_prefix}{number}", kind, self._countries.draw(uniform()))
        intent = int(self._intents[visitor.kind].draw(uniform()))
        visitor.sessions += 1
        return Visit(
            visitor,
            intent=intent,
            state=INTENTS[intent].chain.first(uniform()),
            session_id=f"{visitor.visitor_id}.{visitor.sessions}",
            source=self._sources[intent].draw(uniform()),
            device=self._devices[intent].draw(uniform()),
        )

    def _leave(self, visitor: Visitor, now: int) -> None:
        """Decide whether and when a visitor will be back."""
        if self._uniform() < VISITOR_TYPES[visitor.kind].returns:
            hours = self._random.lognormvariate(0.0, behaviour.RETURN_SIGMA) * behaviour.RETURN_MEDIAN_H
            due = now + behaviour.RETURN_MS_MIN + int(hours * HOUR_MS)
            heappush(self._returning, (due, next(self._ties), visitor))

    def _fact(self, visit: Visit, now: int) -> Fact:
        """The event of the visit's state, or the label in its place; moves what the visit looks at."""
        code = visit.state % len(TYPES)
        item, category = self._look(visit, code)
        visitor = visit.visitor
        order_id = None
        if code == _PURCHASE:
            order_id = f"o{self._events_prefix}{next(self._orders)}"
            if self._label_share and self._uniform() < self._label_share:
                return CheckoutLabel(
                    visitor_id=visitor.visitor_id,
                    order_id=order_id,
                    checkout_time=now,
                    session_id=visit.session_id if self._session_ids else None,
                    value=item.price if item else None,
                    currency=_CURRENCY,
                )
        return Event(
            event_id=f"{self._events_prefix}{next(self._numbers)}",
            event_type=TYPES[code],
            event_time=now,
            visitor_id=visitor.visitor_id,
            session_id=visit.session_id if self._session_ids else None,
            item_id=item.item_id if item else None,
            category=item.category if item else category,
            brand=item.brand if item else None,
            price=item.price if item else None,
            quantity=1.0 if code in (_ADD, _REMOVE, _PURCHASE) else None,
            currency=_CURRENCY if item else None,
            order_id=order_id,
            page_url=_PAGES.get(code) or (item.page_url if item else f"/c/{category}"),
            source=visit.source,
            country=visitor.country,
            device=visit.device,
            search_term=category if code == _SEARCH else None,
        )

    def _look(self, visit: Visit, code: int) -> tuple[Item | None, str | None]:
        """What the event is about: an item, or a category, or neither."""
        if code in (_VIEW_ITEM, _SELECT_ITEM):
            if code == _SELECT_ITEM or visit.item is None or not visit.selected:
                self._turn_to_item(visit)
            visit.selected = code == _SELECT_ITEM
            return visit.item, None
        visit.selected = False
        if code in (_LIST, _SEARCH):
            self._turn_to_category(visit)
            assert visit.category is not None
            return None, self.catalogue.categories[visit.category]
        if code == _ADD:
            if visit.item is None:
                self._turn_to_item(visit)
            visit.wanted = visit.item
            return visit.item, None
        if code in (_REMOVE, _PURCHASE):
            item = visit.wanted or visit.item
            visit.wanted = None
            return item, None
        return (visit.item, None) if code in _ON_ITEM else (None, None)

    def _turn_to_item(self, visit: Visit) -> None:
        uniform = self._uniform
        if visit.seen and uniform() < INTENTS[visit.intent].revisit:
            number = int(uniform() * len(visit.seen))
            visit.category, visit.item = visit.seen[number]
            return
        self._turn_to_category(visit)
        category = visit.category
        assert category is not None
        item = self.catalogue.items[category][bisect(self._draws[visit.intent].items[category], uniform())]
        visit.item = item
        if (category, item) not in visit.seen:
            visit.seen.append((category, item))

    def _turn_to_category(self, visit: Visit) -> None:
        uniform = self._uniform
        if visit.category is None or uniform() >= INTENTS[visit.intent].stay:
            visit.category = bisect(self._draws[visit.intent].categories, uniform())


class _Choice:
    """A weighted choice among names, compiled."""

    __slots__ = ("_bounds", "_names")

    def __init__(self, weights: Weights) -> None:
        total = sum(weights.values())
        self._names = list(weights)
        # Without the last bound, which rounding could leave below 1.
        self._bounds = list(accumulate(weight / total for weight in list(weights.values())[:-1]))

    def draw(self, uniform: float) -> str:
        return self._names[bisect(self._bounds, uniform)]


def _gaps_ms(intent: Intent) -> list[int]:
    """Quantiles of an intent's time between events, cut at `GAP_MS_MAX`."""
    normal = NormalDist()
    scale = [normal.inv_cdf((n + 0.5) / _GAP_QUANTILES) for n in range(_GAP_QUANTILES)]
    gaps = np.exp(intent.gap_sigma * np.array(scale)) * intent.gap_median_s * 1000
    return [int(gap) for gap in np.clip(gaps, 200, behaviour.GAP_MS_MAX)]

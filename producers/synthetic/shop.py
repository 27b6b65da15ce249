"""The shop itself: lets visitors come, look, hesitate and buy, in event time, from a seed.

How an event comes about (everything hidden is marked *):

1. Visits arrive as a Poisson process with daily and weekly seasons (`arrivals`). A visitor whose time to return has
   come takes the arrival, else it is a new visitor of a type* drawn by the types' shares.
2. The visit's intent* is drawn from the visitor type's mix, independently of the visitor's other visits.
3. Given the intent, and nothing else: source and device; the first event and each next one from the intent's Markov
   chain over (mode, event type), whose mode is empty / carted / bought; the log-normal gap before each event; the
   category and item looked at (one seen before with chance `revisit`, the same category with chance `stay`, otherwise
   by popularity tilted by appeal).

The tables of 2. and 3. are those of the regime in force when the visit began (`calendar`, `regime`): behaviour drifts
or changes, there are sales. What happened is not all that is told: see `reporting`.

So the probability that a visit will still end in a purchase, given all that can be seen, is computable: keep for each
visitor the posterior over types (each earlier visit's likelihood, summed over intents), for each visit the posterior
over intents (a product of the factors of 3.), and weigh with it each chain's chance of reaching a purchase from the
state at hand (`Chain.buys`, a linear system). `truth.py` does that.

How hard it is was measured: `docs/synthetic.md`; `tests/producers/test_difficulty.py` holds it there.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Final

import numpy as np

from producers.synthetic import behaviour
from producers.synthetic.arrivals import HOUR_MS, next_arrival
from producers.synthetic.behaviour import COUNTRIES, VISITOR_TYPES
from producers.synthetic.calendar import LABEL_DELAY_MS, Calendar, Requests
from producers.synthetic.catalogue import Catalogue, Item
from producers.synthetic.chain import CODE, EXIT, TYPES
from producers.synthetic.drawing import Choice, Drawing
from producers.synthetic.regime import Regime, RegimeKey
from producers.synthetic.reporting import Fact, Happening, reported
from producers.synthetic.session import VISIT_EVENTS_MAX, Visit, Visitor
from stream_app.core.events import Event

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

_NO_REQUESTS: Final = Requests()

#: Departures kept for a truth to heed; without one the oldest make room.
_DEPARTED_MAX: Final = 10_000


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
    requests
        What it shall go through: drift, sales, crawlers and more; by default nothing.

    Attributes
    ----------
    catalogue, calendar
        What it sells, and what happens when: all that its `Truth` needs to know.
    departed
        Visitors who have left for good, for whoever remembers visitors to forget them; the newest are last.

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
        requests: Requests = _NO_REQUESTS,
    ) -> None:
        if not sessions_per_hour > 0:
            raise ValueError(f"got sessions_per_hour {sessions_per_hour}, expected a number above 0")
        self.seed = seed
        self.start_ms = start_ms
        self.catalogue = Catalogue(np.random.default_rng(seed), items=items, categories=categories)
        self._sessions_per_hour = sessions_per_hour
        self._session_ids = session_ids
        self.calendar = Calendar(requests, start_ms=start_ms, label_share=label_share)
        self.departed: deque[str] = deque(maxlen=_DEPARTED_MAX)
        self._random = random.Random(seed)
        self._uniform = self._random.random
        self._gauss = self._random.gauss
        self._countries = Choice(COUNTRIES)
        self._kinds = Choice({str(n): share for n, share in enumerate(self.calendar.type_shares())})
        self._drawings: dict[RegimeKey, Drawing] = {}
        self._numbers = count(1)
        self._orders = count(1)
        self._visitors = count(1)
        self._ties = count()
        #: Visitors who will come back: (due, tie-break, visitor).
        self._returning: list[tuple[int, int, Visitor]] = []
        #: Open visits: (time of the next event, tie-break, visit, its events so far).
        self._agenda: list[tuple[int, int, Visit, int]] = []
        self._events_prefix = f"{seed:x}-"

    def __iter__(self) -> Iterator[Fact]:
        return reported(self.happenings())

    def happenings(self) -> Iterator[Happening]:
        """All that happens, told or not; `reported` makes the stream of it. Iterate this or the shop, not both."""
        agenda, uniform, gauss, ties = self._agenda, self._uniform, self._gauss, self._ties
        arrival = next_arrival(self.start_ms, per_hour=self._sessions_per_hour, uniform=uniform)
        for happened in count(1):
            while not agenda or arrival <= agenda[0][0]:
                heappush(agenda, (arrival, next(ties), self._visit(arrival), 0))
                arrival = next_arrival(arrival, per_hour=self._sessions_per_hour, uniform=uniform)
            now, _, visit, events = agenda[0]
            happening = self._happening(visit, now)
            self.calendar.count(happened, now)
            # Who takes it has taken it before the visitor is said to have departed.
            yield happening
            state = EXIT if events >= VISIT_EVENTS_MAX else visit.chain.after(visit.state, uniform())
            if state == EXIT:
                heappop(agenda)
                self._leave(visit.visitor, now)
            else:
                visit.state = state
                gap = visit.drawing.gap_ms(visit.intent, gauss(0.0, 1.0))
                heapreplace(agenda, (now + gap, next(ties), visit, events + 1))

    def _visit(self, now: int) -> Visit:
        """Let somebody in: the one who is due to return, or somebody new."""
        uniform = self._uniform
        if self._returning and self._returning[0][0] <= now:
            visitor = heappop(self._returning)[2]
        else:
            number = next(self._visitors)
            kind = int(self._kinds.draw(uniform()))
            visitor = Visitor(f"v{self._events_prefix}{number}", kind, self._countries.draw(uniform()))
        drawing = self._drawing(now)
        intent = drawing.intent(visitor.kind, uniform())
        visitor.sessions += 1
        return Visit(
            visitor,
            drawing,
            began_ms=now,
            intent=intent,
            state=drawing.chains[intent].first(uniform()),
            session_id=f"{visitor.visitor_id}.{visitor.sessions}",
            source=drawing.sources[intent].draw(uniform()),
            device=drawing.devices[intent].draw(uniform()),
        )

    def _drawing(self, now: int) -> Drawing:
        key = self.calendar.regime(now)
        drawing = self._drawings.get(key)
        if drawing is None:
            drawing = self._drawings[key] = Drawing(Regime(key), self.catalogue)
        return drawing

    def _leave(self, visitor: Visitor, now: int) -> None:
        """Decide whether and when a visitor will be back."""
        if self._uniform() < VISITOR_TYPES[visitor.kind].returns:
            hours = self._random.lognormvariate(0.0, behaviour.RETURN_SIGMA) * behaviour.RETURN_MEDIAN_H
            due = now + behaviour.RETURN_MS_MIN + int(hours * HOUR_MS)
            heappush(self._returning, (due, next(self._ties), visitor))
        else:
            self.departed.append(visitor.visitor_id)

    def _happening(self, visit: Visit, now: int) -> Happening:
        """The event of the visit's state, and who is told; moves what the visit looks at."""
        event = self._event(visit, now)
        silence = self.calendar.silence(visit.began_ms) if event.event_type == "purchase" else 0.0
        if not silence or self._uniform() >= silence:
            return Happening(event)
        settled = self.calendar.settled_ms(visit.began_ms)
        low, high = LABEL_DELAY_MS
        told = max(now, settled) + low + int(self._uniform() * (high - low))
        return Happening(event, shown=False, told_ms=None if math.isinf(told) else int(told))

    def _event(self, visit: Visit, now: int) -> Event:
        code = visit.state % len(TYPES)
        item, category = self._look(visit, code)
        visitor = visit.visitor
        return Event(
            event_id=f"{self._events_prefix}{next(self._numbers)}",
            event_type=TYPES[code],
            event_time=now,
            visitor_id=visitor.visitor_id,
            session_id=visit.session_id if self._session_ids else None,
            item_id=item.item_id if item else None,
            category=item.category if item else category,
            brand=item.brand if item else None,
            price=round(item.price * visit.drawing.price, 2) if item else None,
            quantity=1.0 if code in (_ADD, _REMOVE, _PURCHASE) else None,
            currency=_CURRENCY if item else None,
            order_id=f"o{self._events_prefix}{next(self._orders)}" if code == _PURCHASE else None,
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
        if visit.seen and uniform() < visit.drawing.intents[visit.intent].revisit:
            number = int(uniform() * len(visit.seen))
            visit.category, visit.item = visit.seen[number]
            return
        self._turn_to_category(visit)
        category = visit.category
        assert category is not None
        item = self.catalogue.items[category][bisect(visit.drawing.looks[visit.intent].items[category], uniform())]
        visit.item = item
        if (category, item) not in visit.seen:
            visit.seen.append((category, item))

    def _turn_to_category(self, visit: Visit) -> None:
        uniform = self._uniform
        if visit.category is None or uniform() >= visit.drawing.intents[visit.intent].stay:
            visit.category = bisect(visit.drawing.looks[visit.intent].categories, uniform())

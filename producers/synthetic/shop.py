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

4. Somebody may be made an offer (`Shop.offer`). A visit stays at an event until the gap is over and moves on then, to
   the next event or out of the shop; an offer that finds it still there multiplies its odds of a purchase from then on,
   by a factor that depends on the shopper's type* (`offers`, `tilted`). It goes its own way from there, with randomness
   of its own, while behind the scenes it goes on as if nothing had been offered, unseen: so that the draws of all other
   visits stay what they were, byte for byte, and two runs differ in nothing but what was offered and what came of it.

So the probability that a visit will still end in a purchase, given all that can be seen, is computable: keep for each
visitor the posterior over types (each earlier visit's likelihood, summed over intents), for each visit the posterior
over intents (a product of the factors of 3.), and weigh with it each chain's chance of reaching a purchase from the
state at hand (`Chain.buys`, a linear system). `truth.py` does that, for a shop that makes no offers; what an offer
changes is exact as well, given all that is hidden (`standing.py`), and `trial.py` adds it up for any policy.

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
from producers.synthetic.behaviour import COUNTRIES, GAP_MS_MAX, VISITOR_TYPES
from producers.synthetic.calendar import LABEL_DELAY_MS, Calendar, Requests
from producers.synthetic.catalogue import Catalogue, Item
from producers.synthetic.chain import BOUGHT, CODE, EXIT, TYPES
from producers.synthetic.drawing import Choice, Drawing
from producers.synthetic.offers import Effect, shopper_of
from producers.synthetic.regime import RegimeKey
from producers.synthetic.reporting import Fact, Happening, reported
from producers.synthetic.session import VISIT_EVENTS_MAX, Visit, Visitor
from producers.synthetic.standing import Standing
from producers.synthetic.tilted import TiltedChain
from stream_app.core.events import Event

_CURRENCY: Final = "EUR"

_VIEW_ITEM, _SELECT_ITEM = CODE["view_item"], CODE["select_item"]
_ADD, _REMOVE, _PURCHASE = CODE["add_to_cart"], CODE["remove_from_cart"], CODE["purchase"]
_SEARCH, _LIST = CODE["search"], CODE["view_item_list"]
#: By code: the pieces that an event is about.
_QUANTITIES: Final = tuple(1.0 if code in (_ADD, _REMOVE, _PURCHASE) else None for code in range(len(TYPES)))
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
    part
        (k, n): with an n-th of the visits, and visitors of its own; all n together are a shop, see `shop_parts.py`.

    Attributes
    ----------
    catalogue, calendar
        What it sells, and what happens when: all that its `Truth` needs to know.
    now_ms
        Event time reached.
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
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if not sessions_per_hour > 0:
            raise ValueError(f"got sessions_per_hour {sessions_per_hour}, expected a number above 0")
        self.seed = seed
        self.start_ms = start_ms
        self.catalogue = Catalogue(np.random.default_rng(seed), items=items, categories=categories)
        number, parts = part
        if not 0 <= number < parts:
            raise ValueError(f"got part {part}, expected (k, n) with 0 <= k < n")
        self._sessions_per_hour = sessions_per_hour / parts
        self._session_ids = session_ids
        self.calendar = Calendar(requests, start_ms=start_ms, label_share=label_share)
        self.now_ms = start_ms
        self.departed: deque[str] = deque(maxlen=_DEPARTED_MAX)
        self._random = random.Random(seed if parts == 1 else f"{seed} part {number} of {parts}")
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
        #: Open visits: (time of the next event, tie-break, visit).
        self._agenda: list[tuple[int, int, Visit]] = []
        #: When the next visit begins; None before anything has happened.
        self._arrival: int | None = None
        self._happened = 0
        #: whether a change waits for so many events
        self._counting = requests.change_events is not None
        #: Whose event was the newest, until its next one is drawn.
        self._moving: Visit | None = None
        #: When the next thing to be seen happens, where that is known.
        self._due: int | None = None
        #: The newest visit of each visitor who is there or may be: nobody sees who has left.
        self._present: dict[str, Visit] = {}
        self._left: deque[tuple[float, Visit]] = deque()
        self._events_prefix = f"{seed:x}-" if parts == 1 else f"{seed:x}.{number}-"

    def __iter__(self) -> Iterator[Fact]:
        return reported(self.happenings())

    def happenings(self) -> Iterator[Happening]:
        """All that happens, told or not; `reported` makes the stream of it. Iterate this or the shop, not both."""
        while True:
            now = self.next_ms()
            yield self._happen(self._agenda[0][2], now)

    def next_ms(self) -> int:
        """When the next thing happens that can be seen: an offer made before that changes it."""
        while self._due is None:
            self._move_on()
            self._let_in()
            now, _, visit = self._agenda[0]
            if visit.own or not visit.offered:
                self._due = now
            else:
                self._happen(visit, now)
        return self._due

    def _happen(self, visit: Visit, now: int) -> Happening:
        """The next event of the agenda."""
        happening = self._happening(visit, now)
        visit.at = visit.state
        visit.last_ms = self.now_ms = now
        visit.events += 1
        # Who takes it has taken it before the visitor moves on, and is perhaps said to have departed.
        self._moving, self._due = visit, None
        if not visit.own:
            self._happened += 1
            if self._counting:
                self.calendar.count(self._happened, now)
        return happening

    def _let_in(self) -> None:
        """Begin all visits that are due before the next event."""
        agenda, uniform = self._agenda, self._uniform
        if self._arrival is None:
            self._arrival = next_arrival(self.start_ms, per_hour=self._sessions_per_hour, uniform=uniform)
        while not agenda or self._arrival <= agenda[0][0]:
            heappush(agenda, (self._arrival, next(self._ties), self._visit(self._arrival)))
            self._arrival = next_arrival(self._arrival, per_hour=self._sessions_per_hour, uniform=uniform)

    def offer(self, visitor_id: str, percent: float, at_ms: int | None = None) -> Effect | None:
        """Offer a visitor so many percent off what is bought in the visit under way; changes what happens from then on.

        Holds to the end of the visit. A purchase's `price` is then what is paid, and its `Happening` tells the percent.
        Of several offers to a visit the first counts.

        Parameters
        ----------
        visitor_id
            Who. By whatever name the session goes: a visitor has one visit at a time.
        percent
            Off the price, above 0 and below 100.
        at_ms
            When it is seen: by default now, at the shop's newest event; at the earliest at the visit's own newest.

        Returns
        -------
        What it does to the chance of a purchase, hidden from any real shop; None where nobody is there any more, who
        has not bought and was not offered something already.

        Raises
        ------
        ValueError
            If the percent is out of range, or the visit's next event has happened by `at_ms` and is still to be told.
        """
        if not 0.0 < percent < 100.0:
            raise ValueError(f"got percent {percent}, expected above 0 and below 100")
        standing = self.standing(visitor_id, at_ms)
        visit = self._present.get(visitor_id)
        if standing is None or visit is None or visit.offered or not standing.here:
            return None
        effect = standing.effect(percent)
        randomness = random.Random(f"offer {self.seed} {visit.session_id}")
        turned = visit.turned(TiltedChain(standing.chain, effect.factor), randomness, percent=percent)
        visit.offered, self._due = True, None
        self._present[visitor_id] = turned
        moves_ms = self._moves_ms(visit)
        turned.state = EXIT if visit.events > VISIT_EVENTS_MAX else turned.chain.after(turned.at, turned.uniform())
        if turned.state != EXIT:
            turned.next_ms = moves_ms
            heappush(self._agenda, (moves_ms, next(self._ties), turned))
        else:
            self._left.append((moves_ms, turned))
        return effect

    def standing(self, visitor_id: str, at_ms: int | None = None) -> Standing | None:
        """Where a visitor's newest visit stands, all that is hidden included; None if it has bought or nobody is known.

        `at_ms` as in `offer`. Raises ValueError as `offer` does.
        """
        self._move_on()
        visit = self._present.get(visitor_id)
        if visit is None or not visit.events or visit.at >= BOUGHT * len(TYPES):
            return None
        at = max(self.now_ms if at_ms is None else at_ms, visit.last_ms)
        if at > visit.next_ms:
            raise ValueError(f"got at_ms {at}, expected at most {visit.next_ms:.0f}, when the visit's next event comes")
        return Standing(
            regime=visit.drawing.key,
            intent=visit.intent,
            shopper=shopper_of(self.seed, visitor_id, visit.intent),
            chain=visit.drawing.chains[visit.intent],
            state=visit.at,
            events=visit.events,
            quiet_ms=at - visit.last_ms,
            here=at < self._moves_ms(visit),
        )

    def price_if_bought(self, visitor_id: str) -> float:
        """What a visit's order costs if it buys: one draw of the list price, given that it does, seen by nobody.

        An offer changes whether people buy, not what: so it is drawn alike with one and without. Raises ValueError if
        the visit is not known or can no longer buy.
        """
        self._move_on()
        visit = self._present.get(visitor_id)
        if visit is None or not visit.events:
            raise ValueError(f"got visitor {visitor_id}, expected one who is there")
        chain = visit.drawing.buying[visit.intent]
        walker = visit.turned(chain, random.Random(f"price {self.seed} {visit.session_id}"), percent=0.0)
        item: Item | None = None
        while walker.state < BOUGHT * len(TYPES):
            walker.state = chain.after(walker.state, walker.uniform())
            item, _ = self._look(walker, walker.state % len(TYPES))
        return round(item.price * visit.drawing.price, 2) if item else 0.0

    def _moves_ms(self, visit: Visit) -> int:
        """When a visit leaves its newest event, for the next one or for good: who leaves takes as long to do so."""
        if not math.isinf(visit.next_ms):
            return int(visit.next_ms)
        gauss = random.Random(f"leave {self.seed} {visit.session_id} {visit.events}").gauss
        return visit.last_ms + visit.drawing.gap_ms(visit.intent, gauss(0.0, 1.0))

    def _move_on(self) -> None:
        """Draw what follows the newest event."""
        visit, self._moving = self._moving, None
        if visit is None:
            return
        now = visit.last_ms
        state = EXIT if visit.events > VISIT_EVENTS_MAX else visit.chain.after(visit.state, visit.uniform())
        if state == EXIT:
            heappop(self._agenda)
            visit.next_ms = math.inf
            if not visit.own:
                self._leave(visit.visitor, now)
            if visit.own or not visit.offered:
                self._left.append((now, visit))
            self._forget(now)
        else:
            visit.state = state
            due = now + visit.drawing.gap_ms(visit.intent, visit.gauss(0.0, 1.0))
            visit.next_ms = due
            heapreplace(self._agenda, (due, next(self._ties), visit))

    def _forget(self, now: int) -> None:
        """Forget who left so long ago that even the slowest is gone."""
        left, present = self._left, self._present
        while left and left[0][0] + GAP_MS_MAX < now:
            visit = left.popleft()[1]
            if present.get(visit.visitor.visitor_id) is visit:
                del present[visit.visitor.visitor_id]

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
        visit = Visit(
            visitor,
            drawing,
            began_ms=now,
            intent=intent,
            state=drawing.chains[intent].first(uniform()),
            session_id=f"{visitor.visitor_id}.{visitor.sessions}",
            source=drawing.sources[intent].draw(uniform()),
            device=drawing.devices[intent].draw(uniform()),
            uniform=uniform,
            gauss=self._gauss,
        )
        self._present[visitor.visitor_id] = visit
        return visit

    def _drawing(self, now: int) -> Drawing:
        key = self.calendar.regime(now)
        drawing = self._drawings.get(key)
        if drawing is None:
            drawing = self._drawings[key] = Drawing(key, self.catalogue)
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
        if event.event_type != "purchase":
            return Happening(event)
        silence = self.calendar.silence(visit.began_ms)
        if not silence or visit.uniform() >= silence:
            return Happening(event, percent=visit.percent)
        settled = self.calendar.settled_ms(visit.began_ms)
        low, high = LABEL_DELAY_MS
        told = max(now, settled) + low + int(visit.uniform() * (high - low))
        return Happening(event, shown=False, told_ms=None if math.isinf(told) else int(told), percent=visit.percent)

    def _event(self, visit: Visit, now: int) -> Event:
        code = visit.state % len(TYPES)
        item, category = self._look(visit, code)
        visitor = visit.visitor
        event_id, order_id = self._ids(visit, code)
        item_id = brand = price = currency = None
        page_url = _PAGES.get(code)
        if item is not None:
            item_id, category, brand, price, item_url = item
            asked = visit.drawing.price
            if code == _PURCHASE:
                asked *= 1.0 - visit.percent / 100.0
            if asked != 1.0:
                price = round(price * asked, 2)
            currency, page_url = _CURRENCY, page_url or item_url
        # By position, in the order of the fields: keywords would cost as much as the whole event, twice.
        return Event(
            event_id,
            TYPES[code],
            now,
            visitor.visitor_id,
            visit.session_id if self._session_ids else None,
            item_id,
            category,
            brand,
            price,
            _QUANTITIES[code],
            currency,
            order_id,
            page_url or f"/c/{category}",
            None,
            visit.source,
            visitor.country,
            visit.device,
            category if code == _SEARCH else None,
        )

    def _ids(self, visit: Visit, code: int) -> tuple[str, str | None]:
        """An event's id and, for a purchase, an order's. Those of a visit gone its own way take no number of others."""
        if visit.own:
            visit.number += 1
            name = f"{visit.session_id}.o{visit.number}"
            return name, f"o{name}" if code == _PURCHASE else None
        name = f"{self._events_prefix}{next(self._numbers)}"
        return name, f"o{self._events_prefix}{next(self._orders)}" if code == _PURCHASE else None

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
        uniform = visit.uniform
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
        uniform = visit.uniform
        if visit.category is None or uniform() >= visit.drawing.intents[visit.intent].stay:
            visit.category = bisect(visit.drawing.looks[visit.intent].categories, uniform())

"""One visit of the synthetic shop: where it stands in its chain, and what it has looked at."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from producers.synthetic.catalogue import Item
from producers.synthetic.chain import Chain
from producers.synthetic.drawing import Drawing
from producers.synthetic.tilted import TiltedChain


class Visitor:
    """Somebody who may come back. `kind` indexes the visitor types; hidden from the stream."""

    __slots__ = ("country", "kind", "sessions", "visitor_id")

    def __init__(self, visitor_id: str, kind: int, country: str) -> None:
        self.visitor_id = visitor_id
        self.kind = kind
        self.country = country
        self.sessions = 0


class Visit:
    """A session under way. `intent` indexes the intents; hidden from the stream. Times in ms.

    What an offer needs to know: `at` and `last_ms`, the state and time of the newest event, the `events`-th; `state`
    and `next_ms`, those of the next one, once drawn. `next_ms` is infinite where none follows.
    """

    __slots__ = (
        "at",
        "began_ms",
        "category",
        "chain",
        "device",
        "drawing",
        "events",
        "gauss",
        "intent",
        "item",
        "last_ms",
        "next_ms",
        "number",
        "offered",
        "own",
        "percent",
        "seen",
        "selected",
        "session_id",
        "source",
        "state",
        "uniform",
        "visitor",
        "wanted",
    )

    def __init__(
        self, visitor: Visitor, drawing: Drawing, *, began_ms: int, intent: int, state: int, session_id: str,
        source: str, device: str, uniform: Callable[[], float], gauss: Callable[[float, float], float],
    ) -> None:  # fmt: skip
        self.visitor = visitor
        self.drawing = drawing
        self.chain: Chain | TiltedChain = drawing.chains[intent]
        self.began_ms = began_ms
        self.intent = intent
        self.state = state
        self.session_id = session_id
        self.source = source
        self.device = device
        #: What its randomness comes from.
        self.uniform = uniform
        self.gauss = gauss
        self.events = 0
        self.at = -1
        self.last_ms = began_ms
        self.next_ms: float = began_ms
        #: Index of the category being looked at; None before the first.
        self.category: int | None = None
        #: The item on the screen, and the one put in the cart last.
        self.item: Item | None = None
        self.wanted: Item | None = None
        #: Whether the item was picked from a list and its page is still to come.
        self.selected = False
        #: All items seen, each once, with their category's index.
        self.seen: list[tuple[int, Item]] = []
        #: Whether an offer was made, and how much is off the price.
        self.offered = False
        self.percent = 0.0
        #: Whether it goes its own way since an offer, with randomness and numbers of its own.
        self.own = False
        self.number = 0

    def turned(self, chain: TiltedChain, randomness: random.Random, *, percent: float) -> Visit:
        """The same visit from here on under another chain, with randomness of its own; its next event is not drawn."""
        other = Visit(
            self.visitor, self.drawing, began_ms=self.began_ms, intent=self.intent, state=self.at,
            session_id=self.session_id, source=self.source, device=self.device, uniform=randomness.random,
            gauss=randomness.gauss,
        )  # fmt: skip
        other.chain = chain
        other.events, other.at, other.last_ms, other.next_ms = self.events, self.at, self.last_ms, math.inf
        other.category, other.item, other.wanted = self.category, self.item, self.wanted
        other.selected, other.seen = self.selected, list(self.seen)
        other.offered, other.own, other.percent = True, True, percent
        return other


#: No visit is longer: a chain could go on for ever, a person does not. Reached by fewer than one in a million.
VISIT_EVENTS_MAX: Final = 500

"""One visit of the synthetic shop: where it stands in its chain, and what it has looked at."""

from __future__ import annotations

from typing import Final

from producers.synthetic.catalogue import Item
from producers.synthetic.drawing import Drawing


class Visitor:
    """Somebody who may come back. `kind` indexes the visitor types; hidden from the stream."""

    __slots__ = ("country", "kind", "sessions", "visitor_id")

    def __init__(self, visitor_id: str, kind: int, country: str) -> None:
        self.visitor_id = visitor_id
        self.kind = kind
        self.country = country
        self.sessions = 0


class Visit:
    """A session under way. `intent` indexes the intents; hidden from the stream. Times in ms."""

    __slots__ = (
        "began_ms",
        "category",
        "chain",
        "device",
        "drawing",
        "intent",
        "item",
        "seen",
        "selected",
        "session_id",
        "source",
        "state",
        "visitor",
        "wanted",
    )

    def __init__(
        self, visitor: Visitor, drawing: Drawing, *, began_ms: int, intent: int, state: int, session_id: str,
        source: str, device: str,
    ) -> None:  # fmt: skip
        self.visitor = visitor
        self.drawing = drawing
        self.chain = drawing.chains[intent]
        self.began_ms = began_ms
        self.intent = intent
        self.state = state
        self.session_id = session_id
        self.source = source
        self.device = device
        #: Index of the category being looked at; None before the first.
        self.category: int | None = None
        #: The item on the screen, and the one put in the cart last.
        self.item: Item | None = None
        self.wanted: Item | None = None
        #: Whether the item was picked from a list and its page is still to come.
        self.selected = False
        #: All items seen, each once, with their category's index.
        self.seen: list[tuple[int, Item]] = []


#: No visit is longer: a chain could go on for ever, a person does not. Reached by fewer than one in a million.
VISIT_EVENTS_MAX: Final = 500

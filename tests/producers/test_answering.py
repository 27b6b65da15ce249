"""The shop that answers offers: what is offered reaches who is there, and what is redeemed is told."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest

from producers.synthetic.answering import Answering
from producers.synthetic.reporting import Fact
from producers.synthetic.shop import Shop
from stream_app.core.codec import encode
from stream_app.core.events import CheckoutLabel, Event
from stream_app.discounts.core.records import Offer

START_MS = 1_735_689_600_000
EVENTS = 20_000


def shop(*, label_share: float = 0.0) -> Shop:
    return Shop(seed=2, start_ms=START_MS, label_share=label_share)


def offer_for(event: Event, *, percent: float = 10.0, valid_ms: int = 1_800_000) -> Offer:
    assert isinstance(event.event_time, int)
    return Offer(
        offer_id=f"o-{event.event_id}", visitor_id=event.visitor_id, session_id=event.session_id or "s",
        percent=percent, reason="band", score=0.2, arm="treatment", issued_at=event.event_time,
        expires_at=event.event_time + valid_ms, experiment="first", policy="p",
    )  # fmt: skip


class Subscriber:
    """Offers something to everybody who puts something into the cart."""

    def __init__(self, *, valid_ms: int = 1_800_000) -> None:
        self.offers: list[Offer] = []
        self._told = 0
        self._valid_ms = valid_ms

    def read(self, facts: Iterable[Fact]) -> list[Fact]:
        read = []
        for fact in facts:
            read.append(fact)
            if isinstance(fact, Event) and fact.event_type == "add_to_cart":
                self.offers.append(offer_for(fact, valid_ms=self._valid_ms))
        return read

    def newest(self) -> list[Offer]:
        newest, self._told = self.offers[self._told :], len(self.offers)
        return newest


def test_an_offer_reaches_who_is_there_and_a_purchase_that_took_it_is_followed_by_a_label_that_says_so() -> None:
    subscriber = Subscriber()
    answering = Answering(shop(), subscriber.newest)
    facts = subscriber.read(islice(answering, EVENTS))
    labels = [place for place, fact in enumerate(facts) if isinstance(fact, CheckoutLabel)]
    assert answering.taken == len(labels) > 50
    for place in labels:
        purchase, label = facts[place - 1], facts[place]
        assert isinstance(purchase, Event)
        assert isinstance(label, CheckoutLabel)
        assert (purchase.event_type, purchase.order_id, purchase.price) == ("purchase", label.order_id, label.value)
        assert (label.visitor_id, label.session_id) == (purchase.visitor_id, purchase.session_id)
        assert label.checkout_time == purchase.event_time
        assert label.discount_percent == 10.0
    assert answering.made + answering.missed == len(subscriber.offers)
    # Whoever puts a second item into the cart of a visit has an offer already.
    visits = {offer.session_id for offer in subscriber.offers}
    assert len(visits) * 0.9 < answering.made <= len(visits)
    assert answering.counts == {"made": answering.made, "found_nobody": answering.missed, "taken": answering.taken}


def test_more_of_those_who_have_an_offer_buy_than_do_without() -> None:
    def buyers(*, answers: bool) -> int:
        subscriber = Subscriber()
        facts = subscriber.read(islice(Answering(shop(), subscriber.newest if answers else list), EVENTS))
        carts = {offer.session_id for offer in subscriber.offers}
        bought = {fact.session_id for fact in facts if isinstance(fact, Event) and fact.event_type == "purchase"}
        return len(carts & bought)

    assert buyers(answers=True) > 1.2 * buyers(answers=False)


def test_what_only_the_order_system_tells_says_what_was_redeemed_as_well() -> None:
    subscriber = Subscriber()
    answering = Answering(shop(label_share=1.0), subscriber.newest)
    facts = subscriber.read(islice(answering, EVENTS))
    assert not any(isinstance(fact, Event) and fact.event_type == "purchase" for fact in facts)
    labels = [fact for fact in facts if isinstance(fact, CheckoutLabel)]
    redeemed = [label for label in labels if label.discount_percent is not None]
    assert len({label.order_id for label in labels}) == len(labels) > len(redeemed) > 50
    # The newest purchases have not been told yet.
    assert 0 <= answering.taken - len(redeemed) < 10


@pytest.mark.parametrize("late", ["nobody", "left", "expired"])
def test_an_offer_that_finds_nobody_changes_nothing_and_is_counted(late: str) -> None:
    without = [encode(fact) for fact in islice(shop(), EVENTS)]
    told: list[Offer] = []
    answering = Answering(shop(), lambda: [told.pop()] if told else [])
    facts, offered = [], 0
    early: Event | None = None
    for fact in islice(answering, EVENTS):
        facts.append(encode(fact))
        assert isinstance(fact, Event)
        early = early or fact
        if len(facts) % 100 == 0:
            offered += 1
            whom = Event("e", "view_item", START_MS, "never seen") if late == "nobody" else fact
            # The first visitor has long left; an offer valid for no time has expired when it comes.
            whom = early if late == "left" and offered > 100 else whom
            if late != "left" or offered > 100:
                told.append(offer_for(whom, valid_ms=0 if late == "expired" else 10**9))
    assert facts == without
    assert (answering.made, answering.taken) == (0, 0)
    assert answering.missed > 50


def test_without_offers_it_is_the_shop_byte_for_byte() -> None:
    answering = Answering(shop(label_share=0.3), list)
    assert [encode(fact) for fact in islice(answering, 5_000)] == [
        encode(fact) for fact in islice(shop(label_share=0.3), 5_000)
    ]
    assert answering.counts == {"made": 0, "found_nobody": 0, "taken": 0}


def test_an_offer_may_be_made_at_a_time_of_the_callers_before_anything_more_happens() -> None:
    answering = Answering(of := shop(), list)
    event = next(happening.event for happening in answering.happenings() if happening.event.event_type == "add_to_cart")
    assert isinstance(event.event_time, int)
    with pytest.raises(ValueError, match="when the visit's next event comes"):
        answering.make(offer_for(event, valid_ms=10**9), event.event_time + 10**8)
    assert answering.make(offer_for(event), of.next_ms() - 1)
    assert not answering.make(offer_for(event), of.next_ms() - 1)
    assert (answering.made, answering.missed) == (1, 1)

"""The latest offers: the newest first, each once, by names that are no ids."""

from __future__ import annotations

from stream_app.discounts.core.records import Offer
from stream_app.live.names import VisitorNames
from stream_app.live.offers import OFFERS_MAX, Offers, offer_row


def offer(number: int, *, issued_at: int) -> Offer:
    return Offer(
        offer_id=f"o{number}",
        visitor_id=f"visitor-{number}",
        session_id=f"s{number}",
        percent=7.5,
        reason="quiet",
        score=0.21,
        arm="treatment",
        issued_at=issued_at,
        expires_at=issued_at + 60_000,
        experiment="e",
        policy="p",
    )


def test_the_newest_issued_are_kept_whatever_order_partitions_are_read_in() -> None:
    offers = Offers()
    for number in reversed(range(OFFERS_MAX + 10)):
        offers.take(offer(number, issued_at=1_000 + number))
    newest = [one.issued_at for one in offers.newest(OFFERS_MAX + 10)]
    assert newest == list(range(1_000 + OFFERS_MAX + 9, 1_000 + 9, -1))
    assert [one.offer_id for one in offers.newest(2)] == [f"o{OFFERS_MAX + 9}", f"o{OFFERS_MAX + 8}"]


def test_an_offer_told_again_is_one() -> None:
    offers = Offers()
    for _ in range(2):
        offers.take(offer(1, issued_at=1_000))
    assert len(offers.newest(10)) == 1


def test_a_row_has_no_id_in_it() -> None:
    row = offer_row(offer(1, issued_at=1_000), VisitorNames(b"secret", show_ids=False))
    assert row == {
        "visitor": VisitorNames(b"secret", show_ids=False).name("visitor-1"),
        "percent": 7.5,
        "reason": "quiet",
        "score": 0.21,
        "issued_at": 1_000,
        "expires_at": 61_000,
    }

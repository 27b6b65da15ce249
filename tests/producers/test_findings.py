"""What is odd about a source's events: each finding by events that have it, and by some that come near and have not."""

from __future__ import annotations

from typing import Any

import pytest

from producers.adapters.result import Arrival
from producers.currencies import CURRENCIES
from producers.findings import AHEAD_MS, BEHIND_MS, FINDINGS, Finding, Findings, found_told, is_unknown_type
from producers.formats import FORMATS
from stream_app.core.codec import Rejected, decode_event
from stream_app.core.events import Event

NOW = 1_770_000_000_000


def event(n: int = 0, /, **fields: Any) -> Event:
    given = {"event_id": f"e{n}", "event_type": "view_item", "event_time": NOW + n, "visitor_id": f"v{n}", **fields}
    return Event(**given)


def found(*events: Event, received_ms: int | None = None) -> list[list[Finding]]:
    findings = Findings("web")
    return [findings.event(one, received_ms=received_ms) for one in events]


def test_an_event_like_any_other_has_none() -> None:
    assert found(event(price=12.5, currency="EUR"), event(1), received_ms=NOW) == [[], []]


def test_a_bots_event_is_counted_and_one_that_says_it_is_none_is_not() -> None:
    assert found(event(bot=True), event(1, bot=False), event(2)) == [["bot"], [], []]


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        (NOW + AHEAD_MS, []),
        (NOW + AHEAD_MS + 1, ["clock_ahead"]),
        (NOW - BEHIND_MS, []),
        (NOW - BEHIND_MS - 1, ["clock_behind"]),
    ],
)
def test_a_clock_is_held_against_the_arrival(time_ms: int, expected: list[Finding]) -> None:
    assert found(event(event_time=time_ms), received_ms=NOW) == [expected]
    assert found(event(event_time=time_ms), received_ms=None) == [[]]


@pytest.mark.parametrize(("behind_ms", "finding"), [(7_000, "clock_behind"), (-7_000, "clock_ahead")])
def test_a_clock_that_its_sender_has_told_is_known_either_way(behind_ms: int, finding: Finding) -> None:
    findings = Findings("web")
    assert findings.wrong_clock(3, behind_ms=behind_ms) == finding
    assert findings.counts == {finding: 3}


def test_a_currency_that_there_is_not_is_unknown_however_it_is_written() -> None:
    told = found(*(event(n, price=1.0, currency=each) for n, each in enumerate(("EURO", "€", "XXX", "EUR", "eur"))))
    assert told == [["currency_unknown"]] * 3 + [[], []]


def test_prices_in_another_currency_than_the_first_are_mixed_and_names_without_prices_are_not() -> None:
    told = found(
        event(price=1.0, currency="EUR"),
        event(1, price=1.0, currency="USD"),
        event(2, currency="USD"),
        event(3, price=1.0),
        event(4, price=1.0, currency="eur"),
    )
    assert told == [[], ["currency_mixed"], [], [], []]


@pytest.mark.parametrize(
    ("kind", "expected"), [("purchase", ["price_odd"]), ("add_to_cart", ["price_odd"]), ("view_item", [])]
)
def test_nothing_is_bought_for_nothing(kind: Any, expected: list[Finding]) -> None:
    assert found(event(event_type=kind, price=0.0)) == [expected]
    assert found(event(event_type=kind)) == [[]]


def test_a_price_is_odd_when_it_is_ten_thousand_times_the_usual_one_or_a_ten_thousandth() -> None:
    usual = [event(n, price=20.0 if n % 2 else 500.0) for n in range(100)]  # geometric mean 100
    odd = [event(200, price=1_100_000.0), event(201, price=0.009)]
    near = [event(202, price=900_000.0), event(203, price=0.011)]
    assert found(*usual, *odd, *near) == [[]] * 100 + [["price_odd"]] * 2 + [[]] * 2


def test_until_a_hundred_prices_are_known_none_is_odd() -> None:
    assert found(*(event(n, price=20.0) for n in range(99)), event(99, price=1e9)) == [[]] * 100


def test_prices_of_another_currency_are_not_compared_with_the_usual_one() -> None:
    usual = [event(n, price=20.0, currency="EUR") for n in range(100)]
    assert found(*usual, event(100, price=5e8, currency="IDR"))[-1] == ["currency_mixed"]


def test_the_same_event_again_is_a_duplicate_and_another_line_of_one_moment_is_not() -> None:
    first, line = event(item_id="a"), event(item_id="b")
    assert found(first, line, first, line, first) == [[], [], ["duplicate"], ["duplicate"], ["duplicate"]]


def test_an_id_is_constant_from_its_third_moment_on_whoever_has_it() -> None:
    """Twice may be a repetition that got the time of its second arrival."""
    of_one = [event(n, event_id="0", visitor_id="v") for n in range(5)]
    of_many = [event(n, event_id="undefined", event_time=NOW) for n in range(5)]
    for events in (of_one, of_many):
        assert found(*events) == [[], [], ["constant_id"], ["constant_id"], ["constant_id"]]


def test_ids_are_remembered_for_a_while_and_in_bounded_memory() -> None:
    findings = Findings("web")
    for n in range(20_000):
        assert findings.event(event(n), received_ms=None) == []
    assert findings.event(event(19_999), received_ms=None) == ["duplicate"]
    assert findings.event(event(0), received_ms=None) == []
    assert len(findings._ids) == 4_096


def test_what_is_told_names_the_source_and_counts_events() -> None:
    findings = Findings("segment")
    for n in range(1_200):
        findings.event(event(n, bot=True), received_ms=None)
    findings.unknown_types(2)
    assert findings.events == 1_200
    assert found_told({"segment": findings, "ga4": Findings("ga4")}) == [
        "segment: events of bots: 1,200",
        "segment: rejected for a type that is not known: 2",
    ]


def test_every_finding_has_its_words() -> None:
    findings = Findings("x")
    findings.counts.update(FINDINGS)
    assert len(findings.told()) == len(FINDINGS)


@pytest.mark.parametrize(
    ("format", "value", "unknown"),
    [
        ("canonical", b'{"event_id":"e","event_type":"nod","event_time":1770000000000,"visitor_id":"v"}', True),
        ("canonical", b'{"event_id":"e","event_type":1,"event_time":1770000000000,"visitor_id":"v"}', False),
        ("canonical", b'{"event_id":"","event_type":"search","event_time":1770000000000,"visitor_id":"v"}', False),
        ("canonical", b'{"event_id":"x - at `$.event_type`"', False),
        ("segment", b'{"type":"nod","anonymousId":"v"}', True),
        ("segment", b'{"batch":[{"type":"nod","anonymousId":"v"},{"type":"page","anonymousId":"v"}]}', True),
        ("segment", b'{"type":"page"}', False),
    ],
)
def test_a_record_of_an_unknown_type_is_told_from_other_rejections(format: str, value: bytes, unknown: bool) -> None:
    results = FORMATS[format].results(value, Arrival(NOW, NOW))
    rejected = next(result for result in results if isinstance(result, Rejected))
    assert is_unknown_type(rejected) is unknown


@pytest.mark.parametrize("format", ["rees46", "retailrocket"])
def test_so_it_is_in_tables(format: str) -> None:
    columns = FORMATS[format].columns
    kind = "event_type" if "event_type" in columns else "event"
    row = ",".join("nod" if name == kind else "1" for name in columns).encode()
    (result,) = FORMATS[format].delimited_parser(",".join(columns).encode(), Arrival(NOW))(row)
    assert is_unknown_type(result)


def test_the_engines_own_decoder_says_so_too() -> None:
    value = b'{"event_id":"e","event_type":"nod","event_time":1770000000000,"visitor_id":"v"}'
    assert is_unknown_type(decode_event(value, record_time_ms=NOW))


def test_currencies_are_codes_of_three_letters() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
    assert {"EUR", "USD", "JPY", "PLN", "IDR"} <= CURRENCIES
    assert not {"XXX", "XTS", "XAU", "DEM", "RMB"} & CURRENCIES

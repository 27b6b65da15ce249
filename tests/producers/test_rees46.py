"""REES46 rows, made by hand: what each column becomes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.adapters import rees46
from stream_app.core import codec
from stream_app.core.codec import REJECT_REASONS, Rejected
from stream_app.core.events import Event

#: 2030-01-01: later than every time below.
NOW_MS = 1_893_456_000_000

ROW = {
    "event_time": "2021-02-28 19:13:22 UTC",
    "event_type": "view",
    "product_id": "17",
    "category_id": "9001",
    "category_code": "garden.tools.rake",
    "brand": "holm",
    "price": "12.50",
    "user_id": "u-1",
    "user_session": "s-1",
}


def adapted(**changes: str) -> Event:
    event = rees46.to_event(ROW | changes, now_ms=NOW_MS)
    assert isinstance(event, Event), event
    return event


def rejected(**changes: str) -> Rejected:
    result = rees46.to_event(ROW | changes, now_ms=NOW_MS)
    assert isinstance(result, Rejected), result
    return result


def test_a_full_row_becomes_the_event_it_describes() -> None:
    event = adapted()
    assert event == Event(
        event_id=event.event_id,
        event_type="view_item",
        event_time=1_614_539_602_000,  # 2021-02-28T19:13:22Z
        visitor_id="u-1",
        session_id="s-1",
        item_id="17",
        category="garden.tools.rake",
        brand="holm",
        price=12.5,
    )
    assert len(event.event_id) == 16


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("view", "view_item"),
        ("cart", "add_to_cart"),
        ("remove_from_cart", "remove_from_cart"),
        ("purchase", "purchase"),
    ],
)
def test_event_types_are_named_as_ga4_names_them(theirs: str, ours: str) -> None:
    assert adapted(event_type=theirs).event_type == ours


def test_without_a_category_code_the_category_is_the_id() -> None:
    assert adapted(category_code="").category == "9001"


def test_empty_category_brand_and_price_are_normal() -> None:
    event = adapted(category_code="", category_id="", brand="", price="")
    assert (event.category, event.brand, event.price) == (None, None, None)


def test_without_a_user_the_visitor_is_the_session() -> None:
    event = adapted(user_id="")
    assert (event.visitor_id, event.session_id) == ("s-1", "s-1")


def test_without_a_session_the_session_is_left_to_the_gap() -> None:
    event = adapted(user_session="")
    assert (event.visitor_id, event.session_id) == ("u-1", None)


def test_without_user_and_session_the_row_is_nobodys() -> None:
    result = rejected(user_id="", user_session="")
    assert result.reason == "bad_row"
    assert "neither user_id nor user_session" in result.detail


def test_equal_rows_have_equal_ids_and_any_change_another() -> None:
    ids = {
        adapted(**{column: value}).event_id for column, value in {"price": "12.51", "brand": "", "user_id": "x"}.items()
    }
    assert adapted().event_id == adapted().event_id
    assert len(ids | {adapted().event_id}) == 4


def test_the_id_is_the_same_on_every_machine_and_run() -> None:
    assert adapted().event_id == "4fcffa074131c63e"


def test_columns_of_no_meaning_do_not_change_the_id() -> None:
    assert adapted(extra="1").event_id == adapted().event_id


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"event_type": "click"}, "invalid_value", ["'click'", "view, cart, remove_from_cart, purchase"]),
        ({"event_type": ""}, "invalid_value", ["''"]),
        ({"event_time": "2021-02-30 19:13:22 UTC"}, "invalid_value", ["2021-02-30", "expected"]),
        ({"event_time": "2021-02-28T19:13:22Z"}, "invalid_value", ["2021-02-28 19:13:22 UTC"]),
        ({"event_time": "1614539602"}, "invalid_value", ["'1614539602'"]),
        ({"event_time": "1999-12-31 23:59:59 UTC"}, "time_out_of_range", ["946684799000"]),
        ({"event_time": "2030-01-03 00:00:00 UTC"}, "time_out_of_range", ["24 h"]),
        ({"price": "nan"}, "invalid_value", ["price 'nan'"]),
        ({"price": "-1"}, "invalid_value", ["price '-1'"]),
        ({"price": "1,5"}, "invalid_value", ["expected a number"]),
        ({"price": "2000000000"}, "invalid_value", ["price 2000000000.0", "1000000000"]),
        ({"user_id": "u" * 257}, "invalid_value", ["visitor_id", "256"]),
        ({"user_id": "\ud800"}, "bad_row", ["UTF-8"]),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_got_and_expected(
    changes: dict[str, str], reason: str, words: list[str]
) -> None:
    result = rejected(**changes)
    assert result.reason == reason
    assert [word for word in words if word not in result.detail] == []


def test_an_empty_row_is_refused() -> None:
    assert isinstance(rees46.to_event({}, now_ms=NOW_MS), Rejected)


@given(
    row=st.fixed_dictionaries(
        {},
        optional={
            "event_time": st.one_of(
                st.just(ROW["event_time"]), st.text(), st.from_regex(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
            ),
            "event_type": st.one_of(st.sampled_from(["view", "cart", "purchase"]), st.text()),
            "price": st.one_of(st.just("1.5"), st.text(), st.from_regex(r"\d+\.?\d*")),
            **{
                column: st.one_of(st.text(max_size=300), st.text(st.characters(), max_size=8))
                for column in rees46.COLUMNS
                if column not in ("event_time", "event_type", "price")
            },
        },
    )
)
def test_any_text_is_an_event_that_survives_the_wire_or_a_named_rejection(row: dict[str, str]) -> None:
    result = rees46.to_event(row, now_ms=NOW_MS)
    if isinstance(result, Rejected):
        assert result.reason in REJECT_REASONS
        assert "got" in result.detail
        assert "expected" in result.detail.lower()
    else:
        assert codec.decode_event(codec.encode(result), record_time_ms=NOW_MS) == result

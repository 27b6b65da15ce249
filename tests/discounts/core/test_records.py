"""The records of discounting: what is written is what is read, by programs newer and older than the writer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stream_app.core.codec import RECORD_BYTES_MAX, Rejected
from stream_app.core.events import ID_LENGTH_MAX
from stream_app.core.records import Moment as WrittenMoment
from stream_app.discounts.core.records import Exposure, Moment, Offer, Outcome, decode, encode, exposure_id

T0 = 1_760_000_000_000

MOMENT = Moment(
    moment_id="e1:quiet",
    kind="quiet",
    visitor_id="v1",
    session_id="s1",
    event_id="e1",
    event_time=T0,
    events=7,
    score=0.21,
    band="on_the_fence",
    previous_band="unlikely",
    trend=-0.4,
    cart_value=89.5,
    purchases=0,
    item_id="i9",
    category="shoes",
    features={"events": 2.079, "has_cart": 1.0},
    model_version=12,
    cold=False,
    scored_at=T0 + 40,
)
OFFER = Offer(
    offer_id="0f",
    visitor_id="v1",
    session_id="s1",
    item_id="i9",
    percent=10.0,
    reason="quiet with a cart",
    score=0.21,
    arm="treatment",
    issued_at=T0 + 50,
    expires_at=T0 + 900_050,
    experiment="autumn",
    policy="a1b2",
)
EXPOSURE = Exposure(
    exposure_id="0f",
    visitor_id="v1",
    session_id="s1",
    item_id="i9",
    category="shoes",
    experiment="autumn",
    policy="a1b2",
    arm="treatment",
    percent=10.0,
    propensity=0.7,
    levels=[(0.0, 0.1), (5.0, 0.2), (10.0, 0.7)],
    holdout_share=0.2,
    context="shoes",
    score=0.21,
    band="on_the_fence",
    kind="quiet",
    cart_value=89.5,
    decided_at=T0 + 50,
    event_time=T0,
    cost=4.475,
    budget=T0,
    booking=7,
    planned=1_500,
)
OUTCOME = Outcome(
    exposure=EXPOSURE, exposures=2, orders=1, revenue=90.0, discount=10.0, profit=20.0, window_ms=86_400_000,
    matured_at=T0 + 10**8,
)  # fmt: skip

RECORDS = [MOMENT, OFFER, EXPOSURE, OUTCOME]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_is_written_is_what_is_read(record: Any) -> None:
    assert decode(type(record), encode(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_fields_of_a_newer_writer_are_passed_over(record: Any) -> None:
    told = json.loads(encode(record)) | {"field_of_tomorrow": {"deep": [1]}}
    assert decode(type(record), json.dumps(told).encode()) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_the_names_on_the_wire_are_those_of_the_fields(record: Any) -> None:
    assert list(json.loads(encode(record))) == [field.name for field in msgspec.structs.fields(type(record))
                                                if getattr(record, field.name) is not None]  # fmt: skip


def test_a_moment_of_a_kind_that_is_not_known_is_a_moment_all_the_same() -> None:
    told = json.loads(encode(MOMENT)) | {"kind": "returned"}
    found = decode(Moment, json.dumps(told).encode())
    assert isinstance(found, Moment)
    assert found.kind == "returned"


def test_ids_made_of_the_longest_ids_that_may_come_in_are_read() -> None:
    visitor = "v" * ID_LENGTH_MAX
    long = {"visitor_id": visitor, "session_id": f"{visitor}@{T0}~2", "moment_id": f"{'e' * ID_LENGTH_MAX}:quiet"}
    assert isinstance(decode(Moment, json.dumps(json.loads(encode(MOMENT)) | long).encode()), Moment)
    del long["moment_id"]
    assert isinstance(decode(Exposure, json.dumps(json.loads(encode(EXPOSURE)) | long).encode()), Exposure)
    assert isinstance(decode(Offer, json.dumps(json.loads(encode(OFFER)) | long).encode()), Offer)


def test_what_the_worker_writes_has_the_fields_that_are_read() -> None:
    assert Moment.__struct_fields__ == WrittenMoment.__struct_fields__


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"percent": 100}, "percent"),
        ({"percent": -1}, "percent"),
        ({"propensity": 1.01}, "propensity"),
        ({"arm": "control"}, "arm"),
        ({"visitor_id": ""}, "visitor_id"),
        ({"levels": [[0, 1.2]]}, "levels"),
        ({"decided_at": "today"}, "decided_at"),
    ],
)
def test_what_no_exposure_can_be_is_refused_with_its_field(changed: dict[str, Any], said: str) -> None:
    found = decode(Exposure, json.dumps(json.loads(encode(EXPOSURE)) | changed).encode())
    assert isinstance(found, Rejected)
    assert found.reason == "invalid_value"
    assert f"$.{said}" in found.detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_value"),
        (b"", "empty_value"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[]", "invalid_value"),
        (b" " * (RECORD_BYTES_MAX + 1), "too_large"),
        (b'{"unknown":' + b"[" * 100_000, "not_json"),
    ],
)
def test_bytes_that_are_no_record_are_a_value_and_no_exception(value: bytes | None, reason: str) -> None:
    found = decode(Offer, value)
    assert isinstance(found, Rejected)
    assert found.reason == reason


def test_an_exposures_id_is_the_sessions_own_and_stays_what_it_is() -> None:
    # Golden: applications that decide again after an upgrade must come to the id of before it.
    assert exposure_id("autumn", "v1", "s1") == "26e7d9204ffdf663ef99ff5ba8b43321"
    ids = {
        exposure_id(*parts)
        for parts in [
            ("a", "v", "s"),
            ("b", "v", "s"),
            ("a", "w", "s"),
            ("a", "v", "t"),
            ("a", "vs", ""),
            ("av", "", "s"),
        ]
    }
    assert len(ids) == 6

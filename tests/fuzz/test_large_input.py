"""Records of megabytes: each is one dead letter with its own bytes, and what comes after it is scored."""

from __future__ import annotations

import json

import pytest

from tests.core.streams import T0, Record, event
from tests.fuzz.hostile_partition import HostilePartition

MEGA = 1_000_000

_EVENT = {"event_id": "e", "event_type": "view_item", "event_time": T0, "visitor_id": "v"}
_OPEN = json.dumps(_EVENT).encode()[:-1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(_OPEN + b',"extra":"' + b"x" * 10 * MEGA + b'"}', "too_large", id="10_MB_text"),
        pytest.param(b"[" * 10 * MEGA, "too_large", id="10_MB_deep"),
        pytest.param(b"\x00" * 10 * MEGA, "too_large", id="10_MB_of_NUL"),
        pytest.param(_OPEN + b',"price":' + b"9" * 10 * MEGA + b"}", "too_large", id="10_MB_number"),
        pytest.param(json.dumps({**_EVENT, "visitor_id": "v" * MEGA}).encode(), "too_large", id="1_MB_visitor"),
        pytest.param(json.dumps({**_EVENT, "visitor_id": "v" * 200_000}).encode(), "invalid_value", id="200_kB_id"),
        pytest.param(json.dumps({**_EVENT, "event_id": "\u0001" * 40_000}).encode(), "invalid_value", id="240_kB_id"),
        pytest.param(json.dumps({**_EVENT, "event_time": "9" * 200_000}).encode(), "invalid_value", id="200_kB_time"),
        pytest.param(_OPEN + b',"event_time":' + b"9" * 200_000 + b"}", "invalid_value", id="200_kB_digits"),
        pytest.param(_OPEN + b',"extra":' + b"[" * 120_000 + b"]" * 120_000 + b"}", "not_json", id="120_000_deep"),
        pytest.param(_OPEN + b"," + b'"k":1,' * 40_000 + b'"k":2}', None, id="40_000_duplicate_keys"),
        pytest.param(_OPEN + b',"extra":"' + b"x" * 250_000 + b'"}', None, id="250_kB_ignored"),
    ],
)
def test_a_huge_record_is_one_dead_letter_or_one_score_and_the_next_event_is_scored(
    value: bytes, reason: str | None
) -> None:
    partition = HostilePartition(partitions=1)
    effects = partition.step([Record("events", 0, T0, b"v", value), event(1, "v", "view_item", 1)])
    assert [letter.reason for letter in effects.dead_letters] == ([reason] if reason else [])
    assert len(effects.scores) == (1 if reason else 2)


def test_a_huge_key_is_a_dead_letter_whole() -> None:
    partition = HostilePartition()
    effects = partition.step([event(0, "v", "view_item", 0)._replace(key=b"k" * MEGA)])
    (letter,) = effects.dead_letters
    assert (letter.reason, letter.key) == ("wrong_key", b"k" * MEGA)


@pytest.mark.parametrize("character", ["x", "\u0001", "\U0001f6d2"], ids=["ascii", "escaped", "four_bytes"])
def test_the_longest_names_in_every_place_keep_state_and_outputs_below_what_kafka_takes(character: str) -> None:
    # Four sessions at once, each with as many items, categories and brands as are tracked, all of the greatest length.
    def name(n: int) -> str:
        return (str(n) + character * 256)[:256]

    partition = HostilePartition(partitions=1)
    visitor, n = character * 256, 0
    for session in range(4):
        for _ in range(66):
            names = {field: name(n) for field in ("item_id", "category", "brand", "order_id", "event_id")}
            common = {field: name(0) for field in ("source", "country", "currency")}
            many = event(n, visitor, "view_item", n / 100, session_id=name(session), price=1e9, **names, **common)
            partition.step([many])
            n += 1
    for session in range(4):
        effects = partition.step([event(n, visitor, "purchase", n / 100, session_id=name(session))])
        assert len(effects.examples) == 8
        n += 1

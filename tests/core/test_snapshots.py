"""Snapshots: what was written is read whole, and nothing else is believed."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.prior_tables import new_table
from stream_app.core.snapshots import (
    COMMAND_KEY,
    HEAD_KEY,
    NEWER,
    RECORD_BYTES_MAX,
    SIGNATURE_HEADER,
    SNAPSHOT_SCHEMA,
    Command,
    RefusedError,
    Signed,
    Snapshot,
    SnapshotReader,
    TooLargeError,
    encode_command,
    encode_snapshot,
    read_command,
    sign,
    signature_of,
)
from tests.core.examples import BASE, SECRET, SnapshotTopic, everything, examples, learner

STATE = {"model": "newton", "numbers": [1, 2.5], "weights": np.array([0.1, -2.0])}
Changes = dict[tuple[str, str], list[float] | None]


def written(
    version: int, changes: Changes, *, challengers: dict[str, Any] | None = None, secret: bytes = SECRET
) -> list[Signed]:
    return encode_snapshot(STATE, changes, challengers or {}, version=version, published_at=7, secret=secret)


def read(reader: SnapshotReader, records: list[Signed]) -> list[Snapshot]:
    return [found for record in records if (found := reader.read(*record)) is not None]


def reader(*, learning: bool = False) -> SnapshotReader:
    return SnapshotReader(secret=SECRET, learning=learning)


def head_of(**fields: Any) -> Signed:
    """A head by hand, well signed."""
    values = {"schema": SNAPSHOT_SCHEMA, "version": 1, "entries": 0, "published_at": 0, "state": {}, **fields}
    value = msgspec.msgpack.encode(values)
    return HEAD_KEY, value, sign(HEAD_KEY, value, SECRET)


def refused(reason: str, record: tuple[bytes | None, bytes | None, bytes | None], to: SnapshotReader) -> None:
    with pytest.raises(RefusedError) as error:
        to.read(*record)
    assert error.value.reason == reason
    assert str(error.value).startswith(f"{reason}: ")


# ---- what was written is read ---------------------------------------------------------------------------------------


def test_a_snapshot_comes_back_with_its_head_last_and_its_entries_beside_it() -> None:
    changes: Changes = {("item", "i1"): [0.1, 2.0], ("category", "a/b/ä"): [0.0, 1e-300], ("brand", ""): None}
    records = written(3, changes)
    assert [key for key, _, _ in records] == [
        b"prior/item/i1", "prior/category/a/b/ä".encode(), b"prior/brand/", HEAD_KEY,
    ]  # fmt: skip
    one = reader()
    assert [one.read(*record) for record in records[:-1]] == [None] * 3
    found = one.read(*records[-1])
    assert found is not None
    head, entries, challengers = found
    assert (head.schema, head.version, head.entries, head.published_at) == (SNAPSHOT_SCHEMA, 3, 3, 7)
    assert head.state["numbers"] == [1, 2.5]
    assert head.state["weights"].tolist() == [0.1, -2.0]
    assert dict(entries) == changes
    assert challengers == {}


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    special=st.sampled_from([0.0, -0.0, 1 / 3, 5e-324, 1.7e308, -1.7e308]),
)
def test_arrays_of_any_shape_come_back_bit_for_bit_and_can_be_written_to(shape: list[int], special: float) -> None:
    array = np.full(shape, special)
    (record,) = encode_snapshot({"array": array}, {}, {}, version=1, published_at=0, secret=SECRET)
    found = reader().read(*record)
    assert found is not None
    back = found[0].state["array"]
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    back += 1.0


def test_numbers_of_numpy_travel_as_plain_ones() -> None:
    state = {"count": np.int64(2**40), "rate": np.float64(0.1), "flag": np.bool_(True)}
    (record,) = encode_snapshot(state, {}, {}, version=1, published_at=0, secret=SECRET)
    found = reader().read(*record)
    assert found is not None
    assert found[0].state == {"count": 2**40, "rate": 0.1, "flag": True}


def test_what_cannot_travel_is_said_by_the_writer() -> None:
    with pytest.raises(NotImplementedError, match="cannot encode"):
        encode_snapshot({"x": object()}, {}, {}, version=1, published_at=0, secret=SECRET)


@pytest.mark.parametrize("model", ["newton", "sgd"])
def test_a_learner_comes_back_as_it_was(model: str) -> None:
    one, topic = learner(model), SnapshotTopic(model)
    for offset, example in enumerate(examples(80)):
        one.fold(0, offset, example)
    topic.publish(one)
    assert everything(topic.restored()) == everything(one)


# ---- what is half there is not there --------------------------------------------------------------------------------


def test_entries_without_their_head_are_invisible() -> None:
    one = reader()
    read(one, written(1, {("item", "a"): [1.0, 1.0]}))
    half = written(2, {("item", "a"): [2.0, 2.0], ("item", "b"): [2.0, 2.0]})[:-1]
    assert read(one, half) == []
    # The next head that comes is an older one, as a repetition would be: the half is not its.
    ((head, entries, _),) = read(one, [*written(1, {("item", "c"): [1.0, 1.0]})])
    assert head.version == 1
    assert dict(entries) == {("item", "c"): [1.0, 1.0]}


def test_entries_of_a_head_that_was_compacted_away_come_with_the_next_one() -> None:
    one = reader()
    first = written(1, {("item", "a"): [1.0, 1.0], ("item", "b"): [1.0, 1.0]})[:-1]
    ((head, entries, _),) = read(one, [*first, *written(2, {("item", "a"): [2.0, 2.0]})])
    assert head.version == 2
    assert dict(entries) == {("item", "a"): [2.0, 2.0], ("item", "b"): [1.0, 1.0]}


def test_entries_are_told_once() -> None:
    one = reader()
    read(one, written(1, {("item", "a"): [1.0, 1.0]}))
    assert read(one, written(2, {}))[0][1] == []


def test_a_dropped_entry_stays_dropped_for_whoever_reads_all_of_the_topic() -> None:
    one, topic = learner(), SnapshotTopic()
    one.priors.table = new_table(BASE, entries_max=10)
    found = examples(60)
    for offset, example in enumerate(found[:30]):
        one.fold(0, offset, example)
    topic.publish(one)
    before = one.priors.table.entries()["item"]
    for offset, example in enumerate(found[30:], 30):
        one.fold(0, offset, example)
    dropped = before.keys() - one.priors.table.entries()["item"].keys()
    assert dropped
    written = {key for key, _, _ in topic.publish(one)}
    assert written >= {f"prior/item/{item}".encode() for item in dropped}
    assert everything(topic.restored()) == everything(one)
    assert not dropped & topic.restored().priors.table.entries()["item"].keys()


# ---- what is not ours is not read -----------------------------------------------------------------------------------


def test_a_record_without_a_signature_is_refused() -> None:
    for key, value, _ in written(1, {("item", "a"): [1.0, 1.0]}):
        refused("unsigned", (key, value, None), reader())


@pytest.mark.parametrize("part", [0, 1])
def test_a_record_signed_with_another_secret_is_refused(part: int) -> None:
    refused("bad_signature", written(1, {("item", "a"): [1.0, 1.0]}, secret=b"another")[part], reader())


def test_a_signature_fits_one_key_and_one_value() -> None:
    (entry_key, entry, entry_signature), (key, value, signature) = written(1, {("item", "a"): [1.0, 1.0]})
    for record in (
        (key, entry, entry_signature),
        (entry_key, value, signature),
        (b"prior/item/b", entry, entry_signature),
        (key, value + b"\0", signature),
        (key, value, signature[:-1]),
        (key, value, b""),
    ):
        refused("bad_signature", record, reader())


def test_a_refused_record_does_not_stop_the_reading() -> None:
    one = reader()
    good = written(2, {("item", "a"): [1.0, 1.0]})
    refused("bad_signature", written(1, {("item", "a"): [9.0, 9.0]}, secret=b"forged")[0], one)
    refused("bad_signature", written(1, {}, secret=b"forged")[0], one)
    ((head, entries, _),) = read(one, good)
    assert (head.version, dict(entries)) == (2, {("item", "a"): [1.0, 1.0]})


def signed(key: bytes, value: bytes) -> Signed:
    return key, value, sign(key, value, SECRET)


ARRAY = 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        b"not MessagePack",
        msgspec.msgpack.encode({"schema": SNAPSHOT_SCHEMA}),
        msgspec.msgpack.encode({"schema": "1", "version": 1, "entries": 0, "published_at": 0, "state": {}}),
        *(
            head_of(state={"w": msgspec.msgpack.Ext(code, data)})[1]
            for code, data in [
                (7, b""),
                (ARRAY, b""),
                (ARRAY, b"\1"),
                (ARRAY, struct.pack("<I", 2) + struct.pack("<I", 3)),
                (ARRAY, struct.pack("<II", 1, 3) + b"\0" * 8),
                (ARRAY, struct.pack("<II", 1, 1) + b"\0" * 7),
                (ARRAY, struct.pack("<I", 2**32 - 1)),
            ]
        ),
    ],
    ids=repr,
)
def test_a_damaged_head_is_refused(value: bytes) -> None:
    refused("damaged", signed(HEAD_KEY, value), reader())


@pytest.mark.parametrize("value", [b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode([1, ["x"]])])
def test_a_damaged_entry_is_refused(value: bytes) -> None:
    refused("damaged", signed(b"prior/item/a", value), reader())


def test_an_entry_whose_name_is_no_text_is_refused() -> None:
    refused("damaged", signed(b"prior/item/\xff", msgspec.msgpack.encode([1, None])), reader())


@settings(max_examples=200, deadline=None)
@given(value=st.binary(max_size=60), entry=st.booleans())
def test_well_signed_noise_is_refused_and_raises_nothing_else(value: bytes, entry: bool) -> None:
    key = b"prior/item/a" if entry else HEAD_KEY
    one = reader()
    with suppress(RefusedError):
        one.read(*signed(key, value))
    # Whatever it was, reading goes on.
    assert read(one, written(2**63, {}))[0][0].version == 2**63


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_wherever_it_is(value: float) -> None:
    for state in ({"a": value}, {"a": {"b": [1, value]}}, {"a": np.array([[0.0], [value]])}):
        (head,) = encode_snapshot(state, {}, {}, version=1, published_at=0, secret=SECRET)
        refused("non_finite", head, reader())
    one = reader()
    entry, head = written(1, {("item", "i"): [0.5, value]})
    assert one.read(*entry) is None
    refused("non_finite", head, one)
    # The next good one is taken, without what came with the bad one.
    assert read(one, written(2, {("item", "j"): [0.5, 1.0]}))[0][1] == [(("item", "j"), [0.5, 1.0])]


def test_a_head_of_another_schema_is_refused_and_the_entries_wait_for_one_of_ours() -> None:
    one = reader()
    read(one, written(1, {("item", "a"): [1.0, 1.0]})[:-1])
    refused("foreign_schema", head_of(schema=SNAPSHOT_SCHEMA - 1, version=1), one)
    refused(NEWER, head_of(schema=SNAPSHOT_SCHEMA + 1, version=1), one)
    assert dict(read(one, written(2, {}))[0][1]) == {("item", "a"): [1.0, 1.0]}


CHALLENGERS = {"sgd": {"weights": np.array([0.5, -1.5]), "learned": [3, 1, 2]}, "blend": {"learned": [0, 0, 0]}}


def test_challengers_come_before_the_head_and_back_with_it_for_who_asks() -> None:
    records = written(4, {("item", "a"): [1.0, 1.0]}, challengers=CHALLENGERS)
    assert [key for key, _, _ in records] == [b"prior/item/a", b"challenger/sgd", b"challenger/blend", HEAD_KEY]
    ((_, entries, challengers),) = read(reader(learning=True), records)
    assert dict(entries) == {("item", "a"): [1.0, 1.0]}
    assert challengers["sgd"]["weights"].tolist() == [0.5, -1.5]
    assert challengers["sgd"]["learned"] == [3, 1, 2]
    assert challengers["blend"] == {"learned": [0, 0, 0]}


def test_challengers_are_not_looked_at_by_scorers() -> None:
    # They pass over even what is forged, damaged or not finite there: it is nothing they would ever use.
    one = reader()
    assert one.read(b"challenger/sgd", b"whatever", None) is None
    bad = {"sgd": {"weights": np.array([np.nan])}}
    ((_, entries, challengers),) = read(one, written(1, {("item", "a"): [1.0, 1.0]}, challengers=bad))
    assert dict(entries) == {("item", "a"): [1.0, 1.0]}
    assert challengers == {}


def test_challengers_are_signed_whole_and_finite_for_who_learns_them() -> None:
    (key, value, signature), _ = written(1, {}, challengers={"sgd": {"learned": [0, 0, 0]}})
    refused("unsigned", (key, value, None), reader(learning=True))
    refused("bad_signature", (b"challenger/blend", value, signature), reader(learning=True))
    refused("bad_signature", (key, value + b"\0", signature), reader(learning=True))
    refused("damaged", signed(key, b"\xc1"), reader(learning=True))
    refused("damaged", signed(key, msgspec.msgpack.encode({"version": 1})), reader(learning=True))
    refused("damaged", signed(b"challenger/\xff", value), reader(learning=True))
    one = reader(learning=True)
    challenger, head = written(1, {}, challengers={"sgd": {"weights": np.array([np.nan])}})
    assert one.read(*challenger) is None
    refused("non_finite", head, one)


def test_a_challenger_that_learns_no_more_or_has_no_head_yet_is_left_out() -> None:
    one = reader(learning=True)
    assert set(read(one, written(1, {}, challengers=CHALLENGERS))[0].challengers) == {"sgd", "blend"}
    # Of the second snapshot `blend` is no part; its old record stays on the topic, since nothing overwrites it.
    assert set(read(one, written(2, {}, challengers={"sgd": {}}))[0].challengers) == {"sgd"}
    # One of a snapshot whose head never came: not of the head that comes.
    read(one, written(4, {}, challengers=CHALLENGERS)[:-1])
    assert read(one, written(3, {}))[0].challengers == {}


WAITING = {"held": [{"event_id": f"e{n}", "x": [n / 7] * 60} for n in range(5_000)], "pending": [[3, [{"a": 1}]]]}


def test_examples_that_wait_travel_beside_the_head_in_as_many_records_as_they_need() -> None:
    state = {**STATE, **WAITING}
    records = encode_snapshot(state, {}, {}, version=5, published_at=7, secret=SECRET)
    assert [key for key, _, _ in records] == [b"waiting/0", b"waiting/1", b"waiting/2", HEAD_KEY]
    assert all(len(value) < RECORD_BYTES_MAX for _, value, _ in records)
    (found,) = read(reader(learning=True), records)
    assert {name: found.head.state[name] for name in WAITING} == WAITING
    # A scorer has no use for them: it does not even look at them.
    scorer = reader()
    assert scorer.read(b"waiting/0", b"whatever", None) is None
    (found,) = read(scorer, records)
    assert not found.head.state.keys() & WAITING.keys()
    # Nobody waits any more: the old records stay on the topic and mean nothing.
    one = reader(learning=True)
    read(one, records)
    idle = encode_snapshot({**STATE, "held": [], "pending": []}, {}, {}, version=6, published_at=7, secret=SECRET)
    assert [key for key, _, _ in idle] == [HEAD_KEY]
    assert read(one, idle)[0].head.state["held"] == []


def test_waiting_examples_that_are_not_whole_are_refused() -> None:
    records = encode_snapshot({**STATE, **WAITING}, {}, {}, version=5, published_at=7, secret=SECRET)
    older = encode_snapshot({**STATE, **WAITING}, {}, {}, version=4, published_at=7, secret=SECRET)
    for left in ([records[0], records[2], records[3]], [records[0], older[1], records[2], records[3]]):
        one = reader(learning=True)
        for record in left[:-1]:
            assert one.read(*record) is None
        refused("damaged", left[-1], one)
        # The next good one is taken.
        assert len(read(one, records)) == 1
    key, value, _ = records[0]
    refused("unsigned", (key, value, None), reader(learning=True))
    refused("damaged", signed(key, b"\xc1"), reader(learning=True))


@pytest.mark.parametrize("what", ["head with champion newton", "challenger/forest", "prior/item/"])
def test_a_record_that_kafka_would_not_take_is_named_by_the_writer(what: str) -> None:
    large = {"weights": np.zeros(RECORD_BYTES_MAX // 8)}
    with pytest.raises(TooLargeError, match=rf"{what}.*: got a record of \d+ bytes, Kafka takes {RECORD_BYTES_MAX}"):
        encode_snapshot(
            {"model": "newton", **(large if "champion" in what else {})},
            {("item", "i"): [0.0] * (RECORD_BYTES_MAX // 8) if "prior" in what else [0.0]},
            {"forest": large if "forest" in what else {}},
            version=1,
            published_at=0,
            secret=SECRET,
        )


# ---- commands -------------------------------------------------------------------------------------------------------

COMMAND = Command("c1", "sgd", 1_700_000_000_000)


@pytest.mark.parametrize("command", [COMMAND, Command("c2", None, 0)])
def test_a_command_comes_back_and_is_no_snapshot(command: Command) -> None:
    record = encode_command(command, secret=SECRET)
    assert record[0] == COMMAND_KEY
    assert read_command(*record, secret=SECRET) == command
    assert reader().read(*record) is None
    assert reader(learning=True).read(*record) is None


def test_what_is_no_command_is_none() -> None:
    for record in written(1, {("item", "a"): [1.0, 1.0]}, challengers=CHALLENGERS):
        assert read_command(*record, secret=SECRET) is None
    assert read_command(None, b"x", b"y", secret=SECRET) is None
    assert read_command(COMMAND_KEY, None, None, secret=SECRET) is None


def test_a_command_that_is_not_ours_is_refused() -> None:
    key, value, signature = encode_command(COMMAND, secret=SECRET)
    _, other, _ = encode_command(Command("c1", "newton", 1_700_000_000_000), secret=SECRET)
    noise = b"\xc1"
    for reason, record in (
        ("unsigned", (key, value, None)),
        ("bad_signature", encode_command(COMMAND, secret=b"forged")),
        ("bad_signature", (key, other, signature)),
        ("damaged", signed(key, noise)),
        ("damaged", signed(key, msgspec.msgpack.encode({"id": 1, "model": "sgd", "given_at": 0}))),
    ):
        with pytest.raises(RefusedError) as error:
            read_command(*record, secret=SECRET)
        assert error.value.reason == reason


def test_records_without_key_or_value_are_passed_over() -> None:
    one = reader()
    assert one.read(None, b"x", b"y") is None
    assert one.read(HEAD_KEY, None, b"y") is None
    assert one.read(HEAD_KEY, None, None) is None
    assert one.read(b"prior/item/a", None, None) is None


def test_the_signature_is_found_among_other_headers() -> None:
    assert signature_of([]) is None
    assert signature_of([("other", b"x"), (SIGNATURE_HEADER, b"s"), (SIGNATURE_HEADER, b"t")]) == b"s"

"""What is fuzzed: each target takes bytes from outside and checks what must hold whatever they are.

A target raises only when a promise is broken: the documented errors of what it tries are part of the promise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np

from producers.adapters.result import Arrival, Ignored
from producers.formats import FORMATS
from stream_app.core import codec, state
from stream_app.core.codec import DETAIL_LENGTH_MAX, REJECT_REASONS, Rejected
from stream_app.core.effects import decode_position, encode_position
from stream_app.core.events import EVENT_TIME_AHEAD_MS_MAX, EVENT_TIME_MS_MIN, CheckoutLabel, Event
from stream_app.core.example_decoding import UnreadableExampleError, decode_example
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import NonFiniteError
from stream_app.core.records import Keys
from stream_app.core.snapshots import HEAD_KEY, NEWER, Head, RefusedError, SnapshotReader, sign
from tests.core.examples import SECRET, SnapshotTopic, example, learner
from tests.fuzz.hostile_partition import HostilePartition

#: The broker's clock: 2023-11-14T22:13:20Z.
NOW: Final = 1_700_000_000_000

#: No feature of ours is larger; an example's may be, as long as it is finite.
FEATURE_MAX: Final = 200_000.0

Target = Callable[[bytes], None]


def check_rejected(rejected: Rejected) -> None:
    assert rejected.reason in REJECT_REASONS
    assert 0 < len(rejected.detail) <= DETAIL_LENGTH_MAX


def check_event(event: Event | Rejected) -> None:
    """An accepted event is within its bounds, and says the same after its own encoding."""
    if isinstance(event, Rejected):
        return check_rejected(event)
    assert isinstance(event.event_time, int)
    assert EVENT_TIME_MS_MIN <= event.event_time <= NOW + EVENT_TIME_AHEAD_MS_MAX
    assert 1 <= len(event.event_id) <= 256
    assert 1 <= len(event.visitor_id) <= 256
    assert event.price is None or 0.0 <= event.price <= 1e9
    assert event.quantity is None or 0.0 <= event.quantity <= 1e6
    assert codec.decode_event(codec.encode(event), record_time_ms=NOW) == event
    return None


def event_target(data: bytes) -> None:
    check_event(codec.decode_event(data, record_time_ms=NOW))


def label_target(data: bytes) -> None:
    label = codec.decode_label(data, record_time_ms=NOW)
    if isinstance(label, Rejected):
        check_rejected(label)
        return
    assert isinstance(label, CheckoutLabel)
    assert isinstance(label.checkout_time, int)
    assert codec.decode_label(codec.encode(label), record_time_ms=NOW) == label


def position_target(data: bytes) -> None:
    """Commit metadata and the view's position: ours, or None."""
    position = decode_position(data)
    if position is not None:
        assert decode_position(encode_position(position)) == position


def state_target(data: bytes) -> None:
    """A blob from Redis or the changelog: a visitor that encodes again, or one of the two errors."""
    for read in (state.decode, state.applied):
        try:
            read(data)
        except (state.StateVersionError, state.DamagedStateError):
            continue
        if read is state.decode:
            visitor = state.decode(data)
            assert msgspec.msgpack.encode(state.decode(state.encode(visitor))) == msgspec.msgpack.encode(visitor)


def example_target(data: bytes) -> None:
    """An example, first and again among good ones: learned, or left out; what there is then scores and is published."""
    fold, topic, keys = learner("newton", "sgd"), SnapshotTopic("newton", "sgd"), [Keys()]
    features_max = 0.0
    for offset, told in enumerate((data, None, data, None)):
        try:
            one = decode_example(told) if told is not None else example(offset)
            one.event_id += str(offset)
            one.position = (*one.position[:2], one.position[2] + offset)  # no repetition
            fold.fold(0, offset, one)
        except (UnreadableExampleError, NonFiniteError):
            assert told is not None
            fold.offsets[0] = offset + 1
            continue
        keys.append(one.keys)
        features_max = max(features_max, *map(abs, msgspec.structs.astuple(one.features)))
    scores = fold.model.score_many(np.zeros((len(keys), len(FEATURE_NAMES))), keys)
    assert 0.0 < min(scores) <= max(scores) < 1.0
    try:
        topic.publish(fold)
    except NonFiniteError:
        # Finite each, too large to be learned from: the trainer goes back, and leaves such examples out.
        assert features_max > FEATURE_MAX
    else:
        assert topic.restored().offsets == fold.offsets


def snapshot_target(data: bytes) -> None:
    """A head and an entry with these bytes: refused without our signature, and with it unless taken over whole."""
    for key in (HEAD_KEY, b"prior/item/i1", b"prior/" + data[:20]):
        assert _read_snapshot(key, data, None) == "unsigned"
        found = _read_snapshot(key, data, sign(key, data, SECRET))
        if isinstance(found, str):
            assert found in ("damaged", "foreign_schema", NEWER)
        elif found is not None:
            fold = learner()
            with suppress(ValueError):
                fold.restore(found.state, {})
                continue
            assert fold.updates == 0


def _read_snapshot(key: bytes, data: bytes, signature: bytes | None) -> Head | str | None:
    """The head in a record, None for an entry, or why it was refused."""
    try:
        found = SnapshotReader(secret=SECRET).read(key, data, signature)
    except RefusedError as refused:
        return refused.reason
    return found[0] if found is not None else None


def rows_target(name: str) -> Target:
    """A row of a file, behind a header that fits."""
    format, arrival = FORMATS[name], Arrival(NOW)
    parse = format.delimited_parser(",".join(format.columns).encode(), arrival) if format.only_text else None

    def target(data: bytes) -> None:
        results = parse(data) if parse is not None else format.results(data, arrival)
        assert sum(isinstance(result, Rejected) for result in results) <= 1
        for result in results:
            if not isinstance(result, Ignored):
                check_event(result)

    return target


def partition_target(data: bytes) -> None:
    """A whole partition, fed with a log that the bytes describe; see `HostilePartition`."""
    HostilePartition().run(data)


TARGETS: Final[dict[str, Target]] = {
    "event": event_target,
    "label": label_target,
    "position": position_target,
    "state": state_target,
    "example": example_target,
    "snapshot": snapshot_target,
    **{name: rows_target(name) for name in FORMATS},
    "partition": partition_target,
}

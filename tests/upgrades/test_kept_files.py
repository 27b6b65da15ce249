"""What earlier versions stored is gone on from; what a later one stores is refused, and nothing is overwritten."""

from __future__ import annotations

import json
from base64 import b64decode

import msgspec
import pytest

from stream_app import __version__, partition
from stream_app.core import state
from stream_app.core.effects import POSITION_VERSION, decode_position, encode_position
from stream_app.core.example_decoding import decode_example
from stream_app.core.learner import Learner
from stream_app.core.snapshots import HEAD_KEY, NEWER, RefusedError, SnapshotReader, sign
from tests.core.examples import SECRET, SnapshotTopic, everything, examples, learner
from tests.loop.shop import STREAM, undisturbed
from tests.upgrades.keep import EXAMPLES, GUARANTEES, MODELS, SEGMENTS, asked, scores, text
from tests.upgrades.kept_files import VERSIONS, read, snapshots, states, taken_up


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "DOUBT_S", 0.0)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_files_of_this_version_are_kept() -> None:
    assert __version__ in VERSIONS, f"run `python -m tests.upgrades.keep {__version__}` at the release"


# ---- a partition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [True, False], ids=["with Redis", "Redis empty"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_partition_goes_on_as_if_this_version_had_been_there_all_along(
    version: str, guarantee: str, view: bool
) -> None:
    expected = await undisturbed()
    shop = await taken_up(read(version, guarantee), guarantee, view=view)
    got = await shop.through(STREAM[SEGMENTS:])
    assert got.states == expected.states
    for name in ("scores", "features", "examples", "closed"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        assert ours
        assert ours == {key: theirs[key] for key in ours}, name
    # With what that version had written itself, it is everything.
    kept = read(version, guarantee)["records"]
    assert {each["event_id"] for each in kept["scores"]} | set(got.scores) == set(expected.scores)
    assert len(kept["examples"]) + len(got.examples) == len(expected.examples)
    assert len(kept["closed"]) + len(got.closed) == len(expected.closed)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_what_is_kept_is_what_this_program_writes(guarantee: str) -> None:
    """Whoever changes how something is stored raises its version, and keeps files of the one before."""
    kept = read(__version__, guarantee)
    for blob in states(kept).values():
        assert state.encode(state.decode(blob)) == blob
    metadata = kept["commit"][2]
    position = decode_position(metadata)
    assert position is not None
    assert encode_position(position).decode() == metadata
    assert decode_position(kept["positions"]["0"]) is not None


def test_a_former_versions_states_are_not_what_this_one_writes() -> None:
    """Or going on from them would show nothing."""
    blobs = states(read("0.1.0rc1", "exactly_once")).values()
    assert any(state.encode(state.decode(blob)) != blob for blob in blobs)


def test_what_was_told_to_be_learned_can_be_learned(version: str) -> None:
    taught = learner(*MODELS)
    told = read(version, "exactly_once")["records"]["examples"]
    for offset, record in enumerate(told):
        taught.fold(0, offset, decode_example(json.dumps(record).encode()))
    assert taught.offsets == {0: len(told)}


# ---- a model --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_served_with_the_same_scores(version: str) -> None:
    assert scores(snapshots(version), *asked()) == read(version, "model")["scores"]


def test_a_learner_goes_on_from_a_snapshot_as_if_it_had_learned_all_itself(version: str) -> None:
    again = restored(snapshots(version))
    undisturbed_one = learner(*MODELS)
    for offset, example in enumerate(examples(EXAMPLES + 50)):
        undisturbed_one.fold(0, offset, example)
        if offset == EXAMPLES - 1:
            SnapshotTopic(*MODELS).publish(undisturbed_one)
        if offset >= EXAMPLES:
            again.fold(0, offset, example)
    assert everything(again) == everything(undisturbed_one)


def restored(records: list[tuple[bytes, bytes, bytes]]) -> Learner:
    topic = SnapshotTopic(*MODELS)
    topic.records = {key: (value, signature) for key, value, signature in records}
    return topic.restored()


# ---- going back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [True, False], ids=["with Redis", "Redis empty"])
async def test_fields_that_a_later_version_has_added_are_left_out(view: bool) -> None:
    kept = read(__version__, "exactly_once")
    kept["changelog"] = [[visitor, blob and with_another_field(blob)] for visitor, blob in kept["changelog"]]
    kept["states"] = [[number, visitor, with_another_field(blob)] for number, visitor, blob in kept["states"]]
    shop = await taken_up(kept, "exactly_once", view=view)
    got, expected = await shop.through(STREAM[SEGMENTS:]), await undisturbed()
    assert got.scores == {key: expected.scores[key] for key in got.scores}
    assert got.features == {key: expected.features[key] for key in got.features}


def with_another_field(blob: str) -> str:
    """A visitor's state with one more field at the end, as later versions add them."""
    data = b64decode(blob)
    return text(data[:1] + msgspec.msgpack.encode([*msgspec.msgpack.decode(data[1:]), {"later": 1}]))


def test_an_example_of_a_later_version_can_be_learned() -> None:
    record = read(__version__, "exactly_once")["records"]["examples"][0]
    assert decode_example(json.dumps({**record, "later": 1}).encode()) == decode_example(json.dumps(record).encode())


@pytest.mark.parametrize("view", [True, False], ids=["with Redis", "Redis empty"])
async def test_a_later_versions_states_stop_their_partition_and_stay_as_they_are(view: bool) -> None:
    kept = read(__version__, "exactly_once")
    kept["changelog"] = [[visitor, blob and later_state(blob)] for visitor, blob in kept["changelog"]]
    kept["states"] = [[number, visitor, later_state(blob)] for number, visitor, blob in kept["states"]]
    shop = await taken_up(kept, "exactly_once", view=view)
    shop.append(STREAM[SEGMENTS])
    await shop.until(lambda: shop.partition.state == "stopped")
    assert f"got state version {state.STATE_VERSION + 1}, this program reads version" in shop.partition.problem
    assert "run the version that wrote it" in shop.partition.problem
    assert [list(commit) for commit in shop.broker.commits] == [kept["commit"]]
    assert len(shop.broker.changelog) == len(kept["changelog"])
    assert len(shop.view.blobs) == (len(kept["states"]) if view else 0)
    assert not any(shop.broker.outputs.values())


def later_state(blob: str) -> str:
    """As a later version would write it, as far as this one looks."""
    return text(bytes([state.STATE_VERSION + 1]) + b64decode(blob)[1:])


def test_a_later_versions_position_is_none_of_ours() -> None:
    position = {**json.loads(read(__version__, "exactly_once")["commit"][2]), "version": POSITION_VERSION + 1}
    assert decode_position(json.dumps(position)) is None


def test_a_later_versions_snapshot_is_refused() -> None:
    records = snapshots(__version__)
    (value,) = [value for key, value, _ in records if key == HEAD_KEY]
    head = msgspec.msgpack.decode(value)
    later = msgspec.msgpack.encode({**head, "schema": head["schema"] + 1})
    with pytest.raises(RefusedError) as error:
        SnapshotReader(secret=SECRET).read(HEAD_KEY, later, sign(HEAD_KEY, later, SECRET))
    assert error.value.reason == NEWER

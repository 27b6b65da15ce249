"""A snapshot of another River is learned anew from the examples; one of a later version of ours is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app import topics
from stream_app.admin import create_topics
from stream_app.backends.ports import UnusableError
from stream_app.core.learner import Learner
from stream_app.core.model import IntentModel
from stream_app.core.snapshots import HEAD_KEY, SNAPSHOT_SCHEMA, Signed, encode_snapshot, sign
from stream_app.learning import new_learner
from stream_app.settings import Settings, load
from tests.core.test_challengers import sessions
from tests.support.fixtures import Names, Servers
from tests.support.training import RunningFollower, RunningTrainer, send_examples, send_signed, until
from tests.zoo.material import to_the_bit

SECRET = b"of this test"
EXAMPLES = list(sessions(150))
REFUSED = "intent_snapshots_refused_total"


@pytest.fixture
async def settings(embedded_servers: Servers, names: Names) -> Settings:
    made = load(
        flags={
            "kafka_bootstrap": embedded_servers.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "check_crcs": False,
            "session_timeout_ms": 6_000,
            "snapshot_interval_ms": 50,
            "snapshot_key": SECRET.decode(),
            "model": "sgd",
        }
    )
    await create_topics(made)
    return made


def _class_gone(classifier: dict[str, Any]) -> None:
    """River has moved it."""
    _shape(classifier)[0] = "river.linear_model.logistic:LogisticRegression"


def _attribute_asked_for_in_predicting(classifier: dict[str, Any]) -> None:
    shape = _shape(classifier)
    shape[shape.index("_weights")] = "weights_of_former_times"


def _attribute_asked_for_in_learning(classifier: dict[str, Any]) -> None:
    shape = _shape(classifier)
    shape[shape.index("intercept_lr")] = "rate_of_former_times"


def _shape(classifier: dict[str, Any]) -> list[str]:
    (shape,) = [shape for shape in classifier["shapes"] if shape[0].endswith(":LogisticRegression")]
    found: list[str] = shape
    return found


def rewritten(learner: Learner, change: Callable[[dict[str, Any]], None]) -> list[Signed]:
    """The learner's snapshot with another classifier, signed as the trainer would."""
    state = learner.export()
    change(state["serving"]["classifier"])
    return encode_snapshot(state, {}, {}, version=1, published_at=0, secret=SECRET)


def taught(settings: Settings) -> Learner:
    """A learner that has read all examples."""
    found = new_learner(settings)
    for offset, example in enumerate(EXAMPLES):
        found.fold(0, offset, example)
    return found


@pytest.mark.parametrize("change", [_class_gone, _attribute_asked_for_in_predicting, _attribute_asked_for_in_learning])
async def test_what_this_river_cannot_go_on_from_is_learned_again_from_the_examples(
    settings: Settings, change: Callable[[dict[str, Any]], None]
) -> None:
    former = taught(settings)
    await send_examples(settings, EXAMPLES)
    for record in rewritten(former, change):
        await send_signed(settings, record)
    async with RunningTrainer(settings) as again:
        await again.learned(len(EXAMPLES))
        assert again.counted(REFUSED, reason="unusable") == 1
        ours = again.trainer.learner
        assert ours.lineage > former.lineage
        assert ours.updates == former.updates
        assert to_the_bit(ours.model) == to_the_bit(former.model)
        await again.published()
        async with RunningFollower(settings) as scorer:
            await until(lambda: scorer.model.updates == ours.updates)


@pytest.mark.parametrize("change", [_class_gone, _attribute_asked_for_in_predicting])
def test_a_scorer_keeps_what_it_has(change: Callable[[dict[str, Any]], None]) -> None:
    model = IntentModel("sgd", base_rate=0.03)
    before = model.classifier
    state = IntentModel("sgd", base_rate=0.5).export()
    change(state)
    with pytest.raises(ValueError, match=r"cannot go on with \(predicting|may not be part of a model"):
        model.restore(state)
    assert model.classifier is before


async def test_a_snapshot_of_a_later_version_stops_the_trainer_and_stays(settings: Settings) -> None:
    await send_examples(settings, EXAMPLES)
    (head,) = [value for key, value, _ in rewritten(taught(settings), lambda _: None) if key == HEAD_KEY]
    later = msgspec.msgpack.encode({**msgspec.msgpack.decode(head), "schema": SNAPSHOT_SCHEMA + 1})
    await send_signed(settings, (HEAD_KEY, later, sign(HEAD_KEY, later, SECRET)))
    before = await end_of_snapshots(settings)
    with pytest.raises(UnusableError, match=r"newer_schema: got schema \d+, expected \d+.*run that one"):
        await RunningTrainer(settings).trainer.run()
    # Not one record: who writes a transaction leaves a marker, too.
    assert await end_of_snapshots(settings) == before


async def end_of_snapshots(settings: Settings) -> int:
    place = TopicPartition(settings.topic(topics.SNAPSHOTS), 0)
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap) as consumer:
        return int((await consumer.end_offsets([place]))[place])

"""The key of snapshots is changed while everything runs: nobody refuses anything, and the old key is needed no more."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app import topics
from stream_app.admin import create_topics
from stream_app.core.snapshots import Command, SnapshotReader, encode_command, is_prior, sign, signature_of
from stream_app.settings import Settings, load
from tests.core.test_challengers import sessions
from tests.support.fixtures import Names, Servers
from tests.support.training import RunningFollower, RunningTrainer, send_examples, send_signed, until

REFUSED = "intent_snapshots_refused_total"
WARM = list(sessions(420))


def _with_key(settings: Settings, keys: str) -> Settings:
    return load(flags={**{name: getattr(settings, name) for name in _NAMES}, "snapshot_key": keys})


_NAMES = (
    "kafka_bootstrap", "topic_prefix", "group_id", "check_crcs", "session_timeout_ms", "snapshot_interval_ms",
    "challengers",
)  # fmt: skip


@pytest.fixture
async def settings(embedded_servers: Servers, names: Names) -> Settings:
    made = load(
        flags={
            "kafka_bootstrap": embedded_servers.bootstrap, "topic_prefix": names.topic_prefix,
            "group_id": names.group_id, "check_crcs": False, "session_timeout_ms": 6_000, "snapshot_interval_ms": 50,
            "challengers": "sgd", "snapshot_key": "old",
        }
    )  # fmt: skip
    await create_topics(made)
    return made


async def test_a_key_is_changed_in_three_steps_and_nothing_is_refused(settings: Settings) -> None:
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        await one.published()
        updates = one.trainer.learner.updates
    await send_signed(settings, encode_command(Command("c1", "sgd", 0), secret=b"old"))

    # Two: a scorer that is a step behind, and one that is ahead, both follow.
    both = _with_key(settings, "new,old")
    async with RunningFollower(_with_key(settings, "old,new")) as behind, RunningFollower(both) as ahead:
        async with RunningTrainer(both) as two:
            await until(lambda: not two.trainer._must_sign_anew)
            await two.published()
            assert two.counted(REFUSED, reason="bad_signature") == 0
        await until(lambda: behind.model.name == ahead.model.name == "sgd")
        assert behind.model.updates == ahead.model.updates == updates

    # Three: what counts on the topic, the newest record of each key, is signed by the new one.
    newest = await _newest(settings)
    assert any(is_prior(key) for key in newest)
    reader = SnapshotReader(secret=b"new", learning=True)
    for key, (value, signature) in newest.items():
        assert signature == sign(key, value, b"new"), key
        reader.read(key, value, signature)
    async with (
        RunningTrainer(_with_key(settings, "new")) as three,
        RunningFollower(_with_key(settings, "new")) as alone,
    ):
        assert three.trainer.learner.updates == updates
        assert three.trainer.learner.champion.commands == {"c1": ""}
        assert (alone.model.name, alone.model.updates) == ("sgd", updates)


async def test_nothing_is_signed_anew_where_no_key_was_changed(settings: Settings) -> None:
    await send_examples(settings, WARM[:60])
    async with RunningTrainer(settings) as one:
        await one.learned(60)
        version = (await one.published()).head.version
    async with RunningTrainer(settings) as again:
        assert not again.trainer._must_sign_anew
        assert again.trainer.learner.version == version


async def _newest(settings: Settings) -> dict[bytes, tuple[bytes, bytes | None]]:
    """Of each key of the snapshots the last record, as compaction leaves it."""
    place = TopicPartition(settings.topic(topics.SNAPSHOTS), 0)
    found: dict[bytes, tuple[bytes, bytes | None]] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, check_crcs=False,
        isolation_level="read_committed", auto_offset_reset="earliest",
    )  # fmt: skip
    async with consumer:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if record.key is not None and record.value is not None:
                        found[record.key] = (record.value, signature_of(record.headers))
    return found

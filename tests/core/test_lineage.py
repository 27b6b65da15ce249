"""What an earlier learner has left on the topic, or a snapshot that could not be used, changes nobody's counts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_app.core import snapshots
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.learner import Learner
from stream_app.core.records import Keys, Touched
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import HEAD_KEY, Snapshot, SnapshotReader, sign
from tests.core.examples import BASE, SECRET, SnapshotTopic, everything, examples, learner
from tests.core.streams import DAY


def heads(*counts: int) -> tuple[Learner, list[list[snapshots.Signed]]]:
    """A learner and its snapshots after so many examples."""
    one, topic, written = learner(), SnapshotTopic(), []
    for n, example in enumerate(examples(max(counts)), 1):
        one.fold(0, n - 1, example)
        if n in counts:
            written.append(topic.publish(one))
    return one, written


def read(reader: SnapshotReader, records: list[snapshots.Signed]) -> Snapshot:
    found = [snapshot for record in records if (snapshot := reader.read(*record)) is not None]
    assert len(found) == 1
    return found[0]


def rows() -> tuple[np.ndarray, list[Keys]]:
    x = np.round(np.random.default_rng(3).normal(0, 1, (20, len(FEATURE_NAMES))), 4)
    return x, [Keys(item=f"i{n % 7}", category=f"c{n % 4}", items=[f"i{n % 7}"]) for n in range(20)]


def scores(model: ServingModel) -> list[float]:
    found: list[float] = model.score_many(*rows()).tolist()
    return found


def test_the_entries_of_a_snapshot_that_could_not_be_used_come_with_the_next_one() -> None:
    one, (first, second, third) = heads(300, 500, 700)
    reader, steady = SnapshotReader(secret=SECRET), SnapshotReader(secret=SECRET)
    model, other = ServingModel("newton", base_rate=BASE), ServingModel("newton", base_rate=BASE)
    for written in (first, second, third):
        found = read(steady, written)
        other.take(found.head, found.entries)
    for written in (first, second, third):
        found = read(reader, written)
        if written is second:
            found.head.state["model"] = "of a version to come"
            with pytest.raises(ValueError, match="expected one of"):
                model.take(found.head, found.entries)
            reader.put_back(found)
        else:
            model.take(found.head, found.entries)
    assert scores(model) == scores(other) == one.model.score_many(*rows()).tolist()


def test_a_refused_head_keeps_its_good_entries_for_the_next_one() -> None:
    _, (first, second) = heads(300, 500)
    reader, steady = SnapshotReader(secret=SECRET), SnapshotReader(secret=SECRET)
    head = snapshots._HEAD_DECODER.decode(first[-1][1])
    head.state["priors"]["newest"] = float("nan")
    value = snapshots._ENCODER.encode(head)
    for record in first[:-1]:
        assert reader.read(*record) is None
    with pytest.raises(snapshots.RefusedError, match="not finite"):
        reader.read(HEAD_KEY, value, sign(HEAD_KEY, value, SECRET))
    assert dict(read(steady, first).entries) | dict(read(steady, second).entries) == dict(read(reader, second).entries)


def test_a_learner_that_begins_anew_never_meets_the_counts_of_the_one_before() -> None:
    topic, old = SnapshotTopic(), learner()
    old.lineage = 1
    for n, example in enumerate(examples(600)):
        old.fold(0, n, example)
    topic.publish(old)
    anew = learner()
    anew.lineage = 2
    following, reader = ServingModel("newton", base_rate=BASE), SnapshotReader(secret=SECRET)
    found = None
    for key, (value, signature) in topic.records.items():
        found = reader.read(key, value, signature) or found
    assert found is not None
    following.take(found.head, found.entries)
    for n, example in enumerate(examples(900, seed=9)):
        later = msgspec.structs.replace(
            example,
            event_time=example.event_time + 180 * DAY,
            label_time=example.label_time + 180 * DAY,
            touched=Touched(["z"], ["zc"], [], [1]) if example.touched else None,
        )
        anew.fold(0, n, later)
        if n % 100 == 99:
            found = read(reader, topic.publish(anew))
            following.take(found.head, found.entries)
    assert anew.version > old.version
    assert "i1" in old.priors.table.entries()["item"]
    assert scores(following) == anew.model.score_many(*rows()).tolist()
    # And so does it itself, restarted from all that lies on the topic.
    assert everything(topic.restored()) == everything(anew)


def test_the_assumed_base_rate_is_the_learners_whatever_the_scorers_setting_says() -> None:
    one, (written,) = heads(500)
    model = ServingModel("newton", base_rate=0.3)
    found = read(SnapshotReader(secret=SECRET), written)
    model.take(found.head, found.entries)
    assert scores(model) == one.model.score_many(*rows()).tolist()

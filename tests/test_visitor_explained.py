"""What explains a visitor's last score is what it was made of."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Keys
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SnapshotReader
from stream_app.core.state import LastScore
from stream_app.visitor_explained import explained, keys_behind
from tests.core.examples import BASE, SECRET, SnapshotTopic, examples, learner
from tests.core.streams import Partition, Record, event, label

TYPES = (
    "page_view", "search", "view_item_list", "view_item", "view_item", "add_to_cart", "remove_from_cart", "view_cart",
    "begin_checkout", "purchase", "add_to_wishlist",
)  # fmt: skip


@cache
def model(name: str = "newton") -> ServingModel:
    """One that has learned, as a scorer has it."""
    topic, taught = SnapshotTopic(name), learner(name)
    for n, example in enumerate(examples(1_500)):
        taught.fold(0, n, example)
    serving, reader = ServingModel(name, base_rate=BASE), SnapshotReader(secret=SECRET)
    for record in topic.publish(taught):
        found = reader.read(*record)
        if found is not None:
            serving.take(found.head, found.entries)
    assert not serving.cold
    return serving


def shop(events: int, seed: int) -> list[Record]:
    """Ten visitors with several devices, who buy, come back and go."""
    random = np.random.default_rng(seed)
    found, minutes = [], 0.0
    for n in range(events):
        minutes += float(random.exponential(1.5))
        item = int(random.integers(0, 9))
        names = (
            {"item_id": f"i{item}", "category": f"c{item % 4}", "price": 10.0 + item} if random.random() < 0.7 else {}
        )
        if random.random() < 0.4:
            names["brand"] = f"b{item % 2}"
        visitor = f"v{random.integers(0, 10)}"
        device = {"session_id": f"{visitor}-{random.integers(0, 2)}"} if random.random() < 0.5 else {}
        kind = str(random.choice(TYPES))
        found.append(event(n, visitor, kind, minutes, source="ads", country="DE", **names, **device))
    return found


def last_of(partition: Partition, visitor: str) -> LastScore:
    last = partition.visitor(visitor).last_score
    assert last is not None
    return last


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_the_names_behind_every_last_score_are_those_in_its_feature_record(batch: int) -> None:
    partition, records = Partition(), shop(900, seed=batch)
    checked = closed = 0
    for start in range(0, len(records), batch):
        partition.step(records[start : start + batch])
        told = {record["event_id"]: record["keys"] for record in partition.features}
        for visitor_id in partition.states:
            visitor = partition.visitor(visitor_id)
            last = visitor.last_score
            assert last is not None
            keys = keys_behind(visitor, last)
            if visitor.sessions and last.event_time >= max(session.last for session in visitor.sessions):
                assert keys is not None
            if keys is not None:
                assert msgspec.to_builtins(keys) == told[last.event_id]
                checked += 1
                closed += not visitor.sessions
    assert checked > 100
    assert closed > 3


def test_a_score_by_the_newest_model_is_explained_to_its_last_digit() -> None:
    partition = Partition(scorer=model())
    for batch in (shop(300, seed=4)[n : n + 20] for n in range(0, 300, 20)):
        partition.step(batch)
    for visitor_id in partition.states:
        visitor, last = partition.visitor(visitor_id), last_of(partition, visitor_id)
        facts = explained(visitor, last, model())
        if not facts["names_known"]:
            continue
        assert facts["learned_since"] is False
        assert facts["score_now"] == last.score == facts["served"]["score"]
        assert facts["exact"] is True
        assert facts["left_over"] == pytest.approx(0.0, abs=1e-9)
        total = facts["usual"]["logit"] + sum(reason["contribution"] for reason in facts["reasons"])
        assert 1 / (1 + np.exp(-total)) == pytest.approx(last.score, abs=1e-6)
        for reason in facts["reasons"]:
            assert reason["contribution"] == pytest.approx(sum(reason["inputs"].values()), abs=1e-9)
        strengths = [abs(reason["contribution"]) for reason in facts["reasons"]]
        assert strengths == sorted(strengths, reverse=True)


def test_a_model_that_is_not_linear_says_what_is_left_over() -> None:
    partition = Partition()
    partition.step(shop(40, seed=5))
    visitor_id = next(iter(partition.states))
    facts = explained(partition.visitor(visitor_id), last_of(partition, visitor_id), model("bagging"))
    assert facts["exact"] is False
    assert all(reason["inputs"] == {} for reason in facts["reasons"])
    parts = facts["usual"]["logit"] + sum(reason["contribution"] for reason in facts["reasons"])
    assert parts + facts["left_over"] == pytest.approx(facts["logit"])
    assert abs(facts["left_over"]) > 1e-6


def test_a_visit_that_is_over_and_forgotten_is_explained_without_its_names() -> None:
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, item_id="i1", category="c1"), event(1, "a", "page_view", 5)])
    visitor = partition.visitor("a")
    visitor.sessions, visitor.taught = [], []
    facts = explained(visitor, last_of(partition, "a"), model())
    assert facts["names_known"] is False
    words = {reason["id"]: reason["words"] for reason in facts["reasons"]}
    assert words["items"] == words["path"] == "not known any more"
    assert words["depth"].startswith("2 steps, an item was looked at once")
    # What is not known of counts as the base rate.
    x = np.array([[partition.feature("e1", name) for name in FEATURE_NAMES]])
    assert facts["score_now"] == model().score_many(x, [Keys()])[0]


def test_a_visit_of_which_a_label_told_a_part_is_not_taken_for_the_whole() -> None:
    """
    minute   0        1         2   …  the session is over
             view i1  (label)   view i2
    """
    partition = Partition()
    partition.step([event(0, "a", "view_item", 0, item_id="i1")])
    partition.step(labels=[label(0, "a", 1, "o1")])
    partition.step([event(1, "a", "view_item", 2, item_id="i2")])
    visitor = partition.visitor("a")
    # As if the second outcome had been forgotten or had no example: what is left knows the first item only.
    visitor.sessions = []
    assert [taught.items for taught in visitor.taught] == [["i1"]]
    assert keys_behind(visitor, last_of(partition, "a")) is None

"""The serving model: the base rate until a head says more, and never worse than the last good one."""

from __future__ import annotations

import copy
import math
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core.contender import WARM_NEGATIVES_MIN, WARM_POSITIVES_MIN
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import SCORE_MIN
from stream_app.core.records import Keys
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import Head, SnapshotReader
from tests.core.examples import BASE, SECRET, SnapshotTopic, example, examples, learner
from tests.core.streams import T0
from tests.zoo.material import spoil

Entries = list[tuple[tuple[str, str], list[float] | None]]


def snapshots(model: str = "newton", counts: tuple[int, ...] = (300, 600, 1_200)) -> list[tuple[Head, Entries]]:
    """Heads and entries as a follower gets them, of one learner at these numbers of examples."""
    one, topic, reader = learner(model), SnapshotTopic(model), SnapshotReader(secret=SECRET)
    found: list[tuple[Head, Entries]] = []
    for offset, each in enumerate(examples(counts[-1])):
        one.fold(0, offset, each)
        if offset + 1 in counts:
            found += [read[:2] for record in topic.publish(one) if (read := reader.read(*record)) is not None]
    return found


@pytest.fixture(scope="module")
def heads() -> list[tuple[Head, Entries]]:
    return snapshots()


def inputs(rows: int = 12) -> tuple[npt.NDArray[np.float64], list[Keys]]:
    x = np.round(np.random.default_rng(3).normal(0.5, 1, (rows, len(FEATURE_NAMES))), 4)
    keys = [Keys(item=f"i{n % 20}", category=f"c{n % 4}", items=[f"i{n % 20}"], step=n % 9) for n in range(rows)]
    return x, keys


def serving(name: str = "newton") -> ServingModel:
    return ServingModel(name, base_rate=BASE)


def scores(model: ServingModel) -> list[float]:
    found: list[float] = model.score_many(*inputs()).tolist()
    return found


def test_before_the_first_head_everyone_gets_the_assumed_base_rate() -> None:
    model = serving()
    assert (model.version, model.updates, model.cold) == (0, 0, True)
    assert scores(model) == [BASE] * 12
    assert model.score_many(np.empty((0, len(FEATURE_NAMES))), []).shape == (0,)


def test_a_cold_head_serves_the_base_rate_learned_so_far() -> None:
    # 60 episodes, 12 bought: (12 + 3) / (60 + 100)
    one, topic = learner(), SnapshotTopic()
    for n in range(60):
        one.fold(0, n, example(n, label=int(n % 5 == 4), time=T0))
    reader = SnapshotReader(secret=SECRET)
    model = serving()
    for record in topic.publish(one):
        if (found := reader.read(*record)) is not None:
            model.take(found.head, found.entries)
    assert (model.version, model.updates, model.cold) == (1, 60, True)
    assert scores(model) == [round(15 / 160, 6)] * 12


@pytest.mark.parametrize(("base_rate", "served"), [(1e-12, SCORE_MIN), (1 - 1e-12, 1 - SCORE_MIN)])
def test_a_served_base_rate_keeps_off_zero_and_one(base_rate: float, served: float) -> None:
    model = ServingModel("newton", base_rate=base_rate)
    assert model.score_many(*inputs(1)).tolist() == [served]


@pytest.mark.parametrize("name", ["newton", "sgd"])
def test_what_is_served_is_what_the_trainers_model_says(name: str) -> None:
    one, topic = learner(name), SnapshotTopic(name)
    model, reader = serving(name), SnapshotReader(secret=SECRET)
    for offset, each in enumerate(examples(700)):
        one.fold(0, offset, each)
        if offset % 90 == 89:
            for record in topic.publish(one):
                if (found := reader.read(*record)) is not None:
                    model.take(found.head, found.entries)
            if not one.cold:
                assert scores(model) == one.model.score_many(*inputs()).tolist()
    assert not model.cold
    assert model.version == one.version
    assert len(set(scores(model))) > 5


def test_only_a_head_changes_what_is_served(heads: list[tuple[Head, Entries]]) -> None:
    model = serving()
    model.take(*heads[1])
    before = scores(model)
    one, topic = learner(), SnapshotTopic()
    for offset, each in enumerate(examples(700)):
        one.fold(0, offset, each)
    one.version = heads[1][0].version
    reader = SnapshotReader(secret=SECRET)
    records = topic.publish(one)
    for record in records[:-1]:
        assert reader.read(*record) is None
        assert scores(model) == before
    found = reader.read(*records[-1])
    assert found is not None
    model.take(found.head, found.entries)
    assert scores(model) != before
    assert model.version == heads[1][0].version + 1


def test_a_head_is_cold_until_both_outcomes_are_known_well_enough(heads: list[tuple[Head, Entries]]) -> None:
    for positives, negatives, cold in [
        (WARM_POSITIVES_MIN, WARM_NEGATIVES_MIN, False),
        (WARM_POSITIVES_MIN - 1, 10_000, True),
        (10_000, WARM_NEGATIVES_MIN - 1, True),
    ]:
        head, entries = heads[-1]
        learned = [positives + negatives, positives, negatives]
        changed = msgspec.structs.replace(head, state=deep(head.state, "serving.learned", learned))
        model = serving()
        model.take(changed, entries)
        assert model.cold is cold
        trainer = learner()
        trainer.serving.positives, trainer.serving.negatives = positives, negatives
        assert trainer.cold is cold


def deep(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one thing in it changed."""
    found = copy.deepcopy(state)
    *above, last = (int(name) if name.isdecimal() else name for name in path.split("."))
    place: Any = found
    for name in above:
        place = place[name]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return found


BAD: list[tuple[str, Any]] = [
    ("model", "sgd"),
    ("model", "oracle"),
    ("model", KeyError),
    ("serving", KeyError),
    ("serving", None),
    ("serving.classifier", KeyError),
    ("serving.classifier", None),
    ("serving.classifier.nodes.1.2.weights", np.full(3, 0.0)),
    ("serving.classifier.nodes.1.2.weights", None),
    ("serving.classifier.nodes.1.2.mean", KeyError),
    ("serving.classifier.calibrator", KeyError),
    ("serving.classifier.calibrator", [1.0, math.nan]),
    ("priors", KeyError),
    ("priors", None),
    ("priors.landmark", KeyError),
    ("priors.newest", None),
    ("priors.base", [1.0, math.nan]),
    ("priors.base", [math.inf, 1.0]),
    ("priors.base", None),
    ("updates", KeyError),
    ("updates", "many"),
    ("serving.learned", [1, 2]),
    ("serving.learned", KeyError),
    ("serving.learned", [None, None, None]),
    ("bands", KeyError),
    ("bands.rule", KeyError),
    ("bands", {"rule": "f1"}),
    ("bands", {"rule": "f1", "bands": [0.4, 0.08]}),
    ("bands", {"rule": "f1", "bands": [math.nan, 0.5]}),
]


@pytest.mark.parametrize(("path", "value"), BAD, ids=[f"{path}={value!r}"[:40] for path, value in BAD])
def test_a_head_that_is_not_good_is_refused_and_the_former_goes_on_serving(
    heads: list[tuple[Head, Entries]], path: str, value: Any
) -> None:
    model = serving()
    model.take(*heads[1])
    before = (scores(model), model.version, model.updates, model.cold, model.base_rate, model.name, model.bands)
    head, entries = heads[2]
    bad = msgspec.structs.replace(head, state=deep(head.state, path, value))
    with pytest.raises((ValueError, KeyError, TypeError)):
        model.take(bad, entries)
    after = (scores(model), model.version, model.updates, model.cold, model.base_rate, model.name, model.bands)
    assert after == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["newton", "sgd"])
def test_a_head_or_an_entry_with_a_non_finite_number_is_refused(name: str, value: float) -> None:
    first, second = snapshots(name, (400, 600))
    model = serving(name)
    model.take(*first)
    before = scores(model)
    head, entries = second
    state = copy.deepcopy(head.state)
    for _ in islice(spoil(state["serving"]["classifier"], value), 10):
        with pytest.raises(ValueError, match=r"non-finite|not finite"):
            model.take(msgspec.structs.replace(head, state=state), entries)
    with pytest.raises(ValueError, match="non-finite"):
        model.take(head, [*entries, (("item", "i1"), [value, 1.0])])
    assert (scores(model), model.version) == (before, first[0].version)
    model.take(*second)
    assert scores(model) != before

"""What is served equals a bare River loop over the same records, number by number.

The product's way: a partition scores in batches, examples are learned as they come, batch by batch. River's way, as any
data scientist would write it from the two topics: `predict_proba_one` and `learn_one` on dicts, one record at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from river import compose

from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.model import ZOO, IntentModel, PurchasePriors
from stream_app.core.plan import WithoutReasons
from stream_app.core.processor import Scorer
from stream_app.core.records import Example, Keys, Touched
from tests.core.streams import Partition, Record, event

BASE = 0.1
BATCH = 37


class TypedExample(Example, gc=False):
    """An example as a trainer decodes it."""

    features: FeatureValues  # type: ignore[valid-type]


class ModelScorer(WithoutReasons):
    """The model as it serves, always warm: parity is about its numbers."""

    cold = False
    bands = None

    def __init__(self, model: IntentModel) -> None:
        self.model = model
        self.name = model.name
        self.version = self.updates = 0

    def score_many(self, x: Any, keys: Any) -> Any:
        return self.model.score_many(x, keys)


def shop(events: int) -> list[Record]:
    """Forty visitors at a time, some of whom buy: item 1 often, item 9 never."""
    random = np.random.default_rng(11)
    records = []
    for n in range(events):
        item = int(random.integers(0, 10))
        draw = random.random()
        kind = "purchase" if draw < 0.02 + 0.1 * (item == 1) else "add_to_cart" if draw < 0.2 else "view_item"
        records.append(
            event(
                n, f"v{random.integers(0, 40)}", kind, n * 0.25 + float(random.normal(0, 1)), item_id=f"i{item}",
                category=f"c{item % 3}", brand=f"b{item % 4}", price=float(np.round(random.gamma(2, 20), 2)),
                country=("DE", "FR")[item % 2],
            )
        )  # fmt: skip
    return records


def served(name: str, records: list[Record]) -> tuple[Partition, list[int]]:
    """The partition after all batches, and after each batch how many scores and examples there were."""
    model = IntentModel(name, base_rate=BASE)
    scorer: Scorer = ModelScorer(model)
    partition = Partition(scorer=scorer)
    learned: list[int] = []
    for start in range(0, len(records), BATCH):
        before = len(partition.examples)
        partition.step(records[start : start + BATCH])
        for example in partition.examples[before:]:
            model.learn(msgspec.json.decode(json.dumps(example), type=TypedExample))
        learned.append(len(partition.examples))
    return partition, learned


def river_keys(keys: dict[str, Any]) -> Keys:
    return msgspec.convert(keys, Keys)


def bare_loop(pipeline: Any, partition: Partition, learned: list[int], batches: list[int]) -> Iterator[float]:
    """Scores of River alone, from the JSON of the feature and example topics."""
    scored = taught = 0
    for batch, until in zip(batches, learned, strict=True):
        for record in partition.features[scored:batch]:
            yield pipeline.predict_proba_one({**record["features"], "keys": river_keys(record["keys"])})[True]
        for example in partition.examples[taught:until]:
            touched = example["touched"]
            x = {
                **example["features"],
                "keys": river_keys(example["keys"]),
                "touched": None if touched is None else msgspec.convert(touched, Touched),
                "label_time": example["label_time"],
            }
            pipeline.learn_one(x, bool(example["label"]))
        scored, taught = batch, until


@pytest.mark.parametrize("name", sorted(ZOO))
def test_served_scores_equal_a_bare_river_loop_number_by_number(name: str) -> None:
    records = shop(2_000)
    partition, learned = served(name, records)
    batches = [min(start + BATCH, len(records)) for start in range(0, len(records), BATCH)]
    pipeline = compose.Pipeline(PurchasePriors(BASE), ZOO[name].build(BASE))
    bare = [min(max(round(p, 6), 1e-6), 1 - 1e-6) for p in bare_loop(pipeline, partition, learned, batches)]
    scores = [score["score"] for score in partition.scores]
    assert scores == bare
    # That it says something: it learned, of both kinds, and the scores differ (a single tree says the same in a leaf).
    assert {example["label"] for example in partition.examples} == {0, 1}
    assert len(set(scores)) > (40 if name.endswith("_tree") else 500)
    assert all(tuple(record["features"]) == FEATURE_NAMES for record in partition.features)

"""What is evaluated is what is served: features and probabilities equal those of the live core, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stream_app.core.codec import encode
from stream_app.core.example_decoding import decode_example
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.learner import Learner
from stream_app.core.model import INPUT_NAMES
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SNAPSHOT_SCHEMA, Head
from stream_app.evaluation.contenders import Online
from stream_app.evaluation.folding import Folder
from stream_app.evaluation.grid import Variant
from stream_app.evaluation.history import event_time, ticks
from stream_app.evaluation.inputs import inputs
from tests.core.streams import ConstantScorer, Partition, Record
from tests.evaluation.histories import RULES_HERE, passed, question, shop


def served_live(events: list[Any], cuts: list[int], freshness_ms: int) -> Partition:
    """The live way: a partition scores with what the trainer has published, and the trainer learns what it emits.

    Everything travels as in production: scores and examples as JSON, the model as a snapshot.
    """
    learner = Learner(["newton"], base_rate=0.1)
    serving = ServingModel("newton", base_rate=0.1)
    partition = Partition(rules=RULES_HERE, scorer=serving)
    raw: list[bytes] = []
    offset = 0
    for tick in ticks(events, freshness_ms=freshness_ms, cuts=cuts, events_max=4000):
        records = [
            Record("events", offset + n, event_time(e), e.visitor_id.encode(), encode(e)) for n, e in enumerate(tick)
        ]
        offset += len(tick)
        effects = partition.step(records)
        for _, value in effects.examples:
            raw.append(value)
            learner.fold(0, len(raw), decode_example(value))
        changes = learner.priors.table.take_changes()
        head = Head(SNAPSHOT_SCHEMA, offset, len(changes), 0, learner.export())
        serving.take(head, list(changes.items()))
    return partition


def test_features_and_probabilities_equal_the_live_ones_bit_for_bit(tmp_path: Path) -> None:
    events = shop(600)
    asked = question(freshness_ms=5_000, online=("sgd", "newton"))
    found = passed(events, asked, tmp_path)
    live = served_live(events, [fold.start_ms for fold in found.results.folds], 5_000)
    scores = {(s["visitor_id"], s["session_id"], s["events"]): s["score"] for s in live.scores}
    assert len(live.examples) == len(found.rows["label"]) > 1_000
    for n, example in enumerate(live.examples):
        key = example["visitor_id"], example["session_id"]
        assert found.p()[n] == scores[(*key, example["events"])] == example["score"]
        assert (found.rows["label"][n], found.rows["weight"][n]) == (example["label"], example["weight"])
        assert found.rows["time"][n] == example["event_time"]
        assert found.rows["events"][n] == example["events"]
    # That it says something: warm, of both kinds, and different from the other model beside it.
    assert len(np.unique(found.p())) > 300
    assert (found.p() != found.p("sgd")).mean() > 0.5
    assert set(found.rows["label"]) == {0, 1}


def test_features_equal_the_live_ones_bit_for_bit(tmp_path: Path) -> None:
    events = shop(300)
    folder = Folder(RULES_HERE, tmp_path)
    found = []
    for tick in ticks(events, freshness_ms=5_000, cuts=[], events_max=4000):
        folded = folder.fold(tick, ConstantScorer())
        for scored, x in zip(folded.scored, folded.x, strict=True):
            features = dict(zip(FEATURE_NAMES, x.tolist(), strict=True))
            found.append((scored.visitor_id, scored.session_id, scored.events, features))
    folder.close()
    live = served_live(events, [], 5_000)
    expected = [(r["visitor_id"], r["session_id"], r["events"], r["features"]) for r in live.features]
    assert found == expected
    assert len(found) > 500


def test_a_models_score_does_not_depend_on_who_is_beside_it(tmp_path: Path) -> None:
    events = shop(400)
    beside = passed(events, question(online=("newton", "sgd"), frozen=True), tmp_path / "beside")
    for model in ("newton", "sgd"):
        alone = passed(events, question(online=(model,)), tmp_path / model)
        np.testing.assert_array_equal(alone.p(model), beside.p(model))


def test_the_matrix_of_the_batch_models_holds_what_an_online_classifier_sees() -> None:
    partition = Partition()
    contender = Online(Variant("newton", "newton"), base_rate=0.1)
    table = contender.learner.priors.table
    events = shop(200)
    records = [Record("events", n, event_time(e), e.visitor_id.encode(), encode(e)) for n, e in enumerate(events)]
    effects = partition.step(records)
    assert len(effects.examples) > 100
    for n, (_, value) in enumerate(effects.examples):
        example = decode_example(value)
        x = np.array([[getattr(example.features, name) for name in example.features.__struct_fields__]])
        given = {**{name: getattr(example.features, name) for name in example.features.__struct_fields__}}
        expected = contender.learner.model.priors.transform_one({**given, "keys": example.keys})
        assert tuple(expected) == INPUT_NAMES
        found = inputs(x, [example.keys], table)
        np.testing.assert_array_equal(found[0], np.array(list(expected.values()), dtype=np.float32))
        contender.learner.fold(0, n, example)
    assert len(table) > 10

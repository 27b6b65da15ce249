"""Every model of the zoo: the same rules for all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import SCORE_MIN, IntentModel, NonFiniteError, river_input
from stream_app.core.records import Keys
from stream_app.core.zoo.catalogue import ZOO
from tests.zoo.material import (
    BASE,
    NAMES,
    examples,
    inputs,
    restored,
    spoil,
    to_the_bit,
    trained,
    travelled,
    with_features,
)

pytestmark = pytest.mark.parametrize("name", NAMES)

EXTREMES = (-200_000.0, -1e-4, 0.0, 1e-4, 200_000.0)


# ---- cold, and learning ---------------------------------------------------------------------------------------------


def test_a_cold_model_says_the_base_rate(name: str) -> None:
    model = IntentModel(name, base_rate=BASE)
    for rows in (1, 20):
        assert model.score_many(*inputs(rows)) == pytest.approx(BASE, abs=1e-6)
    assert model.score_many(np.empty((0, len(FEATURE_NAMES))), []).shape == (0,)


@pytest.mark.parametrize("label", [0, 1])
def test_a_model_that_has_seen_one_label_only_says_a_probability(name: str, label: int) -> None:
    model = IntentModel(name, base_rate=BASE)
    for example in examples(5):
        model.learn(msgspec.structs.replace(example, label=label))
        scores = model.score_many(*inputs(20, seed=3))
        assert ((scores >= SCORE_MIN) & (scores <= 1 - SCORE_MIN)).all()


def test_it_tells_who_buys_after_learning(name: str) -> None:
    model, unseen = trained(name, 1500), examples(600, seed=77)
    x = np.array([msgspec.structs.astuple(example.features) for example in unseen])
    scores = model.score_many(x, [example.keys for example in unseen])
    # The truth that `examples` draws from has .84.
    assert roc_auc_score([example.label for example in unseen], scores) > 0.62


def test_a_sample_weight_acts_where_the_catalogue_says_so_and_nowhere_else(name: str) -> None:
    plain, heavy = IntentModel(name, base_rate=BASE), IntentModel(name, base_rate=BASE)
    for n, example in enumerate(examples(120)):
        x, label = river_input(example), bool(example.label)
        plain.pipeline.learn_one(x, label)
        heavy.pipeline.learn_one(x, label, w=5.0 if n % 2 else 1.0)
    assert (to_the_bit(plain) != to_the_bit(heavy)) == ZOO[name].weighted


# ---- predicting -----------------------------------------------------------------------------------------------------


def test_predicting_changes_no_state(name: str) -> None:
    for model in (IntentModel(name, base_rate=BASE), trained(name)):
        before = to_the_bit(model)
        entries, base = len(model.priors.table), list(model.priors.table.base)
        unknown = [Keys("never seen", "new", "new", "new", "XX", 3, ["never seen"], ["new"])]
        first = model.score_many(*inputs(30, seed=2))
        for rows in (1, 30):
            x, keys = inputs(rows, seed=3)
            model.score_many(x * 1000, unknown * rows)
            model.score_many(x, keys)
        assert to_the_bit(model) == before
        assert (len(model.priors.table), model.priors.table.base) == (entries, base)
        assert np.array_equal(model.score_many(*inputs(30, seed=2)), first)


def test_one_row_equals_many_rows_number_by_number(name: str) -> None:
    model = trained(name)
    x, keys = inputs(150, seed=4)
    # What never varied while learning, and now does.
    x[::2, -1] = 0.0
    many = model.score_many(x, keys)
    one = [model.score_many(x[n : n + 1], keys[n : n + 1])[0] for n in range(len(x))]
    few = np.concatenate([model.score_many(x[n : n + 5], keys[n : n + 5]) for n in range(0, len(x), 5)])
    assert many.tolist() == one
    assert many.tolist() == few.tolist()


def test_scores_have_six_digits_and_stay_off_0_and_1(name: str) -> None:
    model = trained(name, 500)
    x, keys = inputs(50, seed=8)
    scores = model.score_many(x * 1e4, keys)
    assert ((scores >= SCORE_MIN) & (scores <= 1 - SCORE_MIN)).all()
    assert [float(f"{score:.6f}") for score in scores] == scores.tolist()


def test_extreme_inputs_are_learned_and_scored_with_finite_numbers(name: str) -> None:
    model = trained(name, 100)
    random = np.random.default_rng(7)
    for n, example in enumerate(examples(100, seed=5)):
        extreme = with_features(example, 0.0)
        values = random.choice(EXTREMES, len(FEATURE_NAMES)).tolist()
        model.learn(msgspec.structs.replace(extreme, features=type(extreme.features)(*values), label=n % 2))
    _, keys = inputs(20)
    scores = model.score_many(random.choice(EXTREMES, (20, len(FEATURE_NAMES))), keys)
    assert np.isfinite(scores).all()
    assert ((scores > 0) & (scores < 1)).all()
    model.export()


# ---- what an input may look like ------------------------------------------------------------------------------------


def backwards(x: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(x.items()))


def with_strangers(x: dict[str, Any]) -> dict[str, Any]:
    return {"never heard of": math.nan, **x, "nor of this": "red"}


@pytest.mark.parametrize("change", [backwards, with_strangers])
def test_the_order_of_an_inputs_keys_and_keys_of_other_names_do_not_matter(
    name: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    straight, changed = IntentModel(name, base_rate=BASE), IntentModel(name, base_rate=BASE)
    for example in examples(120):
        x = river_input(example)
        straight.pipeline.learn_one(x, bool(example.label))
        changed.pipeline.learn_one(change(x), bool(example.label))
    x = river_input(examples(1, seed=3)[0])
    assert changed.pipeline.predict_proba_one(change(x)) == straight.pipeline.predict_proba_one(x)
    assert to_the_bit(changed) == to_the_bit(straight)


@pytest.mark.parametrize("missing", [lambda x: {}, lambda x: dict.fromkeys(x)], ids=["absent", "None"])
def test_a_missing_feature_counts_as_0_and_missing_names_as_unknown(
    name: str, missing: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    full, sparse = IntentModel(name, base_rate=BASE), IntentModel(name, base_rate=BASE)
    for example in examples(60):
        x = {**river_input(example), "keys": Keys(), "touched": None}
        gone = {feature: x.pop(feature) for feature in ("gap", "price", "keys", "touched", "label_time")}
        zeros = {**dict.fromkeys(gone, 0.0), "keys": Keys(), "touched": None, "label_time": 0}
        full.pipeline.learn_one({**x, **zeros}, bool(example.label))
        sparse.pipeline.learn_one({**x, **missing(gone)}, bool(example.label))
        said = sparse.pipeline.predict_proba_one({**x, **missing(gone)})
        assert said == full.pipeline.predict_proba_one({**x, **zeros})
    assert to_the_bit(sparse) == to_the_bit(full)


# ---- snapshots ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_restored_model_scores_and_goes_on_learning_the_same_to_the_bit(name: str, count: int) -> None:
    model = trained(name, count)
    copy = restored(model)
    assert to_the_bit(copy) == to_the_bit(model)
    x = [river_input(example) for example in examples(40, seed=5)]
    for example in examples(100, seed=6):
        model.learn(example)
        copy.learn(example)
    said = [[one.pipeline.predict_proba_one(row) for row in x] for one in (model, copy)]
    assert said[0] == said[1]
    assert to_the_bit(copy) == to_the_bit(model)


def test_an_export_does_not_change_when_learning_goes_on(name: str) -> None:
    model = trained(name, 50)
    exported = model.export()
    kept = to_the_bit(model)
    for example in examples(5, seed=7):
        model.learn(example)
    copy = IntentModel(name, base_rate=BASE)
    copy.restore(exported)
    assert to_the_bit(copy) == kept
    assert to_the_bit(model) != kept
    # Nor when a model that was restored from it learns.
    copy.learn(examples(1, seed=8)[0])
    again = IntentModel(name, base_rate=BASE)
    again.restore(exported)
    assert to_the_bit(again) == kept


def test_a_snapshot_of_another_model_or_of_other_inputs_is_refused_and_changes_nothing(name: str) -> None:
    model = trained(name, 20)
    before = to_the_bit(model)
    other = trained(next(entry for entry in NAMES if entry != name), 5).export()
    for state in (other, {**other, "name": name}, {}, {**model.export(), "inputs": 1}):
        with pytest.raises(ValueError, match=r"snapshot"):
            model.restore(state)
    assert to_the_bit(model) == before


@cache
def digests_of_another_process() -> dict[str, str]:
    """Of every model: one process for all, for it computes for seconds before it begins."""
    code = """
        import json
        from hashlib import sha256
        from tests.zoo.material import NAMES, to_the_bit, trained
        print(json.dumps({name: sha256(to_the_bit(trained(name))).hexdigest() for name in NAMES}))
    """
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(root)},
        cwd=root, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    digests: dict[str, str] = json.loads(found.stdout)
    return digests


def test_the_same_examples_give_the_same_model_in_any_process(name: str) -> None:
    # Sets of strings change their order from process to process: no model may depend on it.
    assert digests_of_another_process()[name] == sha256(to_the_bit(trained(name))).hexdigest()


# ---- numbers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_model_made_non_finite_is_not_published_and_rolls_back_to_its_last_snapshot(name: str, value: float) -> None:
    model, never = trained(name, 60), trained(name, 60)
    good = travelled(model.export())
    # It got past every guard before the model.
    poisoned = with_features(examples(1)[0], value)
    with np.errstate(all="ignore"):
        for label in (0, 1):
            model.learn(msgspec.structs.replace(poisoned, label=label))
    with pytest.raises(NonFiniteError, match=name):
        model.export()
    model.restore(good)
    for example in examples(20, seed=6):
        model.learn(example)
        never.learn(example)
    assert to_the_bit(model) == to_the_bit(never)


def test_a_snapshot_with_a_number_that_is_not_finite_is_not_taken(name: str) -> None:
    model = trained(name, 20)
    before = to_the_bit(model)
    state = travelled(model.export())
    spoilt = 0
    for _ in islice(spoil(state, math.nan), 40):
        spoilt += 1
        with pytest.raises(ValueError, match="finite"):
            model.restore(state)
    assert spoilt
    assert to_the_bit(model) == before

"""Every model of the zoo: the same rules for all."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from river import base, compose

from stream_app.core.features import FEATURE_NAMES, FIXED_POINT, FeatureValues
from stream_app.core.model import INPUT_NAMES, SCORE_MIN, ZOO, IntentModel, NonFiniteError, river_input
from stream_app.core.priors import PriorTable
from stream_app.core.records import Example, Keys, Touched
from tests.core.streams import T0

BASE = 0.03
NAMES = sorted(ZOO)


def inputs(rows: int, seed: int = 1) -> tuple[npt.NDArray[np.float64], list[Keys]]:
    """Feature rows (multiples of 1e-4, a third of them zero, one constant) and their keys."""
    random = np.random.default_rng(seed)
    x = np.rint(random.normal(1, 2, (rows, len(FEATURE_NAMES))) * FIXED_POINT) / FIXED_POINT
    x *= random.random(x.shape) > 0.33
    x[:, -1] = 1.0
    keys = [
        Keys(
            f"i{item}", f"c{item % 5}", f"b{item % 3}", "ads", "DE", int(item % 7), [f"i{item}", "i0"], [f"c{item % 5}"]
        )
        for item in random.integers(0, 40, rows).tolist()
    ]
    return x, keys


def examples(count: int, seed: int = 1) -> list[Example]:
    """Outcomes that follow the first feature; every third closes an episode."""
    x, keys = inputs(count, seed)
    random = np.random.default_rng(seed + 1000)
    labels = random.random(count) < 1 / (1 + np.exp(2.0 - x[:, 0]))
    found = []
    for n, (row, key, label) in enumerate(zip(x.tolist(), keys, labels.tolist(), strict=True)):
        touched = Touched([str(key.item)], [str(key.category)], [str(key.brand)], [key.step], "ads", "DE")
        found.append(
            Example(
                f"e{n}", "v", "s", T0 + n, "view_item", 1, FeatureValues(*row), key, 0.1, 1, False, int(label), 1.0,
                "session_end", T0 + n, (1, n, 0), touched if n % 3 == 0 else None,
            )
        )  # fmt: skip
    return found


def trained(name: str, count: int = 300) -> IntentModel:
    model = IntentModel(name, base_rate=BASE)
    for example in examples(count):
        model.learn(example)
    return model


def restored(model: IntentModel) -> IntentModel:
    """What a scorer or a restarted trainer builds from a snapshot."""
    copy = IntentModel(model.name, base_rate=BASE)
    copy.restore(model.export())
    table, original = copy.priors.table, model.priors.table
    table.put_changes(
        ((kind, key), list(counts)) for kind, some in original._entries.items() for key, counts in some.items()
    )
    table.set_clock(landmark=original.landmark, newest=original.newest, base=original.base)
    return copy


def plain(exported: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in exported.items()}


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match=r"got model 'oracle', expected one of newton, sgd"):
        IntentModel("oracle", base_rate=BASE)


@pytest.mark.parametrize("name", NAMES)
def test_a_cold_model_says_the_base_rate(name: str) -> None:
    model = IntentModel(name, base_rate=BASE)
    for rows in (1, 20):
        assert model.score_many(*inputs(rows)) == pytest.approx(BASE, abs=1e-6)
    assert model.score_many(np.empty((0, len(FEATURE_NAMES))), []).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_what_leads_to_a_checkout_scores_higher_after_learning(name: str) -> None:
    model = trained(name, 1500)
    x, keys = inputs(200, seed=9)
    x[:100, 0], x[100:, 0] = -3.0, 5.0
    scores = model.score_many(x, keys)
    assert scores[100:].mean() > scores[:100].mean() + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_predicting_changes_no_state(name: str) -> None:
    model = trained(name)
    before = plain(model.export())
    entries, base = len(model.priors.table), list(model.priors.table.base)
    unknown = [Keys("never seen", "new", "new", "new", "XX", 3, ["never seen"], ["new"])]
    first = model.score_many(*inputs(50, seed=2))
    for rows in (1, 50):
        x, keys = inputs(rows, seed=3)
        model.score_many(x * 1000, unknown * rows)
        model.score_many(x, keys)
    assert plain(model.export()) == before
    assert (len(model.priors.table), model.priors.table.base) == (entries, base)
    assert np.array_equal(model.score_many(*inputs(50, seed=2)), first)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_equals_many_rows_number_by_number(name: str) -> None:
    model = trained(name)
    x, keys = inputs(400, seed=4)
    # What never varied while learning, and now does.
    x[::2, -1] = 0.0
    many = model.score_many(x, keys)
    one = [model.score_many(x[n : n + 1], keys[n : n + 1])[0] for n in range(len(x))]
    few = np.concatenate([model.score_many(x[n : n + 5], keys[n : n + 5]) for n in range(0, len(x), 5)])
    assert many.tolist() == one
    assert many.tolist() == few.tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_restored_model_scores_and_goes_on_learning_the_same(name: str, count: int) -> None:
    model = trained(name, count)
    copy = restored(model)
    x, keys = inputs(60, seed=5)
    assert copy.score_many(x, keys).tolist() == model.score_many(x, keys).tolist()
    for example in examples(100, seed=6):
        model.learn(example)
        copy.learn(example)
    assert copy.score_many(x, keys).tolist() == model.score_many(x, keys).tolist()
    assert plain(copy.export()) == plain(model.export())


@pytest.mark.parametrize("name", NAMES)
def test_an_export_does_not_change_when_learning_goes_on(name: str) -> None:
    model = trained(name, 50)
    exported = model.export()
    kept = plain(exported)
    for example in examples(5, seed=7):
        model.learn(example)
    assert plain(exported) == kept


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_of_another_model_is_refused(name: str) -> None:
    other = next(entry for entry in NAMES if entry != name)
    with pytest.raises(ValueError, match=r"snapshot"):
        IntentModel(name, base_rate=BASE).restore(trained(other, 5).export())
    with pytest.raises(ValueError, match=r"snapshot"):
        IntentModel(name, base_rate=BASE).restore({})


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_with_a_number_that_is_not_finite_is_neither_made_nor_taken(name: str) -> None:
    model = trained(name, 20)
    exported = model.export()
    exported["weights"][3] = math.nan
    with pytest.raises(ValueError, match="finite"):
        IntentModel(name, base_rate=BASE).restore(exported)
    poisoned = msgspec.structs.replace(
        examples(1)[0], features=FeatureValues(*[math.nan] * len(FEATURE_NAMES)), touched=None
    )
    # An example that got past every guard: the model must not be published.
    model.pipeline.learn_one(river_input(poisoned), True)
    with pytest.raises(NonFiniteError):
        model.export()


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_six_digits_and_stay_off_0_and_1(name: str) -> None:
    model = trained(name, 800)
    x, keys = inputs(50, seed=8)
    scores = model.score_many(x * 1e4, keys)
    assert ((scores >= SCORE_MIN) & (scores <= 1 - SCORE_MIN)).all()
    assert [float(f"{score:.6f}") for score in scores] == scores.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_an_inputs_keys_does_not_matter(name: str) -> None:
    straight, shuffled = IntentModel(name, base_rate=BASE), IntentModel(name, base_rate=BASE)
    for example in examples(120):
        x = river_input(example)
        backwards = dict(reversed(x.items()))
        straight.pipeline.learn_one(x, bool(example.label))
        shuffled.pipeline.learn_one(backwards, bool(example.label))
    x = river_input(examples(1, seed=3)[0])
    backwards = dict(reversed(x.items()))
    assert shuffled.pipeline.predict_proba_one(backwards) == straight.pipeline.predict_proba_one(x)


def test_the_classifier_sees_the_inputs_in_their_fixed_order() -> None:
    model = IntentModel("newton", base_rate=BASE)
    x = river_input(examples(1)[0])
    assert tuple(model.priors.transform_one(dict(reversed(x.items())))) == INPUT_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_never_sees_its_own_label(name: str) -> None:
    # At the moment the first example is learned nothing is known of its keys: its priors are 0, whatever its label.
    seen: list[dict[str, float]] = []

    class Watching(base.Classifier):
        """Stands at the end of the pipeline and notes what reaches a classifier as it learns."""

        def learn_one(self, x: dict[str, float], y: bool) -> None:
            seen.append(x)

    model = IntentModel(name, base_rate=BASE)
    pipeline = compose.Pipeline(("priors", model.priors), ("watching", Watching()))
    for example in examples(2):
        pipeline.learn_one(river_input(msgspec.structs.replace(example, label=1)), True)
    assert all(seen[0][prior] == 0.0 for prior in INPUT_NAMES[len(FEATURE_NAMES) :])
    assert model.priors.table.base == [1.0, 1.0]


def test_only_the_example_that_ends_an_episode_moves_the_priors() -> None:
    model = IntentModel("newton", base_rate=BASE)
    for example in examples(10):
        model.learn(example)
    # Examples 0, 3, 6 and 9 close episodes.
    assert model.priors.table.base[1] == pytest.approx(4)


def test_the_table_starts_from_the_configured_base_rate() -> None:
    assert IntentModel("newton", base_rate=0.2).priors.table.base_rate == pytest.approx(PriorTable(0.2).base_rate)

"""Contributions: exact where a model is linear in its inputs, flagged and sane elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from river import linear_model

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import INPUT_NAMES, IntentModel, Rows
from stream_app.core.reason_catalogue import REASON_IDS
from stream_app.core.reasons import explain
from stream_app.core.records import Keys
from stream_app.core.zoo.contributions import additive, occluded, usual
from tests.zoo.material import BASE, NAMES, inputs, restored, trained

EXACT = ("bins", "blend", "newton", "sgd")
OTHERS = tuple(name for name in NAMES if name not in EXACT)


def model_inputs(model: IntentModel, rows: int, seed: int) -> npt.NDArray[np.float64]:
    """What the classifier sees of some rows of features and keys."""
    x, keys = inputs(rows, seed)
    found = (dict(zip((*FEATURE_NAMES, "keys"), (*row, key), strict=True)) for row, key in zip(x, keys, strict=True))
    return np.array([list(model.priors.transform_one(row).values()) for row in found])


def logits(model: IntentModel, rows: npt.NDArray[np.float64], keys: Sequence[Keys] | None = None) -> list[float]:
    """What the classifier itself says of each row; without keys nothing is known of the pages."""
    found = Rows(rows, [Keys()] * len(rows) if keys is None else keys).dicts
    said = (model.classifier.predict_proba_one(row) for row in found)
    return [math.log(p[True]) - math.log(p[False]) for p in said]


@pytest.mark.parametrize("count", [0, 1, 40, 600])
@pytest.mark.parametrize("name", EXACT)
def test_base_and_contributions_are_the_models_logit(name: str, count: int) -> None:
    model = trained(name, count)
    # Some of them far beyond what was learned: clips and outermost bins.
    rows = model_inputs(model, 120, seed=5) * np.repeat([1.0, 4.0], 60)[:, None]
    found = additive(model.classifier, rows)
    assert found is not None
    base, contributions = found
    assert contributions.shape == (120, len(INPUT_NAMES))
    # A probability nearer to 0 or 1 than 1e-6 is never served, and a double holds its logit to fewer digits.
    told, said = (np.clip(found, -13.0, 13.0) for found in (base + contributions.sum(axis=1), logits(model, rows)))
    assert told == pytest.approx(said, abs=1e-9)
    if count == 600:
        assert np.ptp(contributions.sum(axis=1)) > 1.0


@pytest.mark.parametrize("name", EXACT)
def test_an_all_usual_row_has_the_base_and_nothing_more(name: str) -> None:
    model = trained(name, 300)
    if name == "newton":
        mean = model.classifier.core.mean
    else:
        mean = usual(model.classifier.second if name == "blend" else model.classifier)
    found = additive(model.classifier, mean[None, :])
    assert found is not None
    assert found[1] == pytest.approx(0.0, abs=1e-9)
    assert found[0] == pytest.approx(logits(model, mean[None, :])[0], abs=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_contributions_of_one_row_are_those_in_a_batch_to_the_bit(name: str) -> None:
    model = trained(name, 200)
    rows = model_inputs(model, 50, seed=6)
    whole = additive(model.classifier, rows)
    assert whole is not None
    for n in range(len(rows)):
        alone = additive(model.classifier, rows[n : n + 1])
        assert alone is not None
        assert alone[0] == whole[0]
        assert alone[1][0].tolist() == whole[1][n].tolist()


@pytest.mark.parametrize("name", EXACT)
def test_a_restored_model_explains_alike(name: str) -> None:
    model = trained(name, 200)
    x, keys = inputs(10, seed=2)
    one, other = explain(model, x, keys), explain(restored(model), x, keys)
    assert one.base == other.base
    assert one.reasons.tolist() == other.reasons.tolist()


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_say_that_they_are_not_exact_and_their_logit_is_their_own(name: str) -> None:
    model = trained(name, 300)
    x, keys = inputs(5, seed=7)
    found = explain(model, x, keys)
    assert additive(model.classifier, model_inputs(model, 5, seed=7)) is None
    assert not found.exact
    assert found.inputs is None
    assert found.reasons.shape == (5, len(REASON_IDS))
    assert found.logits.tolist() == pytest.approx(logits(model, model_inputs(model, 5, seed=7), keys), abs=1e-9)
    # The average row's own logit, asked for once more.
    mean = usual(model.classifier)[None, :]
    assert found.base == pytest.approx(logits(model, mean)[0], abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_effect_is_the_reason_that_tells_who_buys(name: str) -> None:
    """Outcomes follow the feature `events` alone: where it is high its reason speaks for, where it is low against."""
    model = trained(name, 1500)
    x, keys = inputs(40, seed=9)
    low, high = x.copy(), x.copy()
    place = FEATURE_NAMES.index("events")
    low[:, place], high[:, place] = -3.0, 5.0
    column = REASON_IDS.index("depth")
    speaks = [explain(model, rows, keys).reasons for rows in (low, high)]
    gained = (speaks[1] - speaks[0]).mean(axis=0)
    assert gained[column] > 0.25
    assert int(np.abs(gained).argmax()) == column


@pytest.mark.parametrize(
    "name", ["sgd", "bins", "hashed", "bagging", "mondrian_forest", "naive_bayes", "hoeffding_tree"]
)
def test_the_usual_value_is_0_for_an_input_that_mostly_is_and_else_the_mean(name: str) -> None:
    model = IntentModel(name, base_rate=BASE)
    for n in range(400):
        x = dict.fromkeys(INPUT_NAMES, 0.0)
        x["events"], x["has_cart"], x["age"] = 2.0 + n % 2, float(n % 4 == 0), float(n % 4 != 0)
        model.classifier.learn_one(x, n % 3 == 0)
    found = dict(zip(INPUT_NAMES, usual(model.classifier).tolist(), strict=True))
    assert found["has_cart"] == found["price"] == 0.0
    # A member of an ensemble sees each example a random number of times.
    assert found["events"] == pytest.approx(2.5, abs=0.15 if name == "bagging" else 1e-9)
    assert found["age"] == pytest.approx(0.75, abs=0.15 if name == "bagging" else 1e-9)


def test_hiding_a_group_is_the_change_of_the_logit_with_it_at_its_mean() -> None:
    """Worked out by hand: a model that is linear after all, in one input of mean 2 with weight 0.5."""
    from stream_app.core.zoo.scaling import ZScores

    scaler = ZScores()
    for value in (1.0, 3.0):
        scaler.learn_one({**dict.fromkeys(INPUT_NAMES, 0.0), "events": value})
    regression: Any = linear_model.LogisticRegression(intercept_init=-1.0)
    regression.learn_one({"events": 1.0}, True)
    regression._weights["events"], regression.intercept = 0.5, -1.0
    row = np.zeros((1, len(INPUT_NAMES)))
    row[0, 0] = 4.0  # z = (4 − 2) / 1
    base, logits, found = occluded(scaler | regression, row, [[0], [1, 2], []])
    assert base == pytest.approx(-1.0)
    assert logits == pytest.approx([0.0])
    assert found[0] == pytest.approx([1.0, 0.0, 0.0])


def test_a_classifier_that_keeps_no_means_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="begin it with ZScores or WarmStart"):
        usual(linear_model.LogisticRegression())


def test_the_calibrators_line_scales_contributions_and_moves_the_base() -> None:
    model = trained("newton", 400)
    x, keys = inputs(30, seed=3)
    plain = explain(model, x, keys)
    model.calibrator.slope, model.calibrator.offset, model.calibrator.serving = 0.8, 0.3, True
    calibrated = explain(model, x, keys)
    assert calibrated.base == pytest.approx(0.8 * plain.base + 0.3)
    assert calibrated.reasons == pytest.approx(0.8 * plain.reasons)
    served = 1.0 / (1.0 + np.exp(-(calibrated.base + calibrated.reasons.sum(axis=1))))
    # Served scores have six digits.
    assert served == pytest.approx(model.score_many(x, keys), abs=1e-6)
    assert BASE not in served

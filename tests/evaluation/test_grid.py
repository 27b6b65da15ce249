"""The grid: nested sets of features that nothing else gets through, and other settings beside the usual ones."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import INPUT_NAMES
from stream_app.core.records import Keys
from stream_app.evaluation.batch_models import candidates, fit
from stream_app.evaluation.contenders import Online
from stream_app.evaluation.grid import FEATURE_SETS, Variant, batch_variants, group_of, online_variants, seen
from tests.evaluation.histories import passed, question, shop


def test_each_set_has_all_of_the_one_before_it_and_something_more() -> None:
    sizes = [len(seen(name) & set(INPUT_NAMES)) for name in FEATURE_SETS]
    assert sizes == sorted(set(sizes))
    for smaller, larger in pairwise(FEATURE_SETS):
        assert seen(smaller) < seen(larger)
    assert seen(FEATURE_SETS[-1]) < seen(None)
    assert {group_of(name) for name in (*FEATURE_NAMES, *INPUT_NAMES)} == {*FEATURE_SETS, "context"}


@pytest.mark.parametrize("last", FEATURE_SETS)
def test_a_variant_is_blind_to_what_it_does_not_see(last: str) -> None:
    contender = Online(Variant("v", "newton", features=last), base_rate=0.1)
    random = np.random.default_rng(1)
    x = random.random((1, len(FEATURE_NAMES)))
    hidden = np.array([name not in seen(last) for name in FEATURE_NAMES])
    other = np.where(hidden, random.random((1, len(FEATURE_NAMES))), x)
    keys, others = Keys(item="a", items=["a"], step=3), Keys(item="b", items=["b", "c"], step=4)
    view, blind = contender.view.of(x, [keys]), contender.view.of(other, [others])
    np.testing.assert_array_equal(view[0], blind[0])
    assert (view[1] == blind[1]) is (last in ("counts", "timing", "sequence"))
    np.testing.assert_array_equal(view[0][0][~hidden], x[0][~hidden])


def test_a_batch_variant_fits_and_predicts_on_the_columns_that_it_sees() -> None:
    random = np.random.default_rng(2)
    inputs = random.normal(size=(900, len(INPUT_NAMES))).astype(np.float32)
    visible, hidden = INPUT_NAMES.index("events"), INPUT_NAMES.index("gap")
    label = (random.random(900) < 1 / (1 + np.exp(-2 * inputs[:, visible] - 2 * inputs[:, hidden]))).astype(np.uint8)
    rows = {"inputs": inputs, "label": label, "weight": np.ones(900), "events": np.ones(900, np.int32)}
    fitted = fit(Variant("v", "batch-logistic", features="counts"), rows)
    without = inputs.copy()
    without[:, hidden] = 0
    np.testing.assert_array_equal(fitted.predict(inputs), fitted.predict(without))
    assert np.corrcoef(fitted.predict(inputs), inputs[:, visible])[0, 1] > 0.8
    one = fit(Variant("v", "batch-logistic", settings={"C": 0.5}), rows)
    assert one.settings == {"C": 0.5}


def test_the_grids_variants_are_named_after_what_they_change() -> None:
    online = online_variants("newton", ("features", "settings"), base_rate=0.03)
    assert [variant.name for variant in online] == [
        "newton", "newton[counts]", "newton[+timing]", "newton[+sequence]", "newton[+priors]", "newton[+visitor]",
        "newton[base_rate=0.01]", "newton[base_rate=0.09]", "newton[hold=30min]", "newton[calibrator=off]",
    ]  # fmt: skip
    tried = candidates("batch-logistic")
    batch = batch_variants("batch-logistic+under", tried, ("settings",))
    assert [variant.settings for variant in batch] == [None, *tried]
    assert batch[1].name == f"batch-logistic+under[C={tried[0]['C']}]"
    assert online_variants("sgd", (), base_rate=0.03) == [Variant("sgd", "sgd")]


def test_variants_run_beside_the_model_and_see_less(tmp_path: Path) -> None:
    # What sells is the item: of that, only the priors tell.
    online = tuple(online_variants("newton", ("features", "settings"), base_rate=0.1))
    found = passed(shop(1_000), question(online=online, folds=1), tmp_path)
    aucs = {name: figures["roc_auc"] for name, figures in found.report["models"].items()}
    assert aucs["newton[+priors]"] > aucs["newton[+sequence]"] + 0.05
    # Nobody comes back here, and nothing has a price.
    assert aucs["newton"] == aucs["newton[+visitor]"] == aucs["newton[+priors]"]
    # In a thousand events the calibrator has no reason to serve.
    assert aucs["newton"] == aucs["newton[calibrator=off]"]
    assert len(set(aucs.values())) == len(aucs) - 3

"""The pipeline around a classifier: what reaches it, and when it is no longer to be believed. The zoo: `tests/zoo`."""

from __future__ import annotations

import msgspec
import pytest
from river import base, compose

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.model import CLOCK_FEATURES, INPUT_NAMES, IntentModel, NonFiniteError, river_input
from stream_app.core.priors import PRIOR_NAMES, PriorTable
from tests.zoo.material import BASE, examples, to_the_bit, trained


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    names = r"adaptive_forest, .*, newton, page_sequence, sgd"
    with pytest.raises(ValueError, match=f"got model 'oracle', expected one of {names}"):
        IntentModel("oracle", base_rate=BASE)


def test_the_classifier_sees_the_inputs_in_their_fixed_order_and_not_the_clock() -> None:
    model = IntentModel("newton", base_rate=BASE)
    x = river_input(examples(1)[0])
    assert tuple(model.priors.transform_one(dict(reversed(x.items())))) == INPUT_NAMES
    assert set(INPUT_NAMES) == set(FEATURE_NAMES) - CLOCK_FEATURES | set(PRIOR_NAMES)


def test_an_example_never_sees_its_own_label() -> None:
    # At the moment the first example is learned nothing is known of its keys: its priors are 0, whatever its label.
    seen: list[dict[str, float]] = []

    class Watching(base.Classifier):
        """Stands at the end of the pipeline and notes what reaches a classifier as it learns."""

        def learn_one(self, x: dict[str, float], y: bool) -> None:
            seen.append(x)

    model = IntentModel("newton", base_rate=BASE)
    pipeline = compose.Pipeline(("priors", model.priors), ("watching", Watching()))
    for example in examples(2):
        pipeline.learn_one(river_input(msgspec.structs.replace(example, label=1)), True)
    assert all(seen[0][prior] == 0.0 for prior in PRIOR_NAMES)
    assert any(seen[1][prior] != 0.0 for prior in PRIOR_NAMES)
    assert model.priors.table.base[:2] == [1.0, 1.0]


def test_only_the_example_that_ends_an_episode_moves_the_priors() -> None:
    model = IntentModel("newton", base_rate=BASE)
    for example in examples(10):
        model.learn(example)
    # Examples 0, 3, 6 and 9 close episodes.
    assert model.priors.table.base[1] == pytest.approx(4)


def test_the_table_starts_from_the_configured_base_rate() -> None:
    assert IntentModel("newton", base_rate=0.2).priors.table.base_rate == pytest.approx(PriorTable(0.2).base_rate)


@pytest.mark.parametrize("error", [OverflowError("math range error"), ZeroDivisionError("float division by zero")])
def test_a_model_that_failed_in_the_middle_of_learning_is_not_published_until_it_is_put_back(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(x: dict[str, float], y: bool) -> None:
        """Half-way, as a tree does whose sums overflow."""
        raise error

    model = trained("sgd", 50)
    good, kept = model.export(), to_the_bit(model)
    monkeypatch.setattr(model.classifier, "learn_one", fail)
    (example,) = examples(1, seed=3)
    model.learn(example)
    with pytest.raises(NonFiniteError, match=f"model sgd: learning example {example.event_id}.*{error.args[0]}"):
        model.export()
    model.restore(good)
    assert to_the_bit(model) == kept

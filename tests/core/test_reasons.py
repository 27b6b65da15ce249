"""Reasons: every input in one of them, and the same whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.core.emission import SAMPLED_ONE_IN, is_sampled
from stream_app.core.model import INPUT_NAMES
from stream_app.core.reason_catalogue import REASON_IDS, REASONS, REASONS_MAX
from stream_app.core.reasons import explain, strongest
from tests.zoo.material import inputs, trained


def test_every_input_belongs_to_exactly_one_reason() -> None:
    grouped = [name for reason in REASONS for name in reason.inputs]
    assert sorted(grouped) == sorted(INPUT_NAMES)


def test_ids_are_short_names_and_words_differ_by_direction() -> None:
    assert len(set(REASON_IDS)) == len(REASONS)
    for reason in REASONS:
        assert reason.id.isidentifier()
        assert reason.id == reason.id.lower()
        assert reason.up != reason.down


@pytest.mark.parametrize("name", ["newton", "sgd", "bins", "blend"])
def test_a_reason_is_the_sum_of_its_inputs_and_all_add_up_to_the_served_score(name: str) -> None:
    model = trained(name, 400)
    x, keys = inputs(60, seed=4)
    found = explain(model, x, keys)
    assert found.inputs is not None
    for n, reason in enumerate(REASONS):
        columns = [INPUT_NAMES.index(part) for part in reason.inputs]
        assert found.reasons[:, n] == pytest.approx(found.inputs[:, columns].sum(axis=1), abs=1e-12)
    p = 1.0 / (1.0 + np.exp(-(found.base + found.reasons.sum(axis=1))))
    assert p == pytest.approx(model.score_many(x, keys), abs=5e-7)
    assert found.logits == pytest.approx(found.base + found.inputs.sum(axis=1), abs=1e-9)


@pytest.mark.parametrize("name", ["newton", "sgd", "bins", "blend", "hoeffding_tree"])
def test_reasons_of_one_row_are_those_in_a_batch_to_the_bit(name: str) -> None:
    model = trained(name, 300)
    x, keys = inputs(40, seed=4)
    whole = explain(model, x, keys)
    for n in range(len(x)):
        alone = explain(model, x[n : n + 1], keys[n : n + 1])
        assert alone.reasons[0].tolist() == whole.reasons[n].tolist()
        assert alone.logits[0] == whole.logits[n]
    assert explain(model, x[:0], []).reasons.shape == (0, len(REASONS))


def test_the_strongest_three_with_their_sign_and_nothing_that_rounds_to_nothing() -> None:
    reasons = np.zeros((2, len(REASONS)))
    reasons[0, :5] = [0.2, -1.23456, 0.0001, 0.7, -0.7]
    reasons[1, 3] = -0.0004
    # Of two equally strong ones the first in the list.
    assert strongest(reasons) == [[(REASON_IDS[1], -1.235), (REASON_IDS[3], 0.7), (REASON_IDS[4], -0.7)], []]
    assert strongest(reasons[:0]) == []
    assert REASONS_MAX == 3


def test_about_one_event_in_sixteen_is_sampled_and_always_the_same() -> None:
    for ids in ([f"e{n}" for n in range(16_000)], [f"{n:036x}" for n in range(16_000)]):
        chosen = [one for one in ids if is_sampled(one)]
        assert 0.8 < len(chosen) * SAMPLED_ONE_IN / len(ids) < 1.2
    # By the id alone, in any process and version: a subscriber may count on it.
    assert [n for n in range(80) if is_sampled(f"e{n}")] == [22, 55]

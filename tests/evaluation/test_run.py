"""A pass as a whole: its folds, its frozen twins, its batch models, its memory; the same twice."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.core.model import INPUT_NAMES
from stream_app.evaluation.batch_models import BATCH_MODELS, fit
from stream_app.evaluation.columns import Columns
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.grid import Variant
from stream_app.evaluation.question import parse_models
from stream_app.evaluation.run import Pass
from stream_app.evaluation.training_rows import TrainingRows
from tests.core.streams import GAP, GRACE, MINUTE, T0
from tests.evaluation.histories import Passed, event, history_of, passed, question, shop

BATCH = ("batch-constant", "batch-logistic", "batch-boosting", "batch-tree+under")


@pytest.fixture(scope="module", name="found")
def a_pass(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    asked = question(online=("newton",), batch=BATCH, folds=2, frozen=True)
    return passed(shop(800), asked, tmp_path_factory.mktemp("pass"), draws=20)


def test_the_same_file_twice_gives_the_same_figures(found: Passed, tmp_path: Path) -> None:
    asked = question(online=("newton",), batch=BATCH, folds=2, frozen=True)
    assert passed(shop(800), asked, tmp_path, draws=20).report == found.report


def test_every_judged_row_has_a_score_of_everybody_and_was_scored_in_its_fold(found: Passed) -> None:
    rows = found.rows
    judged = rows["fold"] >= 0
    assert 0.6 < judged.mean() < 0.9
    assert np.isfinite(rows["p"][judged]).all()
    assert ((rows["p"][judged] > 0) & (rows["p"][judged] < 1)).all()
    starts = [fold.start_ms for fold in found.results.folds]
    np.testing.assert_array_equal(rows["fold"][judged], np.searchsorted(starts, rows["time"][judged], side="right") - 1)
    assert (rows["known"] >= rows["time"]).all()


def test_the_last_gap_is_not_judged_for_there_only_checkouts_are_known(found: Passed) -> None:
    rows, horizon = found.rows, found.results.horizon_ms
    assert horizon == max(e.event_time for e in shop(800)) - GAP - GRACE  # type: ignore[type-var, operator]
    late = rows["time"] > horizon
    assert late.any()
    assert (rows["fold"][late] == -1).all()


def test_a_frozen_twin_says_the_same_at_the_start_of_a_fold_and_not_for_ever(found: Passed) -> None:
    twin, model = found.p("newton (frozen)"), found.p("newton")
    assert np.isnan(twin[found.rows["time"] < found.results.folds[0].start_ms]).all()
    for number in (0, 1):
        inside = np.flatnonzero(found.rows["fold"] == number)
        first = inside[np.argmin(found.rows["time"][inside])]
        assert twin[first] == model[first]
        assert (twin[inside] != model[inside]).mean() > 0.5


def test_a_constant_says_the_base_rate_of_what_was_known_when_the_fold_began(found: Passed) -> None:
    rows = found.rows
    for number, fold in enumerate(found.results.folds):
        known = rows["known"] < fold.start_ms
        assert known.sum() == fold.training_rows
        expected = rows["label"][known].mean()
        np.testing.assert_allclose(found.p("batch-constant")[rows["fold"] == number], expected, atol=1e-6)
    assert found.report["models"]["batch-constant"]["roc_auc"] == pytest.approx(0.5, abs=0.03)


def test_thresholds_were_fixed_on_the_past(found: Passed) -> None:
    rows = found.rows
    fold = found.results.folds[1]
    known = rows["known"] < fold.start_ms
    p, label, weight = found.p()[known], rows["label"][known], rows["weight"][known]

    def f1(threshold: float) -> float:
        called = p >= threshold
        return float(2 * weight[called & (label == 1)].sum() / (weight[called].sum() + weight[label == 1].sum()))

    chosen = f1(fold.thresholds[0])
    assert chosen == pytest.approx(max(map(f1, np.unique(p))), abs=0.003)
    # Frozen twins share it; those of batch models come from the last fifth of their training rows.
    assert fold.thresholds[1] == fold.thresholds[0]


def test_under_sampling_learns_as_many_of_both_and_shows_in_the_calibration(found: Passed) -> None:
    models = found.report["models"]
    assert models["batch-tree+under"]["mean_score"] > 3 * models["batch-tree+under"]["base_rate"]
    assert models["batch-tree+under"]["ece"] > 5 * models["newton"]["ece"]


@pytest.mark.parametrize("name", [*BATCH_MODELS, "batch-bayes+over", "batch-logistic+under"])
def test_a_batch_model_learns_what_there_is_to_learn(name: str) -> None:
    random = np.random.default_rng(2)
    inputs = random.normal(size=(1_500, 8)).astype(np.float32)
    label = (random.random(1_500) < 1 / (1 + np.exp(2.0 - 1.5 * inputs[:, 3]))).astype(np.uint8)
    rows = {"inputs": inputs, "label": label, "weight": np.ones(1_500), "events": np.ones(1_500, np.int32)}
    fitted = fit(Variant(name, name), rows)
    p = fitted.predict(inputs)
    assert name == "batch-constant" or np.corrcoef(p, inputs[:, 3])[0, 1] > 0.5
    assert len(fitted.validation["label"]) == 300
    again = fit(Variant(name, name), rows)
    np.testing.assert_array_equal(again.predict(inputs), p)
    assert again.settings == fitted.settings


def test_with_one_class_alone_a_batch_model_says_a_constant() -> None:
    rows = {
        "inputs": np.zeros((9, 70), np.float32), "label": np.zeros(9, np.uint8), "weight": np.ones(9),
        "events": np.ones(9, np.int32),
    }  # fmt: skip
    fitted = fit(Variant("batch-boosting", "batch-boosting"), rows)
    np.testing.assert_array_equal(fitted.predict(np.ones((2, 70), np.float32)), [0.05, 0.05])


def test_training_rows_past_their_bound_are_those_of_a_sample_of_whole_sessions(tmp_path: Path) -> None:
    rows = TrainingRows(tmp_path, rows_max=1_000)
    random = np.random.default_rng(4)
    sessions = random.integers(0, 2**64, 1_500, dtype=np.uint64)
    for number, session in enumerate(sessions.tolist()):
        for step in range(3):
            inputs = np.full(len(INPUT_NAMES), number, np.float32)
            rows.add(inputs, label=number % 2, weight=1.0, events=step + 1, session=session)
    kept = rows.all()
    assert 300 < len(rows) <= 1_000
    share = rows.session_share
    assert share == 0.125
    expected = np.repeat(np.flatnonzero(sessions < np.uint64(int(share * 2**64))), 3)
    np.testing.assert_array_equal(kept["inputs"][:, 0], expected)
    rows.close()


def test_there_may_be_no_training_row_yet(tmp_path: Path) -> None:
    rows = TrainingRows(tmp_path)
    fitted = fit(Variant("batch-logistic", "batch-logistic"), rows.all())
    np.testing.assert_array_equal(fitted.predict(np.zeros((2, len(INPUT_NAMES)), np.float32)), [0.5, 0.5])
    rows.close()


def test_columns_give_back_what_they_were_given_in_chunks(tmp_path: Path) -> None:
    columns = Columns(tmp_path, {"n": (np.int64, 0), "pair": (np.float64, 2)})
    for n in range(10_000):
        columns.append({"n": n, "pair": (n, -n)})
    columns.column("pair")[3] = (0.5, 0.25)
    chunks = list(columns.chunks(3_000))
    assert [len(chunk["n"]) for chunk in chunks] == [3_000, 3_000, 3_000, 1_000]
    np.testing.assert_array_equal(np.concatenate([chunk["n"] for chunk in chunks]), np.arange(10_000))
    assert chunks[0]["pair"][3].tolist() == [0.5, 0.25]
    assert chunks[3]["pair"][-1].tolist() == [9_999, -9_999]
    columns.close()


def steady(visits: int) -> Iterator[Event]:
    """A shop at a constant pace, one visitor a minute who never comes back."""
    for n in range(visits):
        item = n % 50
        views = [event(n, 0, "view_item", n, item)]
        bought = [event(n, 1, "purchase", n + 0.5, item)] if n % 8 == 0 else []
        for one in (*views, *bought):
            one.visitor_id = f"u{n}"
            yield one


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    visits = 4_500
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        for one in steady(visits):
            file.write(encode(one) + b"\n")
    held: list[int] = []

    def progress(phase: str, done: int, total: int | None) -> None:
        # Buffers and windows of fixed size fill at first.
        if phase == "scoring and learning" and total and done > total / 2:
            held.append(tracemalloc.get_traced_memory()[0])

    asked = question(folds=1, training_rows_max=500)
    history = history_of([path], tmp_path)
    tracemalloc.start()
    work = Pass(asked, history, tmp_path)
    try:
        results = work.run(progress)
        # The cache keeps 50 visitors; each came once: two thousand more would take 2 MB as states, and their rows more.
        assert len(results.rows) > visits
        assert max(held) - held[0] < 700_000
    finally:
        tracemalloc.stop()
        work.close()


def test_models_are_named_one_by_one_or_by_kind() -> None:
    assert parse_models("newton, batch-tree") == (("newton",), ("batch-tree",))
    online, batch = parse_models("zoo,batch,newton")
    assert set(batch) == set(BATCH_MODELS)
    assert {"newton", "sgd"} <= set(online)
    assert parse_models("newton,batch-constant,batch-tree", ("under",))[1] == (
        "batch-constant", "batch-tree", "batch-tree+under",
    )  # fmt: skip
    with pytest.raises(EvaluationError, match="got model 'newtons', expected one of newton"):
        parse_models("newtons")
    with pytest.raises(EvaluationError, match="got no online model"):
        parse_models("batch-tree")


def test_a_history_too_short_for_its_question_is_refused(tmp_path: Path) -> None:
    events = [event(n, 0, "view_item", n, 1) for n in range(40)]
    with pytest.raises(EvaluationError, match="nothing to train on or nothing to test"):
        passed(events, question(train_until_ms=T0), tmp_path / "a")
    with pytest.raises(EvaluationError, match="nothing to train on or nothing to test"):
        passed(events, question(train_until_ms=T0 + 30 * MINUTE), tmp_path / "b")
    with pytest.raises(EvaluationError, match="got 30 folds, too many"):
        passed(events, question(folds=30), tmp_path / "c")

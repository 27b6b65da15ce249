"""Reasons in score records: which scores have them, and that they are the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core.emission import is_sampled
from stream_app.core.reason_catalogue import REASON_IDS
from stream_app.core.records import Keys, Reasons
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SnapshotReader
from tests.core.examples import BASE, SECRET, SnapshotTopic, examples, learner
from tests.core.streams import RULES, Partition, event
from tests.zoo.material import inputs

_Which = Literal["off", "fence", "sampled", "all"]


class TellingScorer:
    """The n-th event of a batch is scored n hundredths, its reason is its first feature."""

    name, version, updates = "telling", 1, 1
    bands = None

    def __init__(self, *, cold: bool = False) -> None:
        self.cold = cold
        self.asked: list[int] = []

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        return np.arange(1, len(x) + 1) / 100

    def reasons_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> list[Reasons]:
        self.asked.append(len(keys))
        return [[("cart", round(float(row[0]), 3)), (str(key.item), -1.0)] for row, key in zip(x, keys, strict=True)]


def scored(which: _Which, *, cold: bool = False, events: int = 40) -> tuple[list[dict[str, Any]], TellingScorer]:
    """One batch of events of as many visitors. Scores .08 to .24 are on the fence."""
    scorer = TellingScorer(cold=cold)
    partition = Partition(replace(RULES, reasons=which), scorer)
    partition.step([event(n, f"v{n}", "view_item", 0, item_id=f"i{n}") for n in range(events)])
    assert [score["event_id"] for score in partition.scores] == [f"e{n}" for n in range(events)]
    return partition.scores, scorer


def test_all_scores_have_their_own_reasons_asked_for_together() -> None:
    scores, scorer = scored("all")
    # ln(1 + 1 event), kept to four digits
    assert [score["reasons"] for score in scores] == [[["cart", 0.693], [f"i{n}", -1.0]] for n in range(40)]
    assert scorer.asked == [40]


def test_on_the_fence_are_those_of_that_band() -> None:
    scores, scorer = scored("fence")
    told = [n for n, score in enumerate(scores) if "reasons" in score]
    assert told == [n for n, score in enumerate(scores) if score["band"] == "on_the_fence"] == list(range(7, 24))
    assert [scores[n]["reasons"][1] for n in told] == [[f"i{n}", -1.0] for n in told]
    assert scorer.asked == [17]


def test_sampled_are_those_whose_id_says_so_wherever_batches_are_cut() -> None:
    scores, _ = scored("sampled", events=400)
    told = [score["event_id"] for score in scores if "reasons" in score]
    assert told == [f"e{n}" for n in range(400) if is_sampled(f"e{n}")]
    assert 10 < len(told) < 40
    partition = Partition(replace(RULES, reasons="sampled"), TellingScorer())
    for n in range(400):
        partition.step([event(n, f"v{n}", "view_item", 0, item_id=f"i{n}")])
    assert [score["event_id"] for score in partition.scores if "reasons" in score] == told


@pytest.mark.parametrize("which", ["off", "all"])
def test_off_and_cold_scores_have_no_such_field_and_nobody_is_asked(which: _Which) -> None:
    scores, scorer = scored(which, cold=which == "all")
    assert not any("reasons" in score for score in scores)
    assert scorer.asked == []


def test_reasons_are_the_only_difference_that_the_setting_makes() -> None:
    without, _ = scored("off")
    with_reasons, _ = scored("all")
    assert [{name: value for name, value in score.items() if name != "reasons"} for score in with_reasons] == without


def test_a_serving_model_tells_at_most_three_that_it_knows_best() -> None:
    topic, taught = SnapshotTopic(), learner()
    for n, example in enumerate(examples(1_500)):
        taught.fold(0, n, example)
    model, reader = ServingModel("newton", base_rate=BASE), SnapshotReader(secret=SECRET)
    for record in topic.publish(taught):
        found = reader.read(*record)
        if found is not None:
            model.take(found.head, found.entries)
    assert not model.cold
    x, keys = inputs(50, seed=3)
    whole = model.explain(x, keys)
    for row, reasons in enumerate(model.reasons_many(x, keys)):
        assert len(reasons) == 3
        found = dict(zip(REASON_IDS, whole.reasons[row].tolist(), strict=True))
        assert reasons == [
            (name, round(found[name], 3)) for name in sorted(found, key=lambda name: -abs(found[name]))[:3]
        ]

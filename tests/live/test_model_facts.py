"""What the page says of the model is what the learner has measured, from it or from its snapshot."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.core.score_counts import Rows, ScoreCounts
from stream_app.core.snapshots import SnapshotReader, encode_snapshot
from stream_app.learning import new_learner
from stream_app.live.model_facts import learner_facts, quality_facts, snapshot_facts
from stream_app.settings import Settings


def counted(scores: list[float], labels: list[int]) -> ScoreCounts:
    counts = ScoreCounts()
    n = len(scores)
    counts.add(Rows(np.array(scores), np.array(labels, dtype=float), np.ones(n), np.ones(n), np.ones(n)))
    return counts


def test_figures_come_only_with_enough_outcomes_of_both_kinds() -> None:
    few = quality_facts(counted([0.9] * 19 + [0.1] * 100, [1] * 19 + [0] * 100))
    assert (few["examples"], few["roc_auc"], few["reliability"]) == (119, None, [])
    enough = quality_facts(counted([0.9] * 20 + [0.1] * 100, [1] * 20 + [0] * 100))
    assert enough["roc_auc"] == 1.0
    assert sum(bin["weight"] for bin in enough["reliability"]) == pytest.approx(120)
    assert enough["reliability"][0]["bought"] == 0.0


def test_a_snapshot_says_the_same_as_its_learner_but_for_the_window() -> None:
    settings = Settings()
    learner = new_learner(settings)
    learner.lineage = 1
    learner.prequential.total("all").add(
        Rows(np.full(60, 0.3), np.array([1.0] * 30 + [0.0] * 30), np.ones(60), np.ones(60), np.ones(60))
    )
    records = encode_snapshot(learner.export(), {}, {}, version=3, published_at=77, secret=b"s")
    reader = SnapshotReader(secret=b"s", learning=True)
    (snapshot,) = [found for record in records if (found := reader.read(*record)) is not None]
    here, there = learner_facts(learner), snapshot_facts(snapshot)
    assert here["since_start"]["examples"] == 60
    for name in ("since_start", "third_event", "champion", "challengers", "drift", "changed", "waiting"):
        assert here[name] == there[name], name
    assert (there["from"], there["published_at"], there["recent"]) == ("snapshot", 77, None)

"""How good the scores are, as JSON values: from the learner where it is in this process, else from its newest snapshot.

A figure that says nothing yet, for lack of outcomes, is None. What a snapshot has is since the learner's start; the
window of the last examples is not in it, so `recent` is None there.
"""

from __future__ import annotations

import math
from typing import Any, Final

from stream_app.core.drift import Drift
from stream_app.core.learner import Learner
from stream_app.core.prequential import WINDOW_EXAMPLES, Prequential
from stream_app.core.score_counts import Quality, ScoreCounts
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import Snapshot
from stream_app.model_status import status_facts

#: Bins of the reliability curve, each with a tenth of the scores; as the gauges have them.
RELIABILITY_BINS: Final = 10


def served_facts(model: ServingModel) -> dict[str, Any]:
    """The model that this worker scores with."""
    fence, likely = model.bands or (None, None)
    return {
        "name": model.name,
        "version": model.version,
        "updates": model.updates,
        "cold": model.cold,
        "base_rate": model.base_rate,
        "fence_min": fence,
        "likely_min": likely,
    }


def learner_facts(learner: Learner) -> dict[str, Any]:
    """Of the learner in this process; 10 to 20 ms."""
    prequential = learner.prequential
    return {
        "from": "trainer",
        "published_at": None,
        "window_examples": WINDOW_EXAMPLES,
        "recent": quality_facts(prequential.window("all")),
        "since_start": quality_facts(prequential.total("all")),
        "third_event": quality_facts(prequential.total("event_3")),
        "learned": {"examples": learner.updates, "checkouts": learner.positives, "others": learner.negatives},
        "waiting": len(learner.held),
        "drift": _drift_facts(learner.drift),
        "champion": learner.champion.name,
        "challengers": sorted(set(learner.contenders) - {learner.champion.name}),
        "changed": learner.champion.changed,
    }


def snapshot_facts(snapshot: Snapshot) -> dict[str, Any]:
    """Of the newest snapshot. Raises ValueError, KeyError or TypeError if it is damaged."""
    state = snapshot.head.state
    prequential, drift = Prequential(), Drift()
    prequential.restore(state["prequential"])
    drift.restore(state["drift"])
    status = status_facts(snapshot)
    examples, checkouts, others = state["serving"]["learned"]
    return {
        "from": "snapshot",
        "published_at": snapshot.head.published_at,
        "window_examples": WINDOW_EXAMPLES,
        "recent": None,
        "since_start": quality_facts(prequential.total("all")),
        "third_event": quality_facts(prequential.total("event_3")),
        "learned": {"examples": examples, "checkouts": checkouts, "others": others},
        "waiting": len(state.get("held", ())),
        "drift": _drift_facts(drift),
        "champion": status["champion"],
        "challengers": sorted(m["name"] for m in status["models"] if m["role"] == "challenger"),
        "changed": status["changed"],
    }


def quality_facts(counts: ScoreCounts) -> dict[str, Any]:
    """Figures and reliability curve of a set of examples; a curve only where the figures say something."""
    quality: Quality = counts.quality().shown()
    facts: dict[str, Any] = {name: number(value) for name, value in quality._asdict().items()}
    rows = counts.reliability(RELIABILITY_BINS).tolist() if facts["roc_auc"] is not None else []
    facts["reliability"] = [{"weight": w, "score": score, "bought": bought} for w, score, bought in rows]
    return facts


def number(value: float) -> float | int | None:
    """A JSON number; None for what is not one."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drift_facts(drift: Drift) -> dict[str, Any]:
    newest = drift.alarms[-1] if drift.alarms else None
    return {
        "alarms": sum(drift.counts().values()),
        "newest": None if newest is None else {"what": newest.what, "time": newest.time},
        "changed": sorted(name for name, has in drift.changed().items() if has),
    }

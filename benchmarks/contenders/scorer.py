"""The contenders' model, `StandardScaler | LogisticRegression` of River, and what is done for one event.

The model starts from a file that the rig learned beforehand, so that a score is plausible from the first event on and,
without learning, a pure function of the features: then every score can be checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from river import compose, linear_model, preprocessing
from river.utils import VectorDict

from benchmarks.contenders.session import FEATURES, Event, State, features, fold, outcome

Records = tuple[State, dict[str, Any], dict[str, Any]]


def load_model(path: str) -> compose.Pipeline:
    """The pipeline of a file that `save_model` wrote."""
    given = json.loads(Path(path).read_text())
    names = given["features"]
    scaler = preprocessing.StandardScaler._from_state(
        counts=dict.fromkeys(names, given["count"]),
        means=dict(zip(names, given["means"], strict=True)),
        vars=dict(zip(names, given["vars"], strict=True)),
    )
    classifier = linear_model.LogisticRegression(intercept_init=given["intercept"])
    classifier._weights = VectorDict(dict(zip(names, given["weights"], strict=True)))
    return compose.Pipeline(scaler, classifier)


def save_model(model: compose.Pipeline, path: str) -> None:
    """Moments, weights and intercept, as JSON for contenders in any language."""
    scaler, classifier = model.steps.values()
    Path(path).write_text(
        json.dumps(
            {
                "features": FEATURES,
                "count": scaler.counts[FEATURES[0]],
                "means": [scaler.means[name] for name in FEATURES],
                "vars": [scaler.vars[name] for name in FEATURES],
                "weights": [classifier.weights.get(name, 0.0) for name in FEATURES],
                "intercept": classifier.intercept,
            }
        )
    )


def score(state: State | None, event: Event, model: compose.Pipeline, *, learn: bool) -> Records:
    """The state after the event, its features record and its score record."""
    if learn and state is not None and (bought := outcome(state, event)) is not None:
        model.learn_one(features(state), bought)
    state = fold(state, event)
    x = features(state)
    common = {
        "event_id": event["event_id"],
        "visitor_id": event["visitor_id"],
        "session_id": state["session_id"],
        "event_time": event["event_time"],
        "event_type": event["event_type"],
        "events": state["events"],
    }
    p = model.predict_proba_one(x)[True]
    return state, {**common, "features": x}, {**common, "score": p, "model": "lr"}

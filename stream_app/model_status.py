"""How the models of a snapshot stand, as plain facts: for `stream-app models status`."""

from __future__ import annotations

from typing import Any

from stream_app.core.calibration import Calibrator
from stream_app.core.champion import Champion
from stream_app.core.contender import Standing
from stream_app.core.snapshots import Snapshot


def champion_of(snapshot: Snapshot) -> Champion:
    """The champion of a snapshot, with the record of changes."""
    champion = Champion(str(snapshot.head.state["model"]))
    champion.restore(snapshot.head.state["champion"])
    return champion


def status_facts(snapshot: Snapshot) -> dict[str, Any]:
    """Champion and challengers, bands, changes; times in ms. Log-loss in nats per event over the fading window."""
    head, state = snapshot.head, snapshot.head.state
    champion = champion_of(snapshot)
    parts = {champion.name: state["serving"], **snapshot.challengers}
    standings = [Standing(*values) for values in state["standings"]]
    return {
        "champion": champion.name,
        "pinned": champion.pinned,
        "version": head.version,
        "published_at": head.published_at,
        "examples": state["updates"],
        "bands": {
            "rule": state["bands"]["rule"],
            "fence_min": state["bands"]["bands"][0],
            "likely_min": state["bands"]["bands"][1],
        },
        "models": [
            _model_facts(standing, parts[standing.name], serves=standing.name == champion.name)
            for standing in sorted(standings, key=lambda standing: standing.name != champion.name)
            if standing.name in parts
        ],
        "changed": champion.changed,
        "changes": [
            {
                "time": change.time,
                "examples": change.updates,
                "from": change.former,
                "to": change.name,
                "pinned": change.pinned,
                "reason": change.reason,
            }
            for change in champion.changes
        ],
    }


def _model_facts(standing: Standing, part: dict[str, Any], *, serves: bool) -> dict[str, Any]:
    examples, checkouts, others = part["learned"]
    calibrator = Calibrator()
    calibrator.restore(part["classifier"]["calibrator"])
    return {
        "name": standing.name,
        "role": "champion" if serves else "challenger",
        "warm": standing.warm,
        "frozen": part["frozen"] or None,
        "learned": {"examples": examples, "checkouts": checkouts, "others": others},
        "window_examples": standing.examples,
        "log_loss": standing.log_loss if standing.examples else None,
        "difference": None if serves or not standing.examples else standing.difference,
        "z": None if serves or not standing.examples else standing.z,
        "calibrator": {"serving": calibrator.serving, "slope": calibrator.slope, "offset": calibrator.offset},
    }

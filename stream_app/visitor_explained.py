"""Why a visitor was scored as it was, as plain values: the last score, and what the newest model makes of it. Pure."""

from __future__ import annotations

import math
from typing import Any, Final
from zlib import crc32

import numpy as np

from stream_app.core.features import FEATURE_NAMES, unpack
from stream_app.core.model import INPUT_NAMES
from stream_app.core.outcomes import pairs
from stream_app.core.priors import PRIOR_NAMES
from stream_app.core.reason_catalogue import REASONS, Reason
from stream_app.core.reason_words import facts, sentence
from stream_app.core.reasons import Explanation
from stream_app.core.records import Keys
from stream_app.core.serving import ServingModel
from stream_app.core.state import LastScore, Session, Taught, Visitor

#: Inputs that are known by names alone.
_NAMED: Final = frozenset(PRIOR_NAMES)


def explained(visitor: Visitor, last: LastScore, model: ServingModel) -> dict[str, Any]:
    """The visitor's last score, and what the model, which must be warm, makes of what was known then.

    `reasons` are all of them, the strongest first: `contribution` is to the logit, `odds_factor` is e to its power, and
    `inputs`, where contributions are exact, are those of which it is the sum. `left_over` is what they and the logit of
    the usual lack of the score's: nothing where they are exact. `names_known` is false when the names behind the
    score (item, source, …) have gone with their session: what the model has learned of them is then left out.
    """
    keys = keys_behind(visitor, last)
    names = keys if keys is not None else Keys()
    row = unpack(last.x)
    x = np.array([row])
    found = model.explain(x, [names])
    contributions = found.reasons[0].tolist()
    known = facts(dict(zip(FEATURE_NAMES, row, strict=True)), names)
    reasons = [
        {
            "id": reason.id,
            "title": reason.title,
            "contribution": contribution,
            "odds_factor": math.exp(contribution),
            "words": _words(reason, known[reason.id], contribution, names_known=keys is not None),
            "inputs": _by_input(found, reason.inputs),
        }
        for reason, contribution in zip(REASONS, contributions, strict=True)
    ]
    reasons.sort(key=lambda reason: -abs(reason["contribution"]))
    logit = float(found.logits[0])
    return {
        "served": {
            "score": last.score,
            "band": last.band,
            "event_id": last.event_id,
            "event_time": last.event_time,
            "model_version": last.model_version,
            "cold": last.cold,
        },
        "model": {"name": model.name, "version": model.version, "updates": model.updates},
        "learned_since": last.model_version != model.version,
        "score_now": float(model.score_many(x, [names])[0]),
        "base_rate": model.base_rate,
        "usual": {"score": 1.0 / (1.0 + math.exp(-found.base)), "logit": found.base},
        "logit": logit,
        "exact": found.exact,
        "names_known": keys is not None,
        "reasons": reasons,
        "left_over": logit - found.base - sum(contributions),
    }


def keys_behind(visitor: Visitor, last: LastScore) -> Keys | None:
    """The names behind the visitor's last score; None if they have gone with their session.

    The last score's event is the newest of its session, so that what the session knows now was known then.
    """
    for session in visitor.sessions:
        if crc32(session.session_id.encode()) == last.session:
            return _keys(last, session, session.source)
    # A session that has ended is remembered for as long as its outcome may be corrected.
    for taught in reversed(visitor.taught):
        if crc32(taught.session_id.encode()) == last.session and _knows_all(taught, last):
            return _keys(last, taught, taught.origin)
    return None


def _knows_all(taught: Taught, last: LastScore) -> bool:
    """Whether it has all names known at the last score: one that a label told may end before."""
    counted = dict(zip(FEATURE_NAMES, unpack(last.x), strict=True))
    named = {"items": taught.items, "categories": taught.categories, "brands": taught.brands}
    return all(round(math.expm1(counted[name])) == len(names) for name, names in named.items())


def _keys(last: LastScore, known: Session | Taught, source: str | None) -> Keys:
    items, categories, brands = list(known.items), list(known.categories), list(known.brands)
    return Keys(
        items[last.item] if last.item >= 0 else None,
        categories[last.category] if last.category >= 0 else None,
        brands[last.brand] if last.brand >= 0 else None,
        source,
        known.country,
        last.step,
        items,
        categories,
        brands,
        last.transition,
        pairs(known.transitions),
    )


def _words(reason: Reason, fact: str, contribution: float, *, names_known: bool) -> str:
    if not names_known and _NAMED.issuperset(reason.inputs):
        return "not known any more"
    return sentence(reason, fact, contribution)


def _by_input(found: Explanation, names: tuple[str, ...]) -> dict[str, float]:
    if found.inputs is None:
        return {}
    return {name: float(found.inputs[0, INPUT_NAMES.index(name)]) for name in names}

"""JSON Schema of the policy file, for editors and for whoever writes policies by program.

It knows keys, types, bounds and the names of numbers and texts; what keys say about each other only
`policy_file.read_policy` checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stream_app.discounts.core.criteria import FORMS
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.situation import NUMBERS, TEXTS

#: What a key says, by the type of its table.
KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "Policy": {
        "format": "version of the file's format",
        "enabled": "false: no offers, at once",
        "experiment": "who is held out",
        "eligible": "conditions on a session",
        "score": "which scores are on the fence",
        "moments": "which moments count, how early and how late",
        "levels": "which percents, and who is offered which",
        "money": "what an order brings",
        "offer": "how long offers hold, and when a visitor is looked at again",
        "budget": "what offers may cost",
        "stock": "what a category's stock changes",
    },
    "Experiment": {
        "id": "its name; another one begins all figures anew",
        "salt": "so that nobody can tell who is held out",
        "holdout": "share of visitors who are never offered anything",
        "planned": "visitors exposed by the end, as expected",
    },
    "Score": {
        "fence_min": "lowest score on the fence",
        "fence_max": "scores on the fence lie below it",
        "suppress_from": "from here on they buy without being asked",
    },
    "Moments": {
        "kinds": "of these moments",
        "clock": "what the bounds are measured on",
        "earliest": "seconds, or learned: before it most who buy do so without being asked",
        "latest": "seconds, or learned: after it hardly anybody is there to read it",
        "until_learned": "what happens while too little was seen",
    },
    "Row": {"below": "for scores below it", "percent": "percent off; 0 is no offer"},
    "Levels": {
        "percents": "percents off that may be offered, rising",
        "rule": "how one of them is chosen",
        "fixed": "the percent of the rule `fixed`",
        "by_score": "the rows of the rule `by_score`, rising",
        "explore": "share of a bandit's choices that is spread evenly, for good",
        "context": "a bandit learns separately for each combination of these",
    },
    "Worth": {
        "currency": "of all money here: three capital letters",
        "margin": "share of the list price that is profit",
        "margin_by_category": "where it is another one",
        "order_value": "taken for an order while the cart is empty",
    },
    "OfferTerms": {"valid_s": "how long an offer holds", "cool_down_s": "no visitor is looked at again sooner"},
    "Budget": {
        "per_hour": "expected cost of the offers of an hour",
        "per_day": "expected cost of the offers of a day, UTC",
        "lift": "an offer is taken to multiply the odds of a purchase by this",
    },
    "StockRule": {
        "offers": "whether there are any",
        "percents": "instead of the usual ones",
        "fixed": "what the rule `fixed` offers then",
    },
    "Stock": {
        "categories": "a level's name, or the number of pieces; others are normal",
        "low_below": "pieces below which stock is low",
        "overstock_from": "pieces from which there is too much",
        "low": "of categories with little",
        "normal": "of all others",
        "overstock": "of categories with too much",
    },
    "Criterion": {
        "all": "every one of these holds",
        "any": "one of these is enough",
        "none": "not a single one of these holds",
        "number": "a number of the session",
        "min": "it is at least this",
        "max": "it is at most this",
        "text": "a text of the session",
        "in": "it is one of these",
        "not_in": "it is known, and none of these",
    },
}


def policy_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a policy file, whole: each key with what it says."""
    made = msgspec.json.schema(Policy)
    tables: dict[str, Any] = made["$defs"]
    for name, table in tables.items():
        for key, given in table["properties"].items():
            table["properties"][key] = {"description": KEYS[name][key], **_without_null(given)}
    criterion = tables["Criterion"]
    # What a type cannot say: a node is one form and not two, and these are the names there are.
    criterion["oneOf"] = [{"required": [form]} for form in FORMS]
    for form, known in (("number", NUMBERS), ("text", TEXTS)):
        criterion["properties"][form] = {"description": KEYS["Criterion"][form], "enum": [*known]}
    root = tables.pop("Policy")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:stream-app:discount-policy"}
    return {**head, **root, "$defs": tables}


def _without_null(given: dict[str, Any]) -> dict[str, Any]:
    """TOML has none: what may be left out has no default that could be written, and no alternative."""
    told = {keyword: value for keyword, value in given.items() if value is not None}
    kinds = [each for each in told.pop("anyOf", []) if each != {"type": "null"}]
    return {**told, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})}

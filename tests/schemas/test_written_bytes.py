"""What the engines write is what the schemas say: all of it, nothing beside it, byte for byte as it goes to Kafka."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from producers.sink import dead_letter_headers
from stream_app import topics
from stream_app.core.codec import Rejected
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.native import native
from stream_app.discounts.core.records import encode
from stream_app.schemas.catalogue import RECORDS
from stream_app.schemas.headers import DeadLetterHeaders
from stream_app.schemas.json_schema import Schema, record_schema
from tests.discounts.core.exposures import outcome
from tests.native.built import needs_native
from tests.schemas.offered import offered
from tests.schemas.shop_run import Engine, ShopRun

#: Sessions are the rarest: every fifth event ends one.
EVENTS = 20_000
#: Of each kind, at least.
WANTED = 4_000
#: Nobody in the shop tells these, or nothing in it leads to them.
NEVER = {
    topics.EXAMPLES: {"touched.parted"},
    topics.LABELS: {"discount_percent"},
    topics.EVENTS: {"page_url", "referrer", "search_term", "currency"},
    topics.EXPOSURES: {"budget", "booking"},
}
KINDS = (topics.SCORES, topics.FEATURES, topics.EXAMPLES, topics.CLOSED, topics.MOMENTS)


@cache
def shop_run(engine: Engine) -> ShopRun:
    return ShopRun(engine, events=EVENTS)


def reference() -> ShopRun:
    """By the compiled engine where there is one: it is quicker, and the other is compared with it."""
    return shop_run("python" if native is None else "compiled")


def spread(values: list[bytes]) -> list[bytes]:
    """As many as are wanted, and up to twice that, from the whole run."""
    assert len(values) >= WANTED
    return values[:: len(values) // WANTED]


def schema_of(topic: str) -> Schema:
    (kind,) = [record.value for record in RECORDS if record.topic == topic]
    assert kind is not None
    return record_schema(kind, name=topic)


def closed(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: closed(value) for key, value in schema.items()}
    return {**told, "additionalProperties": False} if "properties" in told else told


def complaints(schema: Schema, values: Iterable[bytes]) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(closed(schema))
    return [f"{error}: {value!r}" for value in values for error in validator.iter_errors(json.loads(value))]


def paths(value: Any, before: str = "") -> Iterator[str]:
    """Every field in a value, with the objects around it; what is in a list counts as in the list."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield f"{before}{name}"
        yield from paths(inner, f"{before}{name}.")


def fields(schema: Schema, types: dict[str, Schema], before: str = "") -> Iterator[str]:
    """The same of a schema."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{before}{name}"
        for each in (inner, *inner.get("anyOf", ())):
            referred = types[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
            yield from fields(referred, types, f"{before}{name}.")


@pytest.mark.parametrize("topic", KINDS)
def test_every_record_of_a_run_is_valid_and_every_field_occurs(topic: str) -> None:
    values = spread(reference().written[topic])
    schema = schema_of(topic)
    assert complaints(schema, values)[:3] == []
    seen = {path for value in values for path in paths(json.loads(value))}
    assert seen | NEVER.get(topic, set()) == set(fields(schema, schema.get("$defs", {})))


@needs_native
@pytest.mark.parametrize("topic", KINDS)
def test_the_other_engine_writes_the_same_bytes(topic: str) -> None:
    # Of one batch's ended sessions and moments only the order may differ.
    assert Counter(shop_run("compiled").written[topic]) == Counter(shop_run("python").written[topic])


@pytest.mark.parametrize("topic", [topics.EVENTS, topics.LABELS])
def test_what_is_accepted_is_valid_and_every_field_is_known_to_occur_or_not(topic: str) -> None:
    told = reference().accepted[topic]
    values = spread(told) if topic == topics.EVENTS else told
    assert len(values) >= 40
    schema = schema_of(topic)
    assert complaints(schema, values)[:3] == []
    seen = {path for value in values for path in paths(json.loads(value))}
    assert seen | NEVER[topic] == set(schema["properties"])


def test_what_is_refused_for_its_shape_is_not_valid() -> None:
    validator = jsonschema_rs.Draft202012Validator(schema_of(topics.EVENTS))
    shaped = [value for value, reason in reference().refused if reason in ("missing_field", "wrong_type")]
    assert len(shaped) >= 15
    assert [value for value in shaped if validator.is_valid(json.loads(value))] == []


def test_every_offer_and_exposure_is_valid_and_every_field_occurs() -> None:
    offers, exposures = offered(reference().written[topics.MOMENTS])
    for topic, values, wanted in ((topics.OFFERS, offers, WANTED // 2), (topics.EXPOSURES, exposures, WANTED)):
        assert len(values) >= wanted
        schema = schema_of(topic)
        assert complaints(schema, values)[:3] == []
        seen = {path for value in values for path in paths(json.loads(value))}
        assert seen | NEVER.get(topic, set()) == set(schema["properties"])


def test_an_outcome_is_valid_with_its_exposure_within() -> None:
    told = encode(outcome(profit=-1.5, revenue=80.0, orders=1, item_id="i1"))
    schema = schema_of(topics.OUTCOMES)
    assert complaints(schema, [told]) == []
    assert set(json.loads(told)) == set(schema["properties"])
    assert complaints(schema, [told.replace(b'"propensity"', b'"chance"')]) != []


@pytest.mark.parametrize("topic", [topics.FEATURES, topics.EXAMPLES, topics.MOMENTS])
def test_all_features_are_told_each_time(topic: str) -> None:
    # The schema does not ask for them, since a new one is not in older records.
    names = list(FEATURE_NAMES)
    assert [value for value in reference().written[topic] if list(json.loads(value)["features"]) != names] == []


def test_the_headers_of_dead_letters_are_valid_whoever_wrote_them() -> None:
    validator = jsonschema_rs.Draft202012Validator(closed(record_schema(DeadLetterHeaders, name="headers")))
    worker = reference().headers
    assert len(worker) >= 40
    sender = {
        name: text.decode()
        for name, text in dead_letter_headers(Rejected("bad_row", "got ü, expected"), source="a.csv", row=7)
    }
    assert [headers for headers in [*worker, sender] if not validator.is_valid(headers)] == []
    assert {*worker[0], *sender, "cut_from_bytes"} == set(DeadLetterHeaders.__struct_fields__)


def test_a_record_with_one_field_too_few_too_many_or_of_another_type_is_not_valid() -> None:
    value = json.loads(reference().written[topics.SCORES][-1])
    schema = schema_of(topics.SCORES)
    spoilt = [
        {name: inner for name, inner in value.items() if name != "score"},
        {**value, "scores": 1},
        {**value, "score": "0.5"},
        {**value, "score": 1.5},
        {**value, "reasons": [["cart"]]},
    ]
    assert [each for each in spoilt if not complaints(schema, [json.dumps(each).encode()])] == []

"""The files in docs/schemas and docs/records.md: up to date, complete, and by the rules of who reads such files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from stream_app import cli, topics
from stream_app.core.features import FEATURES
from stream_app.schemas.asyncapi import INTERNAL
from stream_app.schemas.catalogue import RECORDS
from stream_app.schemas.documents import ASYNCAPI, documents
from stream_app.schemas.fields import FIELDS, described
from stream_app.schemas.json_schema import definitions
from stream_app.schemas.page import page
from stream_app.topics import TOPICS
from tests.support.fixtures import skip_or_fail
from tests.support.npm import ASYNCAPI_SPECS, installed
from tests.support.servers import UnavailableError

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = sorted(name for name in documents() if name != ASYNCAPI)
TYPES = {
    name: schema
    for record in RECORDS
    for kind in (record.value, record.headers)
    if kind is not None
    for name, schema in definitions(kind, prefix="#").items()
}


@pytest.mark.parametrize("name", documents())
def test_the_files_are_those_made_from_the_types(name: str) -> None:
    kept = DOCS / "schemas" / name
    made = documents()[name]
    assert kept.exists(), "run: stream-app schemas --out docs/schemas"
    assert kept.read_text() == made, "run: stream-app schemas --out docs/schemas"


def test_no_file_is_left_of_a_record_that_is_gone() -> None:
    assert {path.name for path in (DOCS / "schemas").glob("*.json")} == set(documents())


def test_the_page_is_the_one_made_from_the_types() -> None:
    made = page()
    assert (DOCS / "records.md").read_text() == made, "run: python -m stream_app.schemas.page > docs/records.md"


def test_the_command_writes_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["schemas", "--out", str(tmp_path / "new" / "schemas")])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text() for path in (tmp_path / "new" / "schemas").iterdir()} == documents()
    (tmp_path / "file").touch()
    done = CliRunner().invoke(cli.main, ["schemas", "--out", str(tmp_path / "file" / "schemas")])
    assert done.exit_code == 1
    assert "expected a directory that can be written to" in done.output


def test_every_field_is_told_and_every_line_of_the_table_is_of_a_field() -> None:
    told = {(name, field) for name, schema in TYPES.items() for field in schema["properties"]}
    assert [f"{name}.{field}" for name, field in sorted(told) if described(name, field) is None] == []
    used = {f"{name}.{field}" if f"{name}.{field}" in FIELDS else field for name, field in told}
    assert set(FIELDS) - used == set()


def test_every_topic_is_public_or_said_to_be_internal() -> None:
    public = {record.topic for record in RECORDS}
    assert public | INTERNAL.keys() == {spec.name for spec in TOPICS}
    assert not public & INTERNAL.keys()


def test_the_features_are_all_in_the_schema_with_their_units() -> None:
    found = TYPES["FeatureRecord"]["properties"]["features"]["properties"]
    assert [(name, each["x-unit"], each["description"]) for name, each in found.items()] == [*FEATURES]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_by_its_metaschema_and_explains_every_field(name: str) -> None:
    schema = json.loads(documents()[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    for inner in (schema, *schema.get("$defs", {}).values()):
        assert inner["description"]
        assert [field for field, each in inner["properties"].items() if not each.get("description")] == []


# ---- AsyncAPI --------------------------------------------------------------------------------------------------------


@cache
def asyncapi_rules() -> jsonschema.Draft7Validator:
    try:
        packages = installed(ASYNCAPI_SPECS)
    except UnavailableError as reason:
        skip_or_fail(reason)
    text = (packages / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json").read_text()
    return jsonschema.Draft7Validator(json.loads(text))


def asyncapi() -> dict[str, Any]:
    document = json.loads(documents()[ASYNCAPI])
    assert isinstance(document, dict)
    return document


def references(value: Any) -> Iterator[str]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "$ref":
            yield inner
        else:
            yield from references(inner)


def test_the_asyncapi_document_is_one_by_its_published_schema() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert [f"{error.json_path}: {error.message[:300]}" for error in asyncapi_rules().iter_errors(document)] == []


@pytest.mark.parametrize(
    ("place", "keyword", "value"),
    [
        (("info",), "title", None),
        (("channels", topics.SCORES), "address", 7),
        (("channels", topics.SCORES, "bindings", "kafka"), "partitions", "many"),
        (("operations", f"send-{topics.SCORES}"), "action", "publish"),
        (("operations", f"send-{topics.SCORES}"), "channel", "intent.scores.v1"),
        (("components", "schemas", "ScoreRecord"), "type", "record"),
        (("components", "messages", topics.SCORES), "contents", "application/json"),
    ],
)
def test_a_document_with_a_mistake_is_not(place: tuple[str, ...], keyword: str, value: Any) -> None:
    document = copy.deepcopy(asyncapi())
    part = document
    for name in place:
        part = part[name]
    if value is None:
        del part[keyword]
    else:
        part[keyword] = value
    assert not asyncapi_rules().is_valid(document)


def test_every_reference_in_it_leads_somewhere() -> None:
    document = asyncapi()
    found = set(references(document))
    assert len(found) > 3 * len(TOPICS)
    for reference in found:
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_its_topics_are_ours_with_their_retention() -> None:
    document = asyncapi()
    kept = {
        name: channel["bindings"]["kafka"]["topicConfiguration"].get("retention.ms")
        for name, channel in document["channels"].items()
    }
    assert kept == {spec.name: int(c) if (c := spec.config.get("retention.ms")) else None for spec in TOPICS}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_its_schemas_are_by_draft_7_which_is_what_tools_for_it_read(name: str) -> None:
    schema = asyncapi()["components"]["schemas"][name]
    jsonschema.Draft7Validator.check_schema(schema)
    assert "prefixItems" not in json.dumps(schema)


def test_in_it_tuples_are_still_tuples() -> None:
    document = asyncapi()
    reasons = {**document["components"]["schemas"]["ScoreRecord"]["properties"]["reasons"]}
    validator = jsonschema.Draft7Validator(reasons)
    assert validator.is_valid([["cart", 1.5]])
    assert not validator.is_valid([["cart", 1.5, 2]])
    assert not validator.is_valid([[1.5, "cart"]])

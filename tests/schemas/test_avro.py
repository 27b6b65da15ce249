"""The Avro schemas of the records: ones that Avro's library takes, and in which every record of a run has its place."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner

from stream_app import cli, topics
from stream_app.core.native import native
from stream_app.discounts.core.records import encode
from stream_app.schemas.avro import AvroRecord, as_avro, avro_documents, avro_records
from stream_app.schemas.documents import documents
from tests.discounts.core.exposures import outcome
from tests.schemas.offered import offered
from tests.schemas.shop_run import ShopRun

RECORDS = {record.topic: record for record in avro_records()}
OF_A_RUN = (
    topics.SCORES,
    topics.FEATURES,
    topics.EXAMPLES,
    topics.CLOSED,
    topics.MOMENTS,
    topics.OFFERS,
    topics.EXPOSURES,
)


@cache
def run() -> dict[str, list[bytes]]:
    made = ShopRun("python" if native is None else "compiled", events=6_000)
    offers, exposures = offered(made.written[topics.MOMENTS])
    return {**made.written, **made.accepted, topics.OFFERS: offers, topics.EXPOSURES: exposures}


def there_and_back(record: AvroRecord, value: Any) -> Any:
    schema = fastavro.parse_schema(json.loads(json.dumps(record.schema)))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, as_avro(record.schema, value), strict=True)
    stream.seek(0)
    return fastavro.schemaless_reader(stream, schema, None)


def as_json(told: Any) -> Any:
    """As JSON has it: no nulls, and pairs as lists."""
    if isinstance(told, list):
        return [as_json(each) for each in told]
    if not isinstance(told, dict):
        return told
    if told.keys() in ({"id", "contribution"}, {"percent", "probability"}):
        return list(told.values())
    return {name: as_json(value) for name, value in told.items() if value is not None}


def same(told: Any, value: Any) -> bool:
    """Whether all of the JSON is there; what else is there are defaults, which JSON leaves out."""
    if isinstance(value, dict):
        return all(same(told.get(name), inner) for name, inner in value.items() if inner is not None)
    return bool(told == value)


@pytest.mark.parametrize("topic", OF_A_RUN)
def test_every_record_of_a_run_has_its_place(topic: str) -> None:
    values = [json.loads(value) for value in run()[topic][:2_000]]
    assert len(values) >= 100
    lost = [value for value in values if not same(as_json(there_and_back(RECORDS[topic], value)), value)]
    assert lost == []


@pytest.mark.parametrize("topic", [topics.EVENTS, topics.LABELS])
def test_what_shops_write_has_its_place_once_its_time_is_a_number(topic: str) -> None:
    values = [json.loads(value) for value in run()[topic][:2_000]]
    assert len(values) >= 10
    assert [value for value in values if not same(as_json(there_and_back(RECORDS[topic], value)), value)] == []


def test_an_outcome_with_its_exposure_within() -> None:
    value = json.loads(encode(outcome(profit=-1.5, revenue=80.0, orders=1, item_id="i1")))
    assert same(as_json(there_and_back(RECORDS[topics.OUTCOMES], value)), value)


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
def test_every_field_says_what_it_is_and_what_may_be_left_out_has_a_default(record: AvroRecord) -> None:
    required = set(record_json(record.topic).get("required", ()))
    assert [field["name"] for field in record.schema["fields"]] == list(record_json(record.topic)["properties"])
    for field in record.schema["fields"]:
        assert field["doc"], field
        assert ("default" in field) == (field["name"] not in required), field


def record_json(topic: str) -> dict[str, Any]:
    found = json.loads(documents()[f"{topic}.schema.json"])
    assert isinstance(found, dict)
    return found


def test_the_command_writes_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["schemas", "--avro", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == avro_documents()
    for text in avro_documents().values():
        fastavro.parse_schema(json.loads(text))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected --out DIR, or one of the commands"),
        (["--avro"], "expected --out DIR, or one of the commands"),
        (["--out", "x", "check", "y"], "got --out or --avro with check, which writes no files"),
    ],
)
def test_a_wrong_command_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(cli.main, ["schemas", *arguments])
    assert done.exit_code == 2
    assert words in done.output

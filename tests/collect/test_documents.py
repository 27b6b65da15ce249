"""What is made is up to date, and what is promised of it holds: the OpenAPI document, the snippet, the page."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from jsonschema import Draft202012Validator

from stream_app.collect.core.body import EVENTS_MAX
from stream_app.collect.core.buckets import BURST_S, NAMES_MAX
from stream_app.collect.core.clock import SKEW_MS_MIN
from stream_app.collect.delivery import ACKNOWLEDGE_S_MAX
from stream_app.collect.intake import READ_S_MAX
from stream_app.collect.openapi import document
from stream_app.collect.paths import PATHS
from stream_app.settings import Settings

_DOCS = Path(__file__).parents[2] / "docs"
_PAGE = (_DOCS / "collect.md").read_text()


def test_the_openapi_document_is_the_one_made_from_the_types() -> None:
    kept = json.loads((_DOCS / "openapi.json").read_text())
    assert kept == document(), "run: python -m stream_app.collect.openapi > docs/openapi.json"


def test_every_schema_in_it_is_one() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_snippet_has_at_most_3_kb() -> None:
    snippet = resources.files("stream_app.collect").joinpath("static", "snippet.js").read_bytes()
    assert len(snippet) <= 3_000
    assert snippet.isascii()


def test_the_page_names_every_path_and_setting() -> None:
    for path in PATHS:
        assert path in _PAGE or re.fullmatch(r"/v1/[sigap]", path), path
    for name in Settings.model_fields:
        if name.startswith("collect_") and name not in ("collect_host", "collect_port", "collect_origins"):
            assert f"`{name}`" in _PAGE, name


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    fields = Settings.model_fields
    for text in (
        f"At most {EVENTS_MAX} events",
        f"`collect_address_rate`, {fields['collect_address_rate'].default:g}",
        f"`collect_key_rate`, {fields['collect_key_rate'].default:,.0f}",
        f"`collect_waiting_bytes_max`, {fields['collect_waiting_bytes_max'].default // 2**20} MiB",
        f"| {NAMES_MAX:,} ",
        f"reading a body | {READ_S_MAX:g} s",
        f"acknowledgement | {ACKNOWLEDGE_S_MAX:g} s",
        f"more than {SKEW_MS_MIN // 1000} s off",
    ):
        assert text in _PAGE, text
    assert BURST_S == 10.0
    assert "bursts of ten seconds' worth" in _PAGE

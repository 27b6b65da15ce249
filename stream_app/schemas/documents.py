"""The files: what is written where, and their text. The same from any machine, so that a difference is a change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stream_app.discounts.core.policy_schema import policy_schema
from stream_app.schemas import asyncapi
from stream_app.schemas.catalogue import RECORDS
from stream_app.schemas.json_schema import record_schema

ASYNCAPI: Final = "asyncapi.json"
POLICY: Final = "discount-policy.schema.json"


def documents() -> dict[str, str]:
    """Every file's text by its name."""
    found = {}
    for record in RECORDS:
        if record.value is not None:
            found[f"{record.topic}.schema.json"] = as_text(record_schema(record.value, name=record.topic))
        if record.headers is not None:
            name = f"{record.topic}.headers"
            found[f"{name}.schema.json"] = as_text(record_schema(record.headers, name=name))
    return {**found, POLICY: as_text(policy_schema()), ASYNCAPI: as_text(asyncapi.document())}


def write(directory: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by name into a directory, made if it is not there; what was written.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
        written.append(directory / name)
    return written


def as_text(document: dict[str, Any]) -> str:
    """A document as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

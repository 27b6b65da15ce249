"""The figures' shape as JSON Schema: `python -m stream_app.report.schema > docs/analytics.schema.json`."""

from __future__ import annotations

import inspect
import json
from typing import Any, Final

import msgspec

from stream_app.report.figures.figures import VERSION, Figures

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def figures_schema() -> dict[str, Any]:
    """Schema 2020-12 of what `stream-app report --json` writes; each part says in its description what it is."""
    _, found = msgspec.json.schema_components([Figures], ref_template="#/$defs/{name}")
    told = {name: {**schema, "description": inspect.cleandoc(schema["description"])} for name, schema in found.items()}
    return {
        "$schema": _DIALECT,
        "$id": f"urn:stream-app:report.v{VERSION}",
        **told.pop(Figures.__name__),
        "$defs": told,
    }


def schema_text() -> str:
    """The same as the text of a file."""
    return json.dumps(figures_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")

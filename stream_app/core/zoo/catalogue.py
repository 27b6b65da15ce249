"""All models by name. Each has passed the checks of `tests/zoo`; how to add one: `docs/models.md`."""

from __future__ import annotations

from typing import Final

from stream_app.core.zoo.entry import ZooEntry
from stream_app.core.zoo.linear import LINEAR
from stream_app.core.zoo.trees import TREES

ZOO: Final[dict[str, ZooEntry]] = {entry.name: entry for entry in (*LINEAR, *TREES)}

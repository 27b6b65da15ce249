"""The results file: one section for each kind of run, each with the machine and the time it was measured at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.rig.machine import machine
from benchmarks.rig.processes import REPOSITORY

RESULTS = REPOSITORY / "docs" / "benchmarks" / "results.json"


def keep(path: Path, section: str, found: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Put a section into the file; the others stay as they were."""
    results = load(path)
    results[section] = {"machine": machine(), "arguments": arguments, "found": found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """All sections; none where there is no file."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found

"""The page on logs has every line there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from stream_app.metrics import METRICS

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs/logs.md").read_text()
_ROWS = [row.split(" | ") for row in _PAGE.splitlines() if row.startswith("| `")]


def test_every_event_has_its_row() -> None:
    written = set()
    for path in (_ROOT / "stream_app").rglob("*.py"):
        written |= set(re.findall(r'\bLine\(\s*"([a-z_]+)"', path.read_text()))
        written |= set(re.findall(r'_failed\("([a-z_]+)"', path.read_text()))
    documented = {event for row in _ROWS for event in re.findall(r"`([a-z_]+)`", row[0])}
    assert documented == written


def test_the_metrics_beside_them_exist() -> None:
    known = {spec.name for spec in METRICS}
    named = {name for row in _ROWS for name in re.findall(r"`(intent_[a-z_]+)`", row[-1])}
    assert len(named) > 10
    assert named <= known

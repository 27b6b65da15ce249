"""A process brings along what it needs, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["stream_app.ingest.deployment", "stream_app.collect.deployment"])
def test_who_takes_events_in_loads_no_model(module: str) -> None:
    # The models' libraries are two seconds at every start, and 150 MB for as long as the process runs.
    asked = f"import sys, {module}; print(*sorted({{'pandas', 'river', 'scipy', 'sklearn'}} & set(sys.modules)))"
    done = subprocess.run((sys.executable, "-c", asked), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

"""A history that is five times as long needs no more memory: measured in a process of its own, on a generated file.

python -m tests.analytics.large_history 50000000 /tmp/large.csv      for as long a one as you like
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analytics.large_history import write

#: What the process says of itself, in kB, after the command in it has ended.
_PEAK = (
    "import resource, sys; from stream_app.cli import main;"
    "main(sys.argv[1:], standalone_mode=False);"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)

#: Open episodes vary with the traffic, and so does what the allocator keeps: 60 MB of about 270.
_SPREAD_KB = 60_000


def peak_of(events: int, directory: Path) -> int:
    history = directory / f"{events}.csv"
    write(history, events)
    options = ["--format", "rees46", "--out", str(directory / "rows.csv"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, "sessions", str(history), *options], capture_output=True, text=True, check=True
    )
    history.unlink()
    told = json.loads(done.stdout)
    assert told["events taken in"] + told["events twice"] == events
    return int(done.stderr.split()[-1])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_history(tmp_path: Path) -> None:
    short, long = peak_of(1_000_000, tmp_path), peak_of(5_000_000, tmp_path)
    print(f"peak {short // 1024} MB of 1 million events, {long // 1024} MB of 5 million")
    assert long < short + _SPREAD_KB

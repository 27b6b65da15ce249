"""Instructions of the pure core for one event: the figure that another machine, or a busy one, repeats.

    python -m benchmarks.instructions [--engine auto|compiled|python] [--json]

The same events are folded under valgrind's callgrind twice, few and many of them (`instructions_fold.py`); the
difference between both counts is what the additional events cost, without the interpreter's start. Decoding, folding,
features and the encoding of both records are in it; a model that says a constant, so that River's arithmetic is not. A
test may bound the count. Needs valgrind, and some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rig import stream
from benchmarks.rig.processes import REPOSITORY
from stream_app.core.codec import encode

#: Both are whole batches. The first has what happens once: caches that fill, code that adapts to its types.
FEW, MANY = 1_000, 3_000
#: The shop begins here, on every day: the same bytes.
_START_MS = 1_700_000_000_000
_COLLECTED = re.compile(r"Collected : (\d+)")


def counted(path: Path, count: int, engine: str) -> int:
    """Instructions of a process that folds so many."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m",
        "benchmarks.instructions_fold", str(path), str(count), engine,
    ]  # fmt: skip
    # Sets, dicts and threads shall be the same every time.
    steady = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, env={**os.environ, **steady}, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed: {done.stderr[-2000:]}")
    return int(found[1])


def per_event(engine: str = "auto", *, few: int = FEW, many: int = MANY) -> float:
    """Instructions per event. Raises SystemExit without valgrind."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed (Debian: apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events"
        events = stream.shop_events(1, start_ms=_START_MS)
        path.write_bytes(b"".join(encode(next(events)) + b"\n" for _ in range(many)))
        before, after = (counted(path, count, engine) for count in (few, many))
    return (after - before) / (many - few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("auto", "compiled", "python"), default="auto")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = per_event(given.engine)
    print(json.dumps({"engine": given.engine, "instructions_per_event": found}) if given.json else f"{found:,.0f}")


if __name__ == "__main__":
    main()

"""`python -m tests.matrix`: try every supported version that the other tests do not run on (`make matrix`).

--only "Kafka 3.9.2"     one row; may be repeated
--docs                   write the outcome into docs/supported.md
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.matrix.supported import Row, rows
from tests.matrix.table import table, write
from tests.matrix.trying import Outcome, attempt


def main() -> int:
    """The exit code: 1 if a row failed, or cannot be tried though it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="Every supported version.")
    parser.add_argument("--only", action="append", choices=list(map(str, rows())), help="a row; default all")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time; default %(default)s")
    parser.add_argument("--docs", action="store_true", help="write the outcome into docs/supported.md")
    given = parser.parse_args()
    chosen = [row for row in rows() if not given.only or str(row) in given.only]
    return _try(chosen, jobs=given.jobs, docs=given.docs)


def _try(chosen: Sequence[Row], *, jobs: int, docs: bool) -> int:
    in_ci = os.environ.get("CI", "").lower() in ("true", "1")
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda row: _said(attempt(row, in_ci=in_ci)), chosen))
    seconds = time.monotonic() - started
    print(f"\n{table(outcomes)}\n{seconds:.0f} s")
    failed = [outcome for outcome in outcomes if outcome.trouble and not outcome.skipped]
    for outcome in failed:
        print(f"--- {outcome.row} failed:\n{outcome.trouble}\n", file=sys.stderr)
    if docs:
        write(outcomes, seconds=seconds)
    return 1 if failed else 0


def _said(outcome: Outcome) -> Outcome:
    """So that whoever waits sees something."""
    came = "not tried" if outcome.skipped else "failed" if outcome.trouble else "passed"
    print(f"{outcome.row}: {came}, {outcome.seconds:.0f} s", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())

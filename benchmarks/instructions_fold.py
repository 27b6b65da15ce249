"""The child of `instructions.py`: the pure core over the first events of a file, and as little else as possible.

python -m benchmarks.instructions_fold FILE COUNT ENGINE
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from tests.core.streams import RULES, Partition, Record

BATCH = 500
#: After every event time of the file, so that none lies ahead of its record.
_RECEIVED_MS = 1_800_000_000_000


def fold(path: Path, count: int, engine: str) -> None:
    """Fold the first `count` events of the file, in batches, from the cache: no visitor is loaded twice."""
    values = path.read_bytes().splitlines()
    # Of all of them, whatever the count: it shall cost the same in both runs.
    keys = [json.loads(value)["visitor_id"].encode() for value in values]
    rules = dataclasses.replace(RULES, cache_visitors_max=len(values), engine=engine)
    partition = Partition(rules)
    processor = partition.processor
    for start in range(0, count, BATCH):
        batch = range(start, min(count, start + BATCH))
        plan = processor.plan([Record("events", n, _RECEIVED_MS, keys[n], values[n]) for n in batch], [])
        effects = processor.apply(plan, dict.fromkeys(plan.missing), partition.scorer, now_ms=_RECEIVED_MS)
        processor.committed(effects)


if __name__ == "__main__":
    fold(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

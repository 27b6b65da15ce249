"""What the reasons of a score cost with each model of the zoo, and how far approximate ones are from adding up.

    python benchmarks/reasons.py [--examples N] [--models a,b] [--json]

Models learn examples of a synthetic shop, folded by the product's own core; the last of them are explained. CPU time of
this process is counted. `left over` is what a row's reasons lack of its distance from the average, in units of the
logit, beside that distance itself, as means: 0 where contributions are exact. `docs/reasons.md` holds a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.models import BASE_RATE, shop_examples
from stream_app.core.example_decoding import TypedExample
from stream_app.core.model import IntentModel
from stream_app.core.reasons import explain, strongest
from stream_app.core.zoo.catalogue import ZOO

#: Rows of a batch: a busy worker's on the fence; fewer where each is asked many times over.
BATCH, BATCH_APPROXIMATE = 100, 20
REPEATS = 7


class Measured(NamedTuple):
    """µs per row, alone and in a batch; mean sizes on the logit's scale."""

    exact: bool
    one_us: float
    batch_us: float
    left_over: float
    distance: float


def measured(name: str, examples: list[TypedExample]) -> Measured:
    """One model."""
    model = IntentModel(name, base_rate=BASE_RATE)
    rows = examples[-500:]
    for example in examples[:-500]:
        model.learn(example)
    x = np.array([msgspec.structs.astuple(example.features) for example in rows])
    keys = [example.keys for example in rows]
    found = explain(model, x, keys)
    size = BATCH if found.exact else BATCH_APPROXIMATE
    distance = found.logits - found.base
    return Measured(
        found.exact,
        _seconds(lambda: [strongest(explain(model, x[n : n + 1], keys[n : n + 1]).reasons) for n in range(10)])
        / 10
        * 1e6,
        _seconds(lambda: strongest(explain(model, x[:size], keys[:size]).reasons)) / size * 1e6,
        float(np.mean(np.abs(distance - found.reasons.sum(axis=1)))),
        float(np.mean(np.abs(distance))),
    )


def _seconds(work: Callable[[], Any]) -> float:
    """Median CPU seconds of one call."""
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--models", default=",".join(ZOO))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    examples = shop_examples(arguments.examples)
    found = {name: measured(name, examples) for name in arguments.models.split(",")}
    if arguments.json:
        print(json.dumps({name: one._asdict() for name, one in found.items()}, indent=2))
        return
    print("| model | reasons | alone µs | in a batch µs | left over | of a distance of |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in found.items():
        kind = "exact" if one.exact else "approximate"
        numbers = f"{one.one_us:.2g} | {one.batch_us:.2g} | {one.left_over:.2f} | {one.distance:.2f}"
        print(f"| {name} | {kind} | {numbers} |")


if __name__ == "__main__":
    main()

"""What each model of the zoo costs: CPU time of predicting, learning and travelling, all models in one run.

    python benchmarks/models.py [--examples N] [--models a,b] [--json]

The examples are those of a synthetic shop, folded by the product's own core. Every model learns all of them; the times
are of the last half, when trees have grown. CPU time of this process is counted, so that others on the machine blur it
less. `docs/models.md` holds a run, and `stream_app/core/zoo` says the same numbers as each model's `Cost`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cramjam
import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from producers.synthetic.shop import Shop
from stream_app.core.events import Event
from stream_app.core.example_decoding import TypedExample
from stream_app.core.model import IntentModel
from stream_app.core.snapshots import SnapshotReader, encode_snapshot
from stream_app.core.zoo.catalogue import ZOO
from stream_app.core.zoo.entry import Cost
from tests.core.streams import T0, Partition, Record

BASE_RATE = 0.03
BATCH = 500
#: Times of one thing are taken this often; their median is told.
REPEATS = 9
SECRET = b"a benchmark's"


def shop_examples(count: int) -> list[TypedExample]:
    """The first `count` examples of a synthetic shop."""
    shop = Shop(seed=7, start_ms=T0, sessions_per_hour=2_000.0)
    events = (fact for fact in shop if isinstance(fact, Event))
    partition, offset = Partition(), 0
    while len(partition.examples) < count:
        records = []
        for event in islice(events, 1_000):
            key = event.visitor_id.encode()
            records.append(Record("events", offset, event.event_time, key, msgspec.json.encode(event)))
            offset += 1
        partition.step(records)
    return [msgspec.convert(example, TypedExample) for example in partition.examples[:count]]


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median CPU seconds of one call."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found)


def cost_of(name: str, examples: list[TypedExample]) -> tuple[Cost, float]:
    """A model's cost, and the kB of its snapshot as Kafka stores it."""
    model = IntentModel(name, base_rate=BASE_RATE)
    middle = len(examples) // 2
    for example in examples[:middle]:
        model.learn(example)
    blocks = [examples[start : start + 500] for start in range(middle, len(examples), 500)]
    learn = statistics.median(seconds(lambda b=block: [model.learn(e) for e in b], 1) / len(block) for block in blocks)
    some = examples[-BATCH:]
    x = np.array([msgspec.structs.astuple(example.features) for example in some])
    keys = [example.keys for example in some]
    batch = seconds(lambda: model.score_many(x, keys)) / BATCH
    one = seconds(lambda: [model.score_many(x[n : n + 1], keys[n : n + 1]) for n in range(BATCH)], 5) / BATCH

    def snapshot() -> tuple[bytes, bytes, bytes]:
        state = {"classifier": model.export()}
        return encode_snapshot(state, {}, {}, version=1, published_at=0, secret=SECRET)[-1]

    record = snapshot()

    def restore() -> None:
        found = SnapshotReader(secret=SECRET).read(*record)
        assert found is not None
        model.restore(found[0].state["classifier"])

    snapshot_s, restore_s = seconds(snapshot), seconds(restore)
    stored = len(bytes(cramjam.zstd.compress(record[1])))
    size = len(record[1])
    times = (one * 1e6, batch * 1e6, learn * 1e6, size / 1e3, snapshot_s * 1e3, restore_s * 1e3)
    return Cost(*(float(f"{value:.2g}") for value in times)), stored / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--models", default=",".join(ZOO))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    examples = shop_examples(arguments.examples)
    if not arguments.json:
        print("| model | predict µs | in a batch of 500 µs | learn µs | snapshot kB (stored) | ms to make | to take |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
    found = {}
    for name in arguments.models.split(","):
        cost, stored = cost_of(name, examples)
        found[name] = {**cost._asdict(), "stored_kb": round(stored, 1), "interval_ms": cost.snapshot_interval_ms}
        if not arguments.json:
            numbers = (
                f"{cost.predict_us:g} | {cost.batch_us:g} | {cost.learn_us:g} | {cost.snapshot_kb:g} ({stored:.0f})"
            )
            print(f"| {name} | {numbers} | {cost.snapshot_ms:g} | {cost.restore_ms:g} |", flush=True)
    if arguments.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

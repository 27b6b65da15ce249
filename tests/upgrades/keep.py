"""Keeps what this version stores, for later ones to be tried on: `python -m tests.upgrades.keep VERSION`.

It runs the loop on the memory twins over the first part of the tests' stream, and a learner over made-up examples, and
writes what outlives them into `kept/VERSION/`: JSON in gzip, bytes in base64. Run it once for each release, at its
commit; what is kept is never written again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Keys
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SnapshotReader
from tests.core.examples import BASE, SECRET, SnapshotTopic, examples, learner
from tests.core.streams import RULES
from tests.loop.shop import STREAM, Shop

KEPT: Final = Path(__file__).parent / "kept"
#: Segments of `STREAM` that the version has read; the others come when another one goes on.
SEGMENTS: Final = 2
GUARANTEES: Final = ("at_least_once", "exactly_once")
#: Who learns, the champion first: one that only we have, and one that is River's alone.
MODELS: Final = ("newton", "bins")
EXAMPLES: Final = 400


async def partition(guarantee: str) -> dict[str, Any]:
    """What a partition leaves in Kafka and Redis when its owner is killed in the middle of the stream."""

    class OneShop(Shop):
        exactly_once = guarantee == "exactly_once"

    # By the reference in Python: the compiled engine that is installed may be another version's.
    shop = OneShop(rules=dataclasses.replace(RULES, engine="python"))
    for segment in STREAM[:SEGMENTS]:
        shop.append(segment)
        await shop.settle()
    shop.task.cancel()
    await asyncio.gather(shop.task, return_exceptions=True)
    view, outputs = shop.view, shop.broker.outputs
    return {
        "clock": shop.clock,
        "commit": shop.broker.commits[-1],
        "changelog": [[visitor, blob and text(blob)] for visitor, blob in shop.broker.changelog],
        "positions": {number: position.decode() for number, position in view.positions.items()},
        "states": [[number, visitor, text(blob)] for (number, visitor), blob in view.blobs.items()],
        "deadlines": view.deadlines,
        "records": {topic: [json.loads(value) for _, value in found] for topic, found in outputs.items()},
    }


def model() -> dict[str, Any]:
    """The snapshots' topic of a learner, and what a scorer says that follows it."""
    taught, topic = learner(*MODELS), SnapshotTopic(*MODELS)
    for offset, example in enumerate(examples(EXAMPLES)):
        taught.fold(0, offset, example)
    topic.publish(taught)
    rows, keys = asked()
    return {
        "snapshots": [[text(key), text(value), text(sign)] for key, (value, sign) in topic.records.items()],
        "scores": scores([(key, value, sign) for key, (value, sign) in topic.records.items()], rows, keys),
        "updates": taught.updates,
        "offsets": list(taught.offsets.items()),
    }


def scores(records: list[tuple[bytes, bytes, bytes]], rows: Any, keys: list[Keys]) -> list[float]:
    """What a scorer says to rows when it has read a snapshots' topic."""
    serving, reader = ServingModel(MODELS[0], base_rate=BASE), SnapshotReader(secret=SECRET)
    for record in records:
        if (found := reader.read(*record)) is not None:
            serving.take(found.head, found.entries)
    told: list[float] = serving.score_many(rows, keys).tolist()
    return told


def asked() -> tuple[Any, list[Keys]]:
    """Rows of features, shape (20, len(FEATURE_NAMES)), and their keys."""
    rows = np.round(np.random.default_rng(3).normal(0.0, 1.0, (20, len(FEATURE_NAMES))), 4)
    return rows, [Keys(item=f"i{n % 7}", items=[f"i{n % 7}"]) for n in range(20)]


def text(data: bytes) -> str:
    """Bytes in JSON."""
    return b64encode(data).decode()


def main() -> None:
    """Write a version's files."""
    (version,) = sys.argv[1:]
    directory = KEPT / version
    directory.mkdir(parents=True)
    found = {guarantee: asyncio.run(partition(guarantee)) for guarantee in GUARANTEES}
    for name, content in {**found, "model": model()}.items():
        (directory / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    print(f"kept in {directory}")


if __name__ == "__main__":
    main()

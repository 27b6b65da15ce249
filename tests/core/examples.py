"""Examples as the trainer reads them, and the topic that its snapshots travel on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.learner import Learner
from stream_app.core.model import PurchasePriors, Rows, input_rows
from stream_app.core.records import Example, Keys, Touched
from stream_app.core.snapshots import HEAD_KEY, Signed, SnapshotReader, encode_snapshot
from tests.core.streams import T0

SECRET = b"a secret"
BASE = 0.03


def example(
    offset: int = 0, *, label: int = 0, time: int = T0, label_time: int | None = None, **fields: Any
) -> TypedExample:
    """One example by hand. Its position is its offset unless given; it closes its episode."""
    values: dict[str, Any] = {
        "event_id": f"e{offset}",
        "visitor_id": "v",
        "session_id": "s",
        "event_time": time,
        "event_type": "view_item",
        "events": 3,
        "features": FeatureValues(*[0.5 * (n % 3) + label for n in range(len(FEATURE_NAMES))]),
        "keys": Keys(item="i1", category="c1", items=["i1"], categories=["c1"]),
        "score": 0.1,
        "model_version": 1,
        "cold": False,
        "label": label,
        "weight": 1.0,
        "label_source": "purchase" if label else "session_end",
        "label_time": time if label_time is None else label_time,
        "position": (1, offset, 0),
        "touched": Touched(["i1"], ["c1"], [], [3]),
    }
    return TypedExample(**{**values, **fields})


def examples(count: int, *, seed: int = 5) -> list[TypedExample]:
    """A learnable stream through JSON, as from the topic: some labels late, some examples within an episode."""
    random = np.random.default_rng(seed)
    found = []
    for n in range(count):
        label = int(random.random() < 0.2)
        row = np.round(random.normal(label, 1.0, len(FEATURE_NAMES)), 4)
        item = f"i{random.integers(20)}"
        time = T0 + 60_000 * n
        made = example(
            n,
            label=label,
            time=time,
            label_time=time + (60_000 if label else 1_800_000),
            events=int(random.integers(1, 6)),
            features=FeatureValues(*row.tolist()),
            keys=Keys(item=item, category=f"c{n % 4}", items=[item], categories=[f"c{n % 4}"], step=n % 9),
            score=float(np.round(random.uniform(0.01, 0.9), 6)),
            cold=n < 20,
            weight=float(random.integers(1, 4)),
            touched=Touched([item], [f"c{n % 4}"], ["b"], [n % 9], "ads", None) if random.random() < 0.7 else None,
        )
        found.append(msgspec.json.decode(msgspec.json.encode(made), type=TypedExample))
    return found


def learner(*models: str, **options: int) -> Learner:
    """One that has learned nothing; the first model serves, newton if none is named."""
    return Learner(models or ["newton"], base_rate=BASE, **options)


class SnapshotTopic:
    """A compacted topic: the last record of each key, in the order in which they were written."""

    def __init__(self, *models: str, **options: int) -> None:
        self.models, self.options = models, options
        self.records: dict[bytes, tuple[bytes, bytes]] = {}

    def publish(self, learner: Learner) -> list[Signed]:
        """As the trainer does."""
        learner.version += 1
        challengers = learner.export_challengers()
        written = encode_snapshot(
            learner.export(),
            learner.priors.table.take_changes(),
            challengers,
            version=learner.version,
            published_at=T0,
            secret=SECRET,
        )
        for key, value, signature in written:
            self.records.pop(key, None)
            self.records[key] = (value, signature)
        return written

    def restored(self, *models: str) -> Learner:
        """As a trainer that starts, with other models if any are named."""
        fresh = learner(*(models or self.models), **self.options)
        reader = SnapshotReader(secret=SECRET, learning=True)
        for key, (value, signature) in self.records.items():
            found = reader.read(key, value, signature)
            if found is not None:
                fresh.restore(found.head.state, found.challengers)
                fresh.priors.table.put_changes(found.entries)
        return fresh


def everything(learner: Learner) -> tuple[bytes, dict[str, Any]]:
    """All of a learner's state, to the bit: its head as it travels, and the priors' entries."""
    challengers = learner.export_challengers()
    written = encode_snapshot(learner.export(), {}, challengers, version=0, published_at=0, secret=SECRET)
    assert written[-1][0] == HEAD_KEY
    return b"".join(value for _, value, _ in written), learner.priors.table.entries()


def as_json(example: Example) -> dict[str, Any]:
    """As it lies on the topic."""
    found = json.loads(msgspec.json.encode(example))
    assert isinstance(found, dict)
    return found


def rows_of(priors: PurchasePriors, found: Sequence[Example]) -> Rows:
    """Inputs of examples, as the learner makes them."""
    return input_rows(priors, found)

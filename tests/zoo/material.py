"""What the models of the zoo are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.features import FEATURE_NAMES, FIXED_POINT, FeatureValues
from stream_app.core.model import IntentModel
from stream_app.core.prior_tables import clock_of
from stream_app.core.records import Example, Keys, Touched
from stream_app.core.snapshots import SnapshotReader, encode_snapshot
from stream_app.core.zoo.catalogue import ZOO
from tests.core.streams import T0

BASE = 0.03
NAMES = sorted(ZOO)
SECRET = b"a secret"


def inputs(rows: int, seed: int = 1) -> tuple[npt.NDArray[np.float64], list[Keys]]:
    """Feature rows (multiples of 1e-4, a third of them zero, one constant) and their keys."""
    random = np.random.default_rng(seed)
    x = np.rint(random.normal(1, 2, (rows, len(FEATURE_NAMES))) * FIXED_POINT) / FIXED_POINT
    x *= random.random(x.shape) > 0.33
    x[:, -1] = 1.0
    keys = [
        Keys(
            f"i{item}", f"c{item % 5}", f"b{item % 3}", "ads", "DE", int(item % 7), [f"i{item}", "i0"], [f"c{item % 5}"]
        )
        for item in random.integers(0, 40, rows).tolist()
    ]
    return x, keys


def examples(count: int, seed: int = 1) -> list[Example]:
    """Outcomes that follow the first feature; every third closes an episode."""
    x, keys = inputs(count, seed)
    random = np.random.default_rng(seed + 1000)
    labels = random.random(count) < 1 / (1 + np.exp(2.0 - x[:, 0]))
    found = []
    for n, (row, key, label) in enumerate(zip(x.tolist(), keys, labels.tolist(), strict=True)):
        touched = Touched([str(key.item)], [str(key.category)], [str(key.brand)], [key.step], "ads", "DE")
        found.append(
            Example(
                f"e{n}", "v", "s", T0 + n, "view_item", 1, FeatureValues(*row), key, 0.1, 1, False, int(label), 1.0,
                "session_end", T0 + n, (1, n, 0), touched if n % 3 == 0 else None,
            )
        )  # fmt: skip
    return found


def trained(name: str, count: int = 300) -> IntentModel:
    model = IntentModel(name, base_rate=BASE)
    for example in examples(count):
        model.learn(example)
    return model


def travelled(state: dict[str, Any]) -> dict[str, Any]:
    """A classifier's state as it comes out of Kafka."""
    (record,) = encode_snapshot({"classifier": state}, {}, {}, version=1, published_at=0, secret=SECRET)
    found = SnapshotReader(secret=SECRET).read(*record)
    assert found is not None
    state = found[0].state["classifier"]
    assert isinstance(state, dict)
    return state


def restored(model: IntentModel) -> IntentModel:
    """What a scorer or a restarted trainer builds from a snapshot."""
    copy = IntentModel(model.name, base_rate=BASE)
    copy.restore(travelled(model.export()))
    table, original = copy.priors.table, model.priors.table
    entries = original.entries()
    table.put_changes(((kind, key), counts) for kind, some in entries.items() for key, counts in some.items())
    table.set_clock(**clock_of(original)._asdict())
    return copy


def to_the_bit(model: IntentModel) -> bytes:
    """A classifier's state as it travels."""
    ((_, value, _),) = encode_snapshot(model.export(), {}, {}, version=1, published_at=0, secret=SECRET)
    return value


def spoil(part: Any, value: float) -> Iterator[None]:
    """Put the value in place of each float in a state, one after the other, each put back before the next."""
    places = enumerate(part) if isinstance(part, list) else part.items() if isinstance(part, dict) else ()
    for place, found in list(places):
        if isinstance(found, np.ndarray) and found.size:
            kept, found.flat[-1] = found.flat[-1], value
            yield
            found.flat[-1] = kept
        elif isinstance(found, float):
            part[place] = value
            yield
            part[place] = found
        else:
            yield from spoil(found, value)


def with_features(example: Example, value: float) -> Example:
    """The same example with all features of one value, and no part in the priors."""
    return msgspec.structs.replace(example, features=FeatureValues(*[value] * len(FEATURE_NAMES)), touched=None)

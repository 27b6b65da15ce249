"""The trainer's way back: a model that learning has broken is never published, and goes on from its last snapshot."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.model import NonFiniteError
from tests.core.examples import SnapshotTopic, everything, examples, learner
from tests.zoo.material import NAMES

#: Finite, as every guard before the model asks for; no feature of ours is larger than 200,000.
HUGE: Any = FeatureValues(*[1e200 if n % 2 else -1e200 for n in range(len(FEATURE_NAMES))])

#: Its parts cannot overflow: it asks which side of 0 an input lies on, and counts.
UNBREAKABLE = {"naive_bayes"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNBREAKABLE])
def test_examples_that_break_a_model_are_left_out_and_all_others_are_learned(name: str) -> None:
    stream = examples(120)
    broken = [
        msgspec.structs.replace(example, features=HUGE, label=n % 2, touched=None)
        for n, example in enumerate(stream[60:64])
    ]
    stream[60:64] = broken
    topic, one = SnapshotTopic(name), learner(name)
    for offset, example in enumerate(stream[:60]):
        one.fold(0, offset, example)
    topic.publish(one)
    with np.errstate(all="ignore"):
        for offset, example in enumerate(broken, 60):
            one.fold(0, offset, example)
    with pytest.raises(NonFiniteError, match=f"model {name}: "):
        one.export()
    # As `trainer.py` does: the offsets up to here are not learned a second time.
    poisoned, again = dict(one.offsets), topic.restored()
    again.poisoned = poisoned
    for offset in range(again.offsets[0], len(stream)):
        again.fold(0, offset, stream[offset])
    # A learner that never met them, but for having seen that they were there.
    never = learner(name)
    for offset, example in enumerate(stream):
        never.poisoned = {0: 64} if 60 <= offset < 64 else {}
        never.fold(0, offset, example)
    again.version = 0
    assert everything(again) == everything(never)
    assert again.updates == 116 - len(again.held)

"""The trainer's fold: examples in, a model that has learned each of them exactly once.

    state' = fold(state, example)       the same examples in the same order give the same model

For each example: recognise a repetition, observe (the served score against the label, before learning), then learn. The
fold's state contains the position it has reached in every input partition, so that model and positions travel in one
snapshot and a restart repeats and skips nothing.

A cold start is lopsided: a checkout is told at once, a session without one only when its gap has passed, so the first
half hour would be all positives. Until the model is warm, positives therefore wait until negatives of the same age have
come, and the base rate is served (DESIGN §7, recipe 2). `hold_ms` sets a common age for good.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

import msgspec

from stream_app.core.events import EVENT_TIME_MS_MIN
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.model import IntentModel, NonFiniteError
from stream_app.core.prequential import Prequential
from stream_app.core.priors import HALF_LIFE_MS
from stream_app.core.records import Example

#: Episodes that must have been learned before the model is believed: with fewer than twenty positives the sixty weights
#: are mostly noise, and two hundred negatives are what a base rate of a few percent brings along anyway.
WARM_POSITIVES_MIN: Final = 20
WARM_NEGATIVES_MIN: Final = 200

#: Positives that may wait at once: an hour of a large shop's cold start. The oldest is learned when one more comes.
HELD_MAX: Final = 5_000


#: From the first outcome to the last: 2^(span / half-life) of the priors' forward decay must stay a finite number, also
#: when millions of them are added up. 38 years; 39 would be too long.
LEARNING_SPAN_MS_MAX: Final = 980 * HALF_LIFE_MS


class TypedExample(Example, gc=False):
    """An example as the trainer reads it, with its features typed."""

    features: FeatureValues  # type: ignore[valid-type]


class UnreadableExampleError(ValueError):
    """A record of the examples topic is no example: it is left out."""


_DECODER: Final = msgspec.json.Decoder(TypedExample)


def decode_example(value: bytes | None) -> TypedExample:
    """The example in a record; UnreadableExampleError if there is none."""
    try:
        return _DECODER.decode(value or b"")
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableExampleError(str(error)) from None


class Learner:
    """The fold. `hold_ms` is the common age at which positives are learned once warm; 0 learns them at once."""

    def __init__(self, model: IntentModel, *, hold_ms: int = 0) -> None:
        self.model = model
        self.hold_ms = hold_ms
        self.prequential = Prequential()
        self.updates = 0
        self.version = 0
        #: episodes learned
        self.positives = self.negatives = 0
        self.repeated = 0
        #: newest event time of a learned negative: positives up to here are no head start
        self.frontier = -1
        #: newest label time
        self.clock = -1
        self.held: deque[Example] = deque()
        #: partition → next offset to read
        self.offsets: dict[int, int] = {}
        #: (partition, kind) → last position learned, see `records.Example`
        self.positions: dict[tuple[int, int], tuple[int, int]] = {}
        #: partition → offset below which examples are not learned: they made the model non-finite once
        self.poisoned: dict[int, int] = {}

    @property
    def cold(self) -> bool:
        """Whether the base rate should be served instead of the model's word."""
        return self.positives < WARM_POSITIVES_MIN or self.negatives < WARM_NEGATIVES_MIN

    @property
    def base_rate(self) -> float:
        """Share of episodes that end in a checkout, as far as known."""
        return self.model.priors.table.base_rate

    def fold(self, partition: int, offset: int, example: Example) -> bool:
        """Take one example from the log; False if it is a repetition.

        Raises
        ------
        NonFiniteError
            If the example is not finite or has an impossible time: it leaves nothing behind but its offset.
        """
        self.offsets[partition] = offset + 1
        check_finite(example)
        self._check_time(example)
        kind, trigger, n = example.position
        place = (partition, kind)
        if (trigger, n) <= self.positions.get(place, (-1, -1)):
            self.repeated += 1
            return False
        self.positions[place] = (trigger, n)
        self.clock = max(self.clock, example.label_time)
        self.prequential.observe(
            example.score, example.label, weight=example.weight, events=example.events, cold=example.cold
        )
        if offset < self.poisoned.get(partition, 0):
            return True
        if example.label and self._must_wait(example):
            self.held.append(example)
            if len(self.held) > HELD_MAX:
                self._learn(self.held.popleft())
            return True
        self._learn(example)
        if not example.label:
            self.frontier = max(self.frontier, example.event_time)
        self._release()
        return True

    def export(self) -> dict[str, Any]:
        """All of the fold's state but the priors' entries, as plain values and arrays."""
        table = self.model.priors.table
        return {
            "model": self.model.name,
            "classifier": self.model.export(),
            "priors": {"landmark": table.landmark, "newest": table.newest, "base": list(table.base)},
            "prequential": self.prequential.export(),
            "updates": self.updates,
            "version": self.version,
            "episodes": [self.positives, self.negatives, self.repeated],
            "clock": [self.frontier, self.clock],
            "held": [msgspec.to_builtins(example) for example in self.held],
            "offsets": [[partition, offset] for partition, offset in sorted(self.offsets.items())],
            "positions": [[*place, *position] for place, position in sorted(self.positions.items())],
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`; the priors' entries are put back apart.

        Raises
        ------
        ValueError
            If the values are another model's, or damaged; nothing has changed then.
        """
        if values["model"] != self.model.name:
            raise ValueError(
                f"got a snapshot of model {values['model']!r}, expected {self.model.name!r}: set `model` to the "
                "snapshot's, or give the new model a topic prefix of its own"
            )
        prequential = Prequential()
        try:
            priors = values["priors"]
            landmark, newest, base = int(priors["landmark"]), int(priors["newest"]), [float(n) for n in priors["base"]]
            prequential.restore(values["prequential"])
            updates, version = int(values["updates"]), int(values["version"])
            positives, negatives, repeated = (int(count) for count in values["episodes"])
            frontier, clock = (int(time) for time in values["clock"])
            held: deque[Example] = deque(msgspec.convert(example, TypedExample) for example in values["held"])
            offsets = {int(partition): int(offset) for partition, offset in values["offsets"]}
            positions = {(int(p), int(k)): (int(t), int(n)) for p, k, t, n in values["positions"]}
            classifier = values["classifier"]
            for example in held:
                check_finite(example)
        except (ValueError, KeyError, TypeError, NonFiniteError, msgspec.ValidationError) as error:
            raise ValueError(f"got a damaged snapshot of model {self.model.name!r} ({error!r})") from None
        self.model.restore(classifier)
        self.model.priors.table.set_clock(landmark=landmark, newest=newest, base=base)
        self.prequential = prequential
        self.updates, self.version = updates, version
        self.positives, self.negatives, self.repeated = positives, negatives, repeated
        self.frontier, self.clock = frontier, clock
        self.held, self.offsets, self.positions = held, offsets, positions

    def _check_time(self, example: Example) -> None:
        """Refuse a time that the priors cannot count in: one such example would end all learning, or all that is known.

        Raises
        ------
        NonFiniteError
            Naming the time.
        """
        landmark, time = self.model.priors.table.landmark, example.label_time
        if time < EVENT_TIME_MS_MIN or (landmark >= 0 and time - landmark > LEARNING_SPAN_MS_MAX):
            raise NonFiniteError(
                f"example {example.event_id}: got label_time {time}, expected at least {EVENT_TIME_MS_MIN} and at most "
                f"{LEARNING_SPAN_MS_MAX} after the first ({landmark})"
            )

    def _must_wait(self, example: Example) -> bool:
        # Those that began to wait while cold stay in the queue until their time comes, so that the model does not get
        # them as one burst when it turns warm; new ones are learned at once from then on.
        if self.hold_ms and example.event_time + self.hold_ms > self.clock:
            return True
        return self.cold and example.event_time > self.frontier

    def _release(self) -> None:
        while self.held:
            oldest = self.held[0].event_time
            if oldest > self.frontier or oldest + self.hold_ms > self.clock:
                return
            self._learn(self.held.popleft())

    def _learn(self, example: Example) -> None:
        self.model.learn(example)
        self.updates += 1
        if example.touched is not None:
            if example.label:
                self.positives += 1
            else:
                self.negatives += 1


def check_finite(example: Example) -> None:
    """Refuse an example that would poison a model.

    Raises
    ------
    NonFiniteError
        Naming what is not finite or out of range.
    """
    values = msgspec.structs.astuple(example.features)
    # One sum tells for all: it is finite only if every term is (features lie within ± 200,000).
    if not math.isfinite(sum(values)):
        name = next((n for n, value in zip(FEATURE_NAMES, values, strict=True) if not math.isfinite(value)), "?")
        raise NonFiniteError(f"example {example.event_id}: feature {name} is not finite")
    if not 0.0 < example.score < 1.0:
        raise NonFiniteError(f"example {example.event_id}: got score {example.score}, expected 0 < score < 1")
    if example.label not in (0, 1) or not 0.0 < example.weight < math.inf:
        raise NonFiniteError(
            f"example {example.event_id}: got label {example.label} and weight {example.weight}, "
            "expected 0 or 1 and a positive number"
        )

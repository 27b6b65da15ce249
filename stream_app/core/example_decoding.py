"""An example as it lies on the topic, read and looked at: what is folded cannot poison a model.

Examples are ours, but the topic is open to whoever may write to it, and a snapshot brings those that waited. Every
number that models, priors and metrics take in is checked here, once.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from stream_app.core.events import EVENT_TIME_MS_MIN
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.model import SCORE_MIN, NonFiniteError
from stream_app.core.pages import TRANSITION_CODES
from stream_app.core.records import Example
from stream_app.core.state import TRANSITION_TIMES_MAX

#: 2200-01-01. No outcome is of a later time, and an absurd first one would be the priors' landmark for good.
_TIME_MS_MAX: Final = 7_258_118_400_000

#: Scored events that an example may stand for: sums and squares of any number of such weights stay finite.
_WEIGHT_MAX: Final = 1e9
#: A weight is 1 or more; below this the quotients of its squares are nothing.
_WEIGHT_MIN: Final = 1e-9

#: What arrays and snapshots can hold.
_INT_MAX: Final = 2**63 - 1
#: Sets are asked in a third of the time of `min` and `max`, and this is asked of every example.
_TIMES: Final = frozenset(range(1, TRANSITION_TIMES_MAX + 1))
_CODES: Final = frozenset(range(-1, TRANSITION_CODES))


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
    if not SCORE_MIN <= example.score <= 1.0 - SCORE_MIN:
        raise NonFiniteError(
            f"example {example.event_id}: got score {example.score}, expected {SCORE_MIN} to {1.0 - SCORE_MIN}"
        )
    if example.label not in (0, 1) or not _WEIGHT_MIN <= example.weight <= _WEIGHT_MAX:
        raise NonFiniteError(
            f"example {example.event_id}: got label {example.label} and weight {example.weight}, "
            f"expected 0 or 1 and {_WEIGHT_MIN} to {_WEIGHT_MAX}"
        )
    if example.previous not in (-1, 1 - example.label):
        raise NonFiniteError(
            f"example {example.event_id}: got label {example.label} and previous label {example.previous}, "
            "expected the other one, or -1"
        )
    _check_integers(example)
    _check_names(example)


def _check_integers(example: Example) -> None:
    """JSON's integers have no end, but those of arrays and snapshots do."""
    label_time, previous_time = example.label_time, example.previous_time
    previous_min = EVENT_TIME_MS_MIN if example.previous >= 0 else -1
    if not (EVENT_TIME_MS_MIN <= label_time <= _TIME_MS_MAX and previous_min <= previous_time <= _TIME_MS_MAX):
        raise NonFiniteError(
            f"example {example.event_id}: got label_time {label_time} and previous_time {previous_time}, "
            f"expected {EVENT_TIME_MS_MIN} to {_TIME_MS_MAX}"
        )
    kind, trigger, n = example.position
    if not (
        0 <= kind <= 2
        and 0 <= trigger <= _INT_MAX
        and 0 <= n <= _INT_MAX
        and EVENT_TIME_MS_MIN <= example.event_time <= _TIME_MS_MAX
        and 0 <= example.events <= _INT_MAX
        and -1 <= example.model_version <= _INT_MAX
        and -1 <= example.events_offset <= _INT_MAX
        and 0 <= example.left <= _INT_MAX
        and 0 <= example.schema <= _INT_MAX
    ):
        raise NonFiniteError(
            f"example {example.event_id}: got position {example.position}, event_time {example.event_time}, "
            f"events {example.events}, model_version {example.model_version}, events_offset {example.events_offset}, "
            f"left {example.left}, schema {example.schema}: one is out of its range"
        )


def _check_names(example: Example) -> None:
    """What the priors read: they divide by times, and write codes as text."""
    keys, touched = example.keys, example.touched
    if not (
        -1 <= keys.step <= _INT_MAX
        and -1 <= keys.transition <= _INT_MAX
        and (not keys.transitions or _are_counted(keys.transitions))
    ):
        raise NonFiniteError(
            f"example {example.event_id}: got keys with step {keys.step}, transition {keys.transition} and transitions "
            f"{keys.transitions}, expected codes, and transitions with 1 to {TRANSITION_TIMES_MAX} times each"
        )
    if touched is None:
        return
    if not (_are_codes(touched.steps) and (not touched.transitions or _are_counted(touched.transitions))):
        raise NonFiniteError(
            f"example {example.event_id}: got touched with steps {touched.steps} and transitions "
            f"{touched.transitions}, expected codes, and transitions with 1 to {TRANSITION_TIMES_MAX} times each"
        )


def _are_counted(transitions: list[int]) -> bool:
    codes, times = transitions[::2], transitions[1::2]
    return len(codes) == len(times) and _TIMES.issuperset(times) and _are_codes(codes)


def _are_codes(codes: list[int]) -> bool:
    # One that this version does not know is passed over by the priors. They are rare, and so may take longer.
    return _CODES.issuperset(codes) or (min(codes) >= -1 and max(codes) <= _INT_MAX)

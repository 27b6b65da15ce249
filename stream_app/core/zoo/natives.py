"""Parts of a model that Python cannot look into, each with plain words of its own.

River's vectors and drift detectors are Rust. A detector's state is a string of bytes, whose layout is checked number by
number in both directions: a wrong index in it would be a panic, which no `except Exception` holds.
"""

from __future__ import annotations

import math
import random
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from river import utils

from stream_app.core.newton import NewtonLogistic
from stream_app.core.zoo.graph import NonFiniteError, StateError, class_name
from stream_app.core.zoo.inputs import INPUT_NAMES

#: What River's optimizers begin a vector with.
_ZEROS: Final = "river.optim.initializers:Zeros"


class Native(NamedTuple):
    """`take` makes plain words of an object; `make` makes an object of them, or raises StateError."""

    name: str
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]


def _take_random(generator: Any) -> list[Any]:
    version, state, gauss = generator.getstate()
    return [version, struct.pack(f"<{len(state)}I", *state), gauss]


def _make_random(words: Any) -> random.Random:
    version, state, gauss = words
    if gauss is not None and not (type(gauss) is float and math.isfinite(gauss)):
        raise StateError(f"generator: got {gauss!r}")
    generator = random.Random()
    generator.setstate((version, struct.unpack(f"<{len(state) // 4}I", state), gauss))
    return generator


def _take_vector(vector: Any) -> list[Any]:
    _, (values, initializer, mask, *_) = vector.__reduce__()
    zeros = initializer is not None and class_name(type(initializer)) == _ZEROS
    if mask is not None or not (zeros or initializer is None):
        raise TypeError(f"a vector with initializer {initializer!r} and mask {mask!r} has no plain words")
    numbers = np.array(list(values.values()), dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise NonFiniteError("a weight became non-finite")
    return [zeros, list(values), numbers]


def _make_vector(words: Any) -> Any:
    zeros, names, numbers = words
    if not all(type(name) in (str, int) for name in names) or not np.isfinite(numbers).all():
        raise StateError("vector: got a name that is no str or int, or a non-finite number")
    from river import optim

    return utils.VectorDict(
        dict(zip(names, numbers.tolist(), strict=True)), optim.initializers.Zeros() if zeros else None
    )


#: delta, clock, buckets a row, shortest window, grace; total, variance, width, total width; buckets, most of them,
#: ticks, detections; rows. Then the rows; then the first five once more, as the constructor takes them.
_WINDOW: Final = struct.Struct("<dIQdd dddd IIII Q".replace(" ", ""))
_ROW: Final = struct.Struct("<QQ")
_OPTIONS: Final = struct.Struct("<dIQII")

#: Rows of a window: each holds buckets twice as wide as those before, so 64 would be more examples than there are.
_ROWS_MAX: Final = 64
_BUCKETS_MAX: Final = 64


def _take_window(window: Any) -> bytes:
    state = bytes(window.__getstate__())
    _check_window(state)
    return state


def _make_window(state: Any) -> Any:
    window = _window_class()(*_check_window(state))
    window.__setstate__(state)
    return window


def _check_window(state: bytes) -> tuple[float, int, int, int, int]:
    """What the window's constructor takes.

    Raises
    ------
    StateError
        If a length or a place is not what it must be.
    NonFiniteError
        If a number is not finite.
    """
    try:
        delta, clock, buckets, shortest, grace, *sums, _, _, _, _, rows = _WINDOW.unpack_from(state)
        at, numbers = _WINDOW.size, [*sums]
        if not 0 < buckets <= _BUCKETS_MAX or rows > _ROWS_MAX:
            raise StateError(f"window: got {rows} rows of {buckets} buckets")
        for _ in range(rows):
            size, used = _ROW.unpack_from(state, at)
            at += _ROW.size
            if size != buckets or used > buckets:
                raise StateError(f"window: got a row of {size} buckets with {used} used, expected {buckets}")
            for _ in ("totals", "variances"):
                (length,) = struct.unpack_from("<Q", state, at)
                if length != buckets + 1:
                    raise StateError(f"window: got {length} numbers, expected {buckets + 1}")
                numbers += struct.unpack_from(f"<{length}d", state, at + 8)
                at += 8 * (1 + length)
        options: tuple[float, int, int, int, int] = _OPTIONS.unpack_from(state, at)
    except (struct.error, TypeError) as error:
        raise StateError(f"window: {error}") from None
    if at + _OPTIONS.size != len(state) or options != (delta, clock, buckets, shortest, grace) or not 0 < delta < 1:
        raise StateError(f"window: got {len(state)} bytes and options {options}")
    if not math.isfinite(sum(numbers)):
        raise NonFiniteError("a drift detector's window became non-finite")
    return options


def _make_newton(words: Any) -> NewtonLogistic:
    core = NewtonLogistic(len(INPUT_NAMES), base_rate=0.5)
    core.restore(words)
    return core


def _take_newton(core: NewtonLogistic) -> dict[str, Any]:
    words = core.export()
    for name, value in words.items():
        if not np.isfinite(value).all():
            raise NonFiniteError(f"{name} became non-finite")
    return words


def _window_class() -> Any:
    from river import drift

    return type(drift.ADWIN()._helper)


#: Those that every process can have, by class.
_ALWAYS: Final[dict[type, Native]] = {
    random.Random: Native("random", _take_random, _make_random),
    utils.VectorDict: Native("vector", _take_vector, _make_vector),
    NewtonLogistic: Native("newton", _take_newton, _make_newton),
}


def natives() -> dict[type, Native]:
    """By class, those of River's parts that this process has imported among them: it can have no others."""
    if "river.drift" not in sys.modules:
        return _ALWAYS
    return {**_ALWAYS, _window_class(): Native("window", _take_window, _make_window)}

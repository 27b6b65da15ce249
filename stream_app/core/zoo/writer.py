"""Plain values of a classifier: the writing half of `graph`."""

from __future__ import annotations

import math
import types
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from stream_app.core.zoo.graph import (
    DICT,
    FLOATS,
    FLOATS_MIN,
    FORGOTTEN,
    LIST,
    METHOD,
    METHODS,
    NATIVE,
    NODES_MAX,
    OBJECT,
    PACKAGES,
    PAIRS,
    SET,
    TUPLE,
    NonFiniteError,
    class_name,
    dicts,
    slots_of,
)
from stream_app.core.zoo.natives import Native, natives

_PLAIN: Final = frozenset({types.NoneType, bool, int, str})
_SEQUENCES: Final[dict[type, int]] = {list: LIST, tuple: TUPLE}


def to_plain(model: Any) -> dict[str, Any]:
    """The state of a classifier as plain values and arrays of their own.

    Raises
    ------
    NonFiniteError
        If a number in it is not finite, naming the place.
    TypeError
        If it has a part that this format does not know, naming it.
    """
    return _Writer(model).write()


class _Writer:
    def __init__(self, model: Any) -> None:
        #: what has a number: its place in this list, which grows while it is walked
        self._found = [model]
        self._numbers = {id(model): 0}
        #: who holds it, for messages
        self._places = ["the model"]
        self._shapes: dict[tuple[str, ...], int] = {}
        self._attributes: dict[type, tuple[str, tuple[str, ...], frozenset[str]]] = {}
        self._dicts, self._natives = dicts(), natives()

    def write(self) -> dict[str, Any]:
        nodes = []
        for number, found in enumerate(self._found):
            if number >= NODES_MAX:
                raise TypeError(f"the model has more than {NODES_MAX} parts: too many to be published")
            nodes.append(self._node(found, self._places[number]))
        return {"shapes": [list(shape) for shape in self._shapes], "nodes": nodes}

    def _node(self, found: Any, place: str) -> list[Any]:
        kind = type(found)
        if isinstance(found, dict):
            return self._dict(found, place)
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *self._values(found, place)]
        if kind is set:
            return [SET, *self._values(sorted(found, key=lambda value: (type(value).__name__, value)), place)]
        if (native := self._natives.get(kind)) is not None:
            return [NATIVE, native.name, _words(native, found, place)]
        if kind is types.MethodType:
            return self._method(found, place)
        return self._object(found, place)

    def _dict(self, found: dict[Any, Any], place: str) -> list[Any]:
        name, keys, values = self._dict_name(found, place), tuple(found), list(found.values())
        if not all(type(key) is str for key in keys):
            pairs = [part for pair in found.items() for part in pair]
            return [PAIRS, self._shape(name), *self._values(pairs, place)]
        if len(values) >= FLOATS_MIN and all(type(value) is float for value in values):
            array = np.array(values)
            if not np.isfinite(array).all():
                raise NonFiniteError(f"{place} became non-finite")
            return [FLOATS, self._shape(name, *keys), array]
        return [DICT, self._shape(name, *keys), *self._values(values, place)]

    def _dict_name(self, found: dict[Any, Any], place: str) -> str:
        kind = type(found)
        made: Any = partial(defaultdict, found.default_factory) if isinstance(found, defaultdict) else kind
        for name, known in self._dicts.items():
            if _same(known, made):
                return name
        raise TypeError(f"{place} is a {kind.__qualname__} ({made}), which the snapshot format does not know")

    def _object(self, found: Any, place: str) -> list[Any]:
        kind = type(found)
        name, slots, forgotten = self._attributes.get(kind) or self._look_at(kind, place)
        state = {attribute: getattr(found, attribute) for attribute in slots if hasattr(found, attribute)}
        state.update(getattr(found, "__dict__", ()))
        names = [attribute for attribute in state if attribute not in forgotten]
        values = [self._value(state[attribute], f"{kind.__name__}.{attribute}") for attribute in names]
        return [OBJECT, self._shape(name, *names), *values]

    def _look_at(self, kind: type, place: str) -> tuple[str, tuple[str, ...], frozenset[str]]:
        if not f"{kind.__module__}.".startswith(PACKAGES):
            raise TypeError(
                f"{place} is a {kind.__module__}.{kind.__qualname__}, which the snapshot format does not know: keep it "
                "out of the model, or teach core/zoo/natives.py its plain words"
            )
        name = class_name(kind)
        known = self._attributes[kind] = name, slots_of(kind), frozenset(FORGOTTEN.get(name, ()))
        return known

    def _method(self, found: types.MethodType, place: str) -> list[Any]:
        name = found.__func__.__name__
        if (class_name(type(found.__self__)), name) not in METHODS:
            raise TypeError(f"{place} is the method {name}, which the snapshot format does not know")
        return [METHOD, self._value(found.__self__, place), name]

    def _values(self, values: Sequence[Any], place: str) -> list[Any]:
        return [self._value(value, place) for value in values]

    def _value(self, value: Any, place: str) -> Any:
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                raise NonFiniteError(f"{place} became non-finite")
            return value
        if kind in _PLAIN:
            return value
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._found)
            self._found.append(value)
            self._places.append(place)
        return [number]

    def _shape(self, *names: str) -> int:
        return self._shapes.setdefault(names, len(self._shapes))


def _words(native: Native, found: Any, place: str) -> Any:
    try:
        return native.take(found)
    except NonFiniteError as error:
        raise NonFiniteError(f"{place}: {error}") from None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, partial) and isinstance(other, partial):
        return one.func is other.func and len(one.args) == len(other.args) and all(map(_same, one.args, other.args))
    return one is other

"""A classifier of plain values: the reading half of `graph`. The values are not believed."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from stream_app.core.zoo.graph import (
    DEPTH_MAX,
    DICT,
    FLOATS,
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
    StateError,
    class_name,
    dicts,
    slots_of,
)
from stream_app.core.zoo.natives import natives

_PLAIN: Final = frozenset({types.NoneType, bool, int, str})


def from_plain(state: Any) -> Any:
    """The classifier whose `to_plain` this is, independent of the values.

    Raises
    ------
    StateError
        If it is none: another layout, a class that may not come back, a number that is not finite.
    """
    try:
        return _Reader(state["shapes"], state["nodes"]).read()
    except StateError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, NonFiniteError) as error:
        raise StateError(f"got a state that is damaged ({error!r})") from None


class _Reader:
    def __init__(self, shapes: list[list[str]], nodes: list[list[Any]]) -> None:
        if len(nodes) > NODES_MAX:
            raise StateError(f"got {len(nodes)} nodes, expected at most {NODES_MAX}")
        self._shapes = shapes
        self._nodes = nodes
        self._slots: dict[type, frozenset[str]] = {}
        self._dicts = dicts()
        self._natives = {native.name: native for native in natives().values()}
        #: what is there: all that can be filled afterwards at once, tuples and methods when they are asked for
        self._made: dict[int, Any] = {}

    def read(self) -> Any:
        for number, node in enumerate(self._nodes):
            if node[0] not in (TUPLE, METHOD):
                self._made[number] = self._shell(node)
        for number, node in enumerate(self._nodes):
            self._fill(self._made.get(number), node)
        return self._made[0]

    def _shell(self, node: list[Any]) -> Any:
        kind = node[0]
        if kind == OBJECT:
            return object.__new__(self._class(self._shapes[node[1]][0]))
        if kind in (DICT, FLOATS, PAIRS):
            return self._dicts[self._shapes[node[1]][0]]()
        if kind == LIST:
            return []
        if kind == SET:
            return set()
        if kind == NATIVE:
            return self._natives[node[1]].make(node[2])
        raise StateError(f"got a node of kind {kind!r}")

    def _fill(self, made: Any, node: list[Any]) -> None:
        kind, *rest = node
        if kind == OBJECT:
            self._set_attributes(made, self._shapes[rest[0]], rest[1:])
        elif kind == DICT:
            _put(made, zip(self._shapes[rest[0]][1:], map(self._value, rest[1:]), strict=True))
        elif kind == FLOATS:
            _put(made, zip(self._shapes[rest[0]][1:], _floats(rest[1]), strict=True))
        elif kind == PAIRS:
            _put(made, zip(map(self._value, rest[1::2]), map(self._value, rest[2::2]), strict=True))
        elif kind == LIST:
            made.extend(map(self._value, rest))
        elif kind == SET:
            made.update(map(self._value, rest))

    def _set_attributes(self, made: Any, shape: list[str], values: list[Any]) -> None:
        kind = type(made)
        slots = self._slots.get(kind)
        if slots is None:
            slots = self._slots[kind] = frozenset(slots_of(kind))
        for attribute, value in zip(shape[1:], values, strict=True):
            if attribute.startswith("__"):
                raise StateError(f"got an attribute {attribute!r} of {shape[0]}")
            if attribute in slots:
                object.__setattr__(made, attribute, self._value(value))
            else:
                made.__dict__[attribute] = self._value(value)
        for attribute, empty in FORGOTTEN.get(shape[0], {}).items():
            made.__dict__[attribute] = empty()

    def _value(self, value: Any, depth: int = 0) -> Any:
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                raise StateError("got a non-finite number")
            return value
        if kind in _PLAIN:
            return value
        if kind is not list or len(value) != 1 or type(value[0]) is not int or value[0] < 0:
            raise StateError(f"got {value!r} for a value")
        made = self._made.get(value[0], self)
        return made if made is not self else self._build(value[0], depth)

    def _build(self, number: int, depth: int) -> Any:
        """A tuple or a method: it cannot be filled afterwards, so what it holds is asked for first."""
        if depth > DEPTH_MAX:
            raise StateError(f"got tuples more than {DEPTH_MAX} deep, or one that holds itself")
        kind, *rest = self._nodes[number]
        if kind == TUPLE:
            made: Any = tuple(self._value(value, depth + 1) for value in rest)
        else:
            owner, name = self._value(rest[0], depth + 1), rest[1]
            if (class_name(type(owner)), name) not in METHODS:
                raise StateError(f"got the method {name!r} of a {type(owner).__qualname__}")
            made = types.MethodType(getattr(type(owner), name), owner)
        self._made[number] = made
        return made

    def _class(self, name: str) -> type:
        module, _, qualified = name.partition(":")
        # Only what is there already: a name in the data imports nothing.
        found = getattr(sys.modules.get(module), qualified, None)
        if not f"{module}.".startswith(PACKAGES) or not isinstance(found, type) or class_name(found) != name:
            raise StateError(f"got the class {name!r}, which may not be part of a model")
        return found


def _put(made: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> None:
    # One by one: a Counter's `update` counts, and a plain dict's leaves an OrderedDict without its order.
    for key, value in items:
        made[key] = value  # noqa: PERF403


def _floats(array: Any) -> list[float]:
    if not isinstance(array, np.ndarray) or array.ndim != 1 or not np.isfinite(array).all():
        raise StateError("got an array that is none, not flat, or has a non-finite number")
    found: list[float] = array.tolist()
    return found

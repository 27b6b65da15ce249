"""A classifier's state as plain values: the format. `writer` makes them, `reader` makes a classifier of them.

No pickle, and reading runs no code that the data names. A model is a graph of objects, with some shared (one generator
of random numbers for ten trees) and some in cycles (a leaf knows its parent). It is written as a flat table, so depth
costs nothing and a cycle is a number:

    {"shapes": [[what, name, name, …], …], "nodes": [[kind, …], …]}

Node 0 is the model. A value is None, a bool, an int, a finite float, a str, or `[n]`, which is node n. A shape is a
class and its attributes' names, or a kind of dict and its keys: written once for all that have it. The nodes:

    OBJECT, shape, a value for each attribute       LIST | TUPLE | SET, values
    DICT, shape, a value for each key               NATIVE, name, its own words (`natives`)
    FLOATS, shape, one array: a DICT of floats      METHOD, object, name: a method that an object keeps
    PAIRS, shape without keys, key, value, …

Only classes of some of River's packages and of our own come back: found among those imported already, made by
`object.__new__`, given attributes. Anything else is refused, by the writer when a model has it, by the reader when the
data names it. What was written reads back to the same bits, with the same orders.
"""

from __future__ import annotations

import sys
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

OBJECT, DICT, FLOATS, PAIRS, LIST, TUPLE, SET, NATIVE, METHOD = range(9)

#: Packages whose classes may be part of a model. River's others do I/O, or have no part in a classifier.
PACKAGES: Final = (
    "river.base.", "river.compose.", "river.drift.", "river.ensemble.", "river.forest.", "river.linear_model.",
    "river.metrics.", "river.naive_bayes.", "river.optim.", "river.preprocessing.", "river.proba.", "river.stats.",
    "river.tree.", "stream_app.core.zoo.",
)  # fmt: skip

#: Nodes of a state. The largest model of the catalogue has some ten thousand; Kafka would not carry a tenth of these.
NODES_MAX: Final = 500_000

#: Tuples within tuples, which are the only thing to be built from the inside.
DEPTH_MAX: Final = 20

#: How many floats are smaller and quicker as one array.
FLOATS_MIN: Final = 4

#: Attributes that are no state, by class, and what they come back as: what a pipeline remembers of itself and finds
#: anew, and a distribution's generator for drawing samples, which nothing here does (and whose seed would be chance).
FORGOTTEN: Final[dict[str, dict[str, Callable[[], Any]]]] = {
    "river.compose.pipeline:Pipeline": {
        "_plan": types.NoneType,
        "_inference_transformers": tuple,
        "_last_step_cached": types.NoneType,
        "_last_step_params": dict,
    },
    "river.proba.gaussian:Gaussian": {"_rng": types.NoneType},
}

#: The dicts that need no River, by name, see `dicts`. What a `defaultdict` makes of a missing key is part of its name.
DICTS: Final[dict[str, Callable[[], dict[Any, Any]]]] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": Counter,
    "floats": partial(defaultdict, float),
    "ints": partial(defaultdict, int),
    "counters": partial(defaultdict, Counter),
}
DICTS["rows of floats"] = partial(defaultdict, DICTS["floats"])

#: The methods that objects keep, with the name of their class.
METHODS: Final = frozenset({("river.ensemble.bagging:LeveragingBaggingClassifier", "_leveraging_bag")})


class NonFiniteError(ValueError):
    """Learning made the model non-finite; the caller must go back to its last good state."""


class StateError(ValueError):
    """Values that are no state of a model; what is wrong with them is in the text. Nothing was changed."""


def class_name(kind: type) -> str:
    """How a class is called in a shape."""
    return f"{kind.__module__}:{kind.__qualname__}"


def dicts() -> dict[str, Callable[[], dict[Any, Any]]]:
    """The dicts, by name, those of River's parts that this process has imported among them: it can have no others."""
    if (bayes := sys.modules.get("river.naive_bayes")) is None:
        return DICTS
    gaussians: Callable[[], dict[Any, Any]] = partial(defaultdict, bayes.GaussianNB._make_gaussian)
    return {**DICTS, "gaussians": gaussians, "rows of gaussians": partial(defaultdict, gaussians)}


def slots_of(kind: type) -> tuple[str, ...]:
    """The names of a class's slots, its bases' included."""
    return tuple(
        name
        for base in kind.__mro__
        for slots in (base.__dict__.get("__slots__", ()),)
        for name in ((slots,) if isinstance(slots, str) else slots)
        if name not in ("__dict__", "__weakref__")
    )

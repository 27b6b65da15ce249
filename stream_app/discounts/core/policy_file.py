"""Reading a policy file: a policy that can be used as it is, or one line on what is wrong, where, and what to do.

Nothing is passed over: a key that nobody knows is an error, for a policy with a slip of the keyboard in it would give
away money by rules that its author never wrote.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any, Final

import msgspec
from msgspec import inspect

from stream_app.discounts.core.criteria import DEPTH_MAX, depth, leaves
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.situation import NUMBERS, TEXTS

#: A policy that a person has written and can read.
POLICY_CHARS_MAX: Final = 200_000

_PATH: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
#: msgspec's types in the words of a file's author.
_TYPES: Final = {
    "`float`": "a number",
    "`int`": "a whole number",
    "`bool`": "true or false",
    "`str`": "a text",
    "`array`": "a list",
    "`object`": "a table",
}
_POLICY: Final = inspect.type_info(Policy)


class PolicyError(ValueError):
    """A policy file cannot be used; the text is one line: the file, the place in it, what was got and expected."""


def read_policy(text: str, *, where: str) -> Policy:
    """A policy from its TOML. `where` names the file in errors.

    Raises
    ------
    PolicyError
        If it is not TOML, or says something that is unknown, missing, out of range or at odds with itself.
    """
    if len(text) > POLICY_CHARS_MAX:
        raise PolicyError(f"{where}: got {len(text)} characters, expected at most {POLICY_CHARS_MAX}")
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"{where}: got what is not TOML: {error}; mend it there") from None
    for complaint in _complaints(raw, _POLICY, ""):
        raise PolicyError(f"{where}: {complaint}")
    try:
        policy = msgspec.convert(raw, Policy)
    except (msgspec.ValidationError, RecursionError) as error:
        raise PolicyError(f"{where}: {_explained(str(error), raw)}") from None
    for complaint in _unknown_names(policy):
        raise PolicyError(f"{where}: {complaint}")
    return policy


def _complaints(raw: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    """What msgspec would not say, or not well: keys that are unknown or missing, words that are no choice, NaN."""
    if isinstance(raw, float) and not math.isfinite(raw):
        yield f"{path}: got {raw}, expected a finite number"
    alternatives = _alternatives(kind)
    choices = [str(value) for each in alternatives if isinstance(each, inspect.LiteralType) for value in each.values]
    # A literal of one whole number, such as the format, is a choice like the words.
    number = any(isinstance(each, inspect.FloatType | inspect.IntType) for each in alternatives)
    if choices and str(raw) not in choices and (isinstance(raw, str) or not number):
        yield f"{path}: got {raw!r}, expected {_nearest(str(raw), choices)}{', or a number' if number else ''}"
    for each in alternatives:
        if isinstance(raw, dict) and isinstance(each, inspect.StructType):
            fields = {field.encode_name: field.type for field in each.fields}
            for key, value in raw.items():
                if key in fields:
                    yield from _complaints(value, fields[key], _join(path, key))
                else:
                    yield f"{_join(path, key)}: got an unknown key, expected {_nearest(key, fields)}"
            for field in each.fields:
                if field.required and field.encode_name not in raw:
                    yield f"{_join(path, field.encode_name)}: got nothing, expected it: the default policy shows how"
        elif isinstance(raw, dict) and isinstance(each, inspect.DictType):
            for key, value in raw.items():
                yield from _complaints(value, each.value_type, _join(path, key))
        elif isinstance(raw, list) and isinstance(each, inspect.VarTupleType):
            for place, value in enumerate(raw):
                yield from _complaints(value, each.item_type, f"{path}[{place}]")


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return tuple(each for option in kind.types for each in _alternatives(option))
    return (kind,)


def _unknown_names(policy: Policy) -> Iterator[str]:
    if depth(policy.eligible) > DEPTH_MAX:
        yield f"eligible: got groups {depth(policy.eligible)} deep, expected at most {DEPTH_MAX}; split it with `all`"
    for path, leaf in leaves(policy.eligible, "eligible"):
        if leaf.number is not None and leaf.number not in NUMBERS:
            yield f"{path}.number: got {_unknown(leaf.number, NUMBERS, TEXTS, 'text')}"
        if leaf.text is not None and leaf.text not in TEXTS:
            yield f"{path}.text: got {_unknown(leaf.text, TEXTS, NUMBERS, 'number')}"


def _unknown(name: str, known: Collection[str], other: Collection[str], form: str) -> str:
    if name in other:
        return f'{name!r}, which is a {form}: write `{form} = "{name}"`'
    return f"unknown {name!r}, expected {_nearest(name, known)}"


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    listed = ", ".join(near or sorted(known))
    return listed if len(near) == 1 else f"one of {listed}"


def _explained(message: str, raw: Any) -> str:
    """msgspec's words with the place as the file has it, and the value that was found there."""
    found = _PATH.match(message)
    assert found is not None
    what, path = found["what"], found["path"]
    if path is None:
        return f"{_lowered(what)}; see the JSON Schema, or begin with the default policy"
    steps = [key or int(number) for key, number in _STEP.findall(path.removeprefix("$"))]
    value = raw
    try:
        for step in steps:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        value = None  # `[...]` stands for a key of a table: the value is one of several
    place = path.removeprefix("$").removeprefix(".")
    if isinstance(value, str | int | float) and not what.startswith("got"):
        return f"{place}: got {value!r}, {_lowered(what.split(', got ')[0])}"
    return f"{place}: {_lowered(what)}"


def _lowered(words: str) -> str:
    for kind, said in _TYPES.items():
        words = words.replace(kind, said)
    return words[:1].lower() + words[1:]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key

"""A tree of conditions over a situation's numbers and texts, and which of them failed.

    all = [                                              # every one of them
        { number = "cart_value", min = 20.0 },           # min ≤ number ≤ max
        { any = [                                        # one of them is enough
            { text = "source", in = ["email", "direct"] },
            { number = "events", min = 5 },
        ] },
        { none = [ { text = "country", in = ["US"] } ] },  # not a single one
    ]

A number or text that is not known fulfils no condition: inside `none` it rules nothing out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, NamedTuple, Protocol

import msgspec

#: Groups within groups: people lose track earlier.
DEPTH_MAX: Final = 8
#: Conditions under one group, and texts in one list.
WIDTH_MAX: Final = 200

#: What a node can be.
FORMS: Final = ("all", "any", "none", "number", "text")
_BELONGS: Final = {"min": "number", "max": "number", "among": "text", "not_among": "text"}
#: Field → its key in the file, where `in` cannot be a field's name.
KEYS: Final = {"among": "in", "not_among": "not_in"}


class Named(Protocol):
    """What conditions are about: the numbers and texts known, by name."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """Numbers by name."""

    @property
    def texts(self) -> Mapping[str, str]:
        """Texts by name."""


class Criterion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=KEYS):
    """One node: either a group (`all`, `any`, `none`), or a condition on a `number` or a `text`.

    Raises ValueError, which msgspec gives a path, if it is both or neither, or can never be true or false.
    """

    all: Annotated[tuple[Criterion, ...], msgspec.Meta(max_length=WIDTH_MAX)] | None = None
    any: Annotated[tuple[Criterion, ...], msgspec.Meta(min_length=1, max_length=WIDTH_MAX)] | None = None
    none: Annotated[tuple[Criterion, ...], msgspec.Meta(min_length=1, max_length=WIDTH_MAX)] | None = None
    number: str | None = None
    min: float | None = None
    max: float | None = None
    text: str | None = None
    among: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=WIDTH_MAX)] | None = None
    not_among: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=WIDTH_MAX)] | None = None

    def __post_init__(self) -> None:
        forms = [name for name in FORMS if getattr(self, name) is not None]
        if len(forms) != 1:
            got = " and ".join(forms) or "none of them"
            raise ValueError(f"got {got}, expected exactly one of {', '.join(FORMS)}")
        (form,) = forms
        for name, owner in _BELONGS.items():
            if getattr(self, name) is not None and owner != form:
                raise ValueError(f"got `{KEYS.get(name, name)}` beside `{form}`, expected it beside `{owner}`")
        if form == "number" and self.min is None and self.max is None:
            raise ValueError("got a number without bounds, expected `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"got min {self.min:g} above max {self.max:g}, expected min <= max")
        if form == "text" and (self.among is None) == (self.not_among is None):
            raise ValueError("got a text with both lists or neither, expected one of `in` and `not_in`")

    @property
    def groups(self) -> Iterator[tuple[str, tuple[Criterion, ...]]]:
        """The one group that this node is, or nothing for a condition."""
        for name in FORMS[:3]:
            group: tuple[Criterion, ...] | None = getattr(self, name)
            if group is not None:
                yield name, group


class Miss(NamedTuple):
    """Where a tree failed: the path of the node, such as `eligible.all[0]`, and why in words."""

    path: str
    words: str


def judge(criterion: Criterion, named: Named, path: str) -> Miss | None:
    """The first node that fails, or None if the tree holds. `path` is where the tree stands in its file."""
    for name, group in criterion.groups:
        found = [judge(each, named, f"{path}.{name}[{n}]") for n, each in enumerate(group)]
        if name == "all":
            return next((miss for miss in found if miss is not None), None)
        if name == "any":
            misses = [miss.words for miss in found if miss is not None]
            return Miss(f"{path}.any", "; ".join(misses)) if len(misses) == len(found) else None
        held = next((n for n, miss in enumerate(found) if miss is None), None)
        return None if held is None else Miss(f"{path}.none[{held}]", f"ruled out: {words(group[held])}")
    why = _number_fails(criterion, named) if criterion.number is not None else _text_fails(criterion, named)
    return Miss(path, why) if why else None


def words(criterion: Criterion) -> str:
    """A tree in one line of words."""
    for name, group in criterion.groups:
        if not group:
            return "always"
        joint = " and " if name == "all" else " or "
        said = joint.join(f"({words(each)})" if any(each.groups) else words(each) for each in group)
        return f"not ({said})" if name == "none" else said
    if criterion.number is not None:
        return f"{criterion.number} {_bounds(criterion)}"
    return f"{criterion.text} {_lists(criterion)}"


def leaves(criterion: Criterion, path: str) -> Iterator[tuple[str, Criterion]]:
    """Every condition with its path, in the order of the file."""
    nested = False
    for name, group in criterion.groups:
        nested = True
        for n, each in enumerate(group):
            yield from leaves(each, f"{path}.{name}[{n}]")
    if not nested:
        yield path, criterion


def depth(criterion: Criterion) -> int:
    """Groups within groups, 0 for a single condition."""
    return max((1 + max(map(depth, group), default=0) for _, group in criterion.groups), default=0)


def _number_fails(criterion: Criterion, named: Named) -> str | None:
    assert criterion.number is not None
    value = named.numbers.get(criterion.number)
    if value is None:
        return f"{criterion.number} is not known"
    low, high = criterion.min, criterion.max
    if (low is None or value >= low) and (high is None or value <= high):
        return None
    return f"{criterion.number} is {value:.6g}, expected {_bounds(criterion)}"


def _text_fails(criterion: Criterion, named: Named) -> str | None:
    assert criterion.text is not None
    value = named.texts.get(criterion.text)
    if value is None:
        return f"{criterion.text} is not known"
    if value in criterion.among if criterion.among is not None else value not in (criterion.not_among or ()):
        return None
    return f"{criterion.text} is {value}, expected {_lists(criterion)}"


def _bounds(criterion: Criterion) -> str:
    low, high = criterion.min, criterion.max
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"


def _lists(criterion: Criterion) -> str:
    listed = criterion.among or criterion.not_among or ()
    shown = ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
    return f"in {shown}" if criterion.among else f"not in {shown}"

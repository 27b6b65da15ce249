"""A criteria tree says whether it holds, and which condition failed."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.discounts.core.criteria import Criterion, depth, judge, leaves, words


class Things(NamedTuple):
    numbers: dict[str, float]
    texts: dict[str, str]


HERE = Things({"events": 4.0, "score": 0.2}, {"source": "ad"})


def tree(raw: dict[str, Any]) -> Criterion:
    return msgspec.convert(raw, Criterion)


@pytest.mark.parametrize(
    ("raw", "path", "why"),
    [
        ({"number": "events", "min": 4, "max": 4}, None, ""),
        ({"number": "events", "min": 5}, "e", "events is 4, expected at least 5"),
        ({"number": "events", "max": 3}, "e", "events is 4, expected at most 3"),
        ({"number": "trend", "min": 0}, "e", "trend is not known"),
        ({"text": "source", "in": ["email", "ad"]}, None, ""),
        ({"text": "source", "in": ["email"]}, "e", "source is ad, expected in email"),
        ({"text": "source", "not_in": ["ad", "tv"]}, "e", "source is ad, expected not in ad, tv"),
        ({"text": "country", "not_in": ["US"]}, "e", "country is not known"),
        ({"all": []}, None, ""),
        (
            {"all": [{"number": "events", "min": 1}, {"number": "score", "min": 0.5}]},
            "e.all[1]",
            "score is 0.2, expected at least 0.5",
        ),
        ({"any": [{"number": "events", "min": 9}, {"number": "score", "max": 0.5}]}, None, ""),
        (
            {"any": [{"number": "events", "min": 9}, {"number": "score", "max": 0.1}]},
            "e.any",
            "events is 4, expected at least 9; score is 0.2, expected at most 0.1",
        ),
        ({"none": [{"number": "events", "min": 9}, {"text": "country", "in": ["US"]}]}, None, ""),
        (
            {"none": [{"number": "events", "min": 9}, {"text": "source", "in": ["ad"]}]},
            "e.none[1]",
            "ruled out: source in ad",
        ),
        ({"all": [{"any": [{"none": [{"number": "events", "min": 2}]}]}]},
         "e.all[0].any", "ruled out: events at least 2"),
    ],
)  # fmt: skip
def test_a_tree_holds_or_names_the_condition_that_failed(raw: dict[str, Any], path: str | None, why: str) -> None:
    miss = judge(tree(raw), HERE, "e")
    assert (miss and miss.path) == path
    assert (miss.words if miss else "") == why


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({}, "got none of them, expected exactly one of all, any, none, number, text"),
        ({"all": [], "text": "source"}, "got all and text"),
        ({"number": "events"}, "expected `min`, `max` or both"),
        ({"number": "events", "min": 2, "max": 1}, "got min 2 above max 1"),
        ({"number": "events", "min": 2, "in": ["a"]}, "got `in` beside `number`, expected it beside `text`"),
        ({"all": [], "max": 2}, "got `max` beside `all`, expected it beside `number`"),
        ({"text": "source"}, "both lists or neither"),
        ({"text": "source", "in": ["a"], "not_in": ["b"]}, "both lists or neither"),
        ({"any": []}, "length >= 1"),
        ({"none": []}, "length >= 1"),
        ({"text": "source", "in": []}, "length >= 1"),
        ({"all": [{"number": "events", "mni": 2}]}, r"unknown field `mni` - at `\$.all\[0\]`"),
    ],
)
def test_a_tree_that_nobody_can_mean_is_refused(raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        tree(raw)


CONDITIONS = st.one_of(
    st.builds(
        lambda name, bound: {"number": name, "min": bound},
        st.sampled_from(["events", "score", "trend"]),
        st.floats(-10, 10),
    ),
    st.builds(lambda name, among: {"text": name, "in": among}, st.sampled_from(["source", "country"]),
              st.lists(st.sampled_from(["ad", "email"]), min_size=1)),
)  # fmt: skip
TREES = st.recursive(
    CONDITIONS,
    lambda inner: st.builds(
        lambda form, group: {form: group},
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


def plainly(raw: dict[str, Any]) -> bool:
    """The same, in the shortest way that gives no reasons."""
    ((form, group), *_) = raw.items()
    if form == "number":
        return HERE.numbers.get(group, -1e9) >= raw["min"]
    if form == "text":
        return HERE.texts.get(group) in raw["in"]
    found = [plainly(each) for each in group]
    return all(found) if form == "all" else any(found) if form == "any" else not any(found)


@given(TREES)
def test_any_tree_holds_exactly_when_the_logic_says_so_and_its_miss_lies_in_it(raw: dict[str, Any]) -> None:
    criterion = tree(raw)
    miss = judge(criterion, HERE, "e")
    assert (miss is None) == plainly(raw)
    assert words(criterion)
    paths = [path for path, _ in leaves(criterion, "e")]
    assert len(paths) == len(set(paths)) >= 1
    assert max(path.count("[") for path in paths) == depth(criterion)
    if miss is not None:
        assert miss.words
        assert any(path.startswith(miss.path) for path in paths)


def test_a_tree_is_told_in_words() -> None:
    criterion = tree(
        {
            "all": [
                {"number": "cart_value", "min": 20, "max": 500},
                {"any": [{"text": "source", "in": ["email"]}, {"number": "events", "min": 5}]},
                {"none": [{"text": "country", "in": ["US"]}]},
            ]
        }
    )
    assert words(criterion) == (
        "cart_value from 20 to 500 and (source in email or events at least 5) and (not (country in US))"
    )

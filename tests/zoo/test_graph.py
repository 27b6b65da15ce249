"""A state as plain values: what comes back, and what is refused."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift, optim, proba, stats, utils

from stream_app.core.zoo import graph
from stream_app.core.zoo.graph import DEPTH_MAX, NonFiniteError, StateError
from stream_app.core.zoo.reader import from_plain
from stream_app.core.zoo.warm_start import WarmStart
from stream_app.core.zoo.writer import to_plain
from tests.zoo.material import NAMES, trained, travelled


def holder(content: Any) -> WarmStart:
    """A class of ours with anything in it."""
    made = WarmStart(stats.Mean(), 0.5)
    made.content = content
    return made


def round_trip(content: Any) -> Any:
    state = to_plain(holder(content))
    assert to_plain(from_plain(state))["shapes"] == state["shapes"]
    return from_plain(travelled(state)).content


# ---- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        None, True, 0, -(2**63), 2**64 - 1, 0.1, -0.0, 5e-324, "", "ä", [], [1, [2.5, "x"]], (), (1, (2, ())), set(),
        {1, 2.5}, {}, {"a": 1}, {True: 0.5, False: 0.1}, {(1, "a"): [3]}, {None: None}, {"a": 1.5},
        {name: 0.1 * n for n, name in enumerate("abcdefgh")}, {"a": {"b": {"c": []}}},
        Counter({True: 3, False: 1}), Counter(a=2, b=7),
    ],
)  # fmt: skip
def test_values_come_back_with_their_types(content: Any) -> None:
    back = round_trip(content)
    assert (type(back), back, repr(back)) == (type(content), content, repr(content))


def test_dicts_keep_their_order_and_what_they_make_of_a_missing_key() -> None:
    ordered = OrderedDict([("z", 1), ("a", 2)])
    ordered.move_to_end("z")
    assert list(round_trip(ordered)) == ["a", "z"]
    floats = round_trip(defaultdict(float, {"b": 1.0, "a": 2.0}))
    assert (list(floats), floats["new"]) == (["b", "a"], 0.0)
    rows = round_trip(defaultdict(partial(defaultdict, float)))
    rows["new"]["newer"] += 1.0
    assert rows == {"new": {"newer": 1.0}}


def test_what_is_shared_stays_shared_and_a_cycle_closes() -> None:
    one = [1.0]
    loop: dict[str, Any] = {"shared": [one, one], "pair": (one, [one])}
    loop["self"] = loop
    back = round_trip(loop)
    assert back["self"] is back
    assert back["shared"][0] is back["shared"][1] is back["pair"][0] is back["pair"][1][0]


def test_a_chain_of_a_hundred_thousand_links_needs_no_depth() -> None:
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    back, links = round_trip(chain), 0
    while back:
        back, links = back[0], links + 1
    assert links == 100_000


def test_a_generator_goes_on_where_it_was() -> None:
    generator = random.Random(5)
    generator.gauss(0, 1)  # one of two is kept for the next time
    back = round_trip(generator)
    assert [back.gauss(0, 1), back.random()] == [generator.gauss(0, 1), generator.random()]


def test_a_vector_keeps_its_order_and_its_zeros() -> None:
    vector = utils.VectorDict({"b": 0.1, 7: -2.0, "a": 0.0}, optim.initializers.Zeros())
    back = round_trip(vector)
    assert (list(back), list(back.values()), back["new"]) == (["b", 7, "a"], [0.1, -2.0, 0.0], 0.0)
    with pytest.raises(KeyError):
        round_trip(utils.VectorDict({"a": 1.0}))["new"]


@pytest.mark.parametrize("updates", [0, 1, 5, 6, 50, 3_000])
def test_a_drift_detector_goes_on_where_it_was(updates: int) -> None:
    one, draw = drift.ADWIN(), random.Random(1)
    for n in range(updates):
        one.update(float(draw.random() < (0.2 if n < 2_000 else 0.8)))
    back = round_trip(one)
    found = []
    for _ in range(2_000):
        value = float(draw.random() < 0.5)
        one.update(value)
        back.update(value)
        found.append(one.drift_detected)
        assert (back.width, back.estimation, back.drift_detected) == (one.width, one.estimation, one.drift_detected)
    assert any(found) or updates < 3_000


def test_a_distributions_own_generator_is_left_out() -> None:
    gaussian = proba.Gaussian()
    gaussian.update(1.0)
    gaussian.update(2.0)
    back = round_trip(gaussian)
    assert (back._rng, back.mu, back(1.2)) == (None, gaussian.mu, gaussian(1.2))


# ---- what the writer refuses ----------------------------------------------------------------------------------------


class Stranger:
    pass


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Stranger(), "Stranger"), (b"bytes", "bytes"), (print, "builtin_function_or_method"), (lambda: 1, "function"),
        (Stranger, "type"), (1j, "complex"), (frozenset({1}), "frozenset"), (defaultdict(list), "defaultdict"),
        ([].append, "builtin_function_or_method"), (stats.Mean().update, "update"),
    ],
)  # fmt: skip
def test_what_the_format_does_not_know_is_named(content: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named) as error:
        to_plain(holder({"inside": [content]}))
    assert "WarmStart.content" in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("put", [float, lambda v: [(v,)], lambda v: {"a": v}, lambda v: dict.fromkeys("abcde", v)])
def test_a_number_that_is_not_finite_is_not_written(put: Callable[[float], Any], value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"WarmStart\.content"):
        to_plain(holder(put(value)))


def test_too_many_parts_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.core.zoo.writer.NODES_MAX", 50)
    to_plain(holder([[] for _ in range(40)]))
    with pytest.raises(TypeError, match="more than 50 parts"):
        to_plain(holder([[] for _ in range(60)]))


# ---- what the reader refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "builtins:eval", "builtins:list", "os:system", "subprocess:Popen", "river.datasets.base:Dataset",
        "river.stats.mean:Nothing", "river.stats.mean:annotations", "river.stats.mean:statistics", "river.nothing:Mean",
        "stream_app.core.model:IntentModel", "stream_app.core.zoo.writer:to_plain", "river.stats:Mean",
        "river.stats.mean:Mean.update", "", ":", "random:Random", "river.utils.vectordict:VectorDict",
    ],
)  # fmt: skip
def test_a_class_that_may_not_be_part_of_a_model_does_not_come_back(name: str) -> None:
    with pytest.raises(StateError):
        from_plain({"shapes": [[name]], "nodes": [[graph.OBJECT, 0]]})


@pytest.mark.parametrize(
    "nodes",
    [
        [], [[]], [[99]], [[graph.LIST, [1]]], [[graph.LIST, [-1]]], [[graph.LIST, [True]]], [[graph.LIST, [0, 0]]],
        [[graph.LIST, {}]], [[graph.LIST, b""]], [[graph.LIST, math.nan]], [[graph.LIST, [1]], [graph.TUPLE, [1]]],
        [[graph.SET, [1]], [graph.LIST]], [[graph.NATIVE, "nothing", 1]], [[graph.NATIVE, "random", [3, b"", None]]],
        [[graph.NATIVE, "window", b"\0" * 200]], [[graph.NATIVE, "vector", [True, [1.5], None]]],
        [[graph.METHOD, [1], "learn_one"], [graph.OBJECT, 0, 0.5]], [[graph.OBJECT, 0]], [[graph.OBJECT, 1, 1]],
        [[graph.DICT, 2, 1]], [[graph.DICT, 3]], [[graph.FLOATS, 2, [1.0]]], [[graph.PAIRS, 2, 1]], 7, None,
    ],
)  # fmt: skip
def test_a_state_of_another_layout_is_refused(nodes: Any) -> None:
    warm_start = "stream_app.core.zoo.warm_start:WarmStart"
    shapes = [[warm_start, "base_rate"], [warm_start, "__class__"], ["dict", "a", "b"], ["nothing"]]
    with pytest.raises(StateError):
        from_plain({"shapes": shapes, "nodes": nodes})


def test_tuples_that_are_too_deep_are_refused() -> None:
    nodes = [[graph.LIST, [1]], *([graph.TUPLE, [n + 2]] for n in range(DEPTH_MAX + 5)), [graph.LIST]]
    with pytest.raises(StateError, match="deep"):
        from_plain({"shapes": [], "nodes": nodes})


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.core.zoo.reader.NODES_MAX", 3)
    with pytest.raises(StateError, match="at most 3"):
        from_plain({"shapes": [], "nodes": [[graph.LIST]] * 4})


JUNK = st.sampled_from([None, True, -1, 0, 1, 7, 2**63, 0.5, math.nan, "", "_rng", b"", [0], [1], [], [9**9], {}])


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), choice=st.randoms(use_true_random=False), junk=JUNK)
def test_a_damaged_state_is_refused_or_read_and_nothing_else_happens(name: str, choice: Any, junk: Any) -> None:
    state = copy.deepcopy(state_of(name))
    part = choice.choice(state[choice.choice(["nodes", "nodes", "shapes"])])
    while True:
        places = list(range(len(part)) if isinstance(part, list) else part)
        if not places:
            return
        place = choice.choice(places)
        if not isinstance(part[place], list | dict) or choice.random() < 0.3:
            break
        part = part[place]
    part[place] = junk
    with suppress(StateError):
        from_plain(state)


_STATES: dict[str, Any] = {}


def state_of(name: str) -> Any:
    if name not in _STATES:
        _STATES[name] = to_plain(trained(name, 40).classifier)
    return _STATES[name]


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1_000), number=st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 5, 6, 7, 2**31]))
def test_a_damaged_drift_detector_is_refused_or_runs(at: int, number: int) -> None:
    detector = drift.ADWIN()
    for n in range(150):
        detector.update(float(n % 3 == 0))
    state = to_plain(holder(detector))
    (node,) = (node for node in state["nodes"] if node[:2] == [graph.NATIVE, "window"])
    window = bytearray(node[2])
    at = at % (len(window) // 4) * 4
    window[at : at + 4] = number.to_bytes(4, "little")
    node[2] = bytes(window)
    try:
        found = from_plain(state).content
    except StateError:
        return
    for n in range(300):
        found.update(float(n % 2))

"""The compiled prior table answers as the one in Python, to the last bit, whatever is asked in whatever order."""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import pages, priors, state
from stream_app.core.native import native
from stream_app.core.pages import GROUPS, TRANSITION_CODES
from stream_app.core.prior_tables import clock_of
from stream_app.core.priors import HALF_LIFE_MS, KINDS, ORIGIN, PRIOR_NAMES, TRANSITION, PriorTable
from stream_app.core.records import Keys, Touched
from stream_app.core.state import TRANSITION_TIMES_MAX
from tests.core.streams import RULES, T0, HashScorer, Partition, event
from tests.native.built import needs_native

#: Few, so that tables fill up and evict.
ENTRIES_MAX: Final = 20

pytestmark = needs_native


# ---- what is asked ---------------------------------------------------------------------------------------------------

names = st.one_of(
    st.sampled_from([f"i{n}" for n in range(30)]), st.sampled_from(["", "item", "é", "\U0001f600", "a/b"])
)
several = st.lists(names, max_size=6)
steps = st.one_of(st.integers(-1, 23), st.integers(-(2**40), 2**40))
codes = st.one_of(st.integers(0, TRANSITION_CODES - 1), st.integers(0, 5), st.integers(-15, TRANSITION_CODES + 15))
transitions = st.lists(st.tuples(codes, st.integers(1, TRANSITION_TIMES_MAX)), max_size=6).map(
    lambda pairs: [number for pair in pairs for number in pair]
)
#: Also times that nobody writes, and a code without its times.
odd_transitions = st.one_of(transitions, st.lists(st.integers(-3, 200), max_size=7))
touched = st.builds(
    Touched, several, several, several, st.lists(steps, max_size=4), st.none() | names, st.none() | names,
    st.booleans(), odd_transitions, st.booleans(),
)  # fmt: skip
keys = st.builds(
    Keys, st.none() | names, st.none() | names, st.none() | names, st.none() | names, st.none() | names, steps, several,
    several, several, codes, odd_transitions,
)  # fmt: skip
times = st.one_of(
    st.integers(-40 * 86_400_000, 40 * 86_400_000).map(lambda after: T0 + after),
    st.integers(0, 20 * HALF_LIFE_MS).map(lambda after: T0 + after),
    # Weights that are out of all range, both ways.
    st.integers(0, 7_258_118_400_000),
)
counts = st.one_of(
    st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6)).map(list),
    st.lists(st.floats(), min_size=3, max_size=3),
)
changes = st.lists(
    st.tuples(
        st.tuples(st.sampled_from([*KINDS, TRANSITION, ORIGIN, "unheard of"]), names | st.integers(0, 140).map(str)),
        st.none() | counts,
    ),
    max_size=6,
)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), touched, st.integers(0, 1), times),
        st.tuples(st.just("learn"), touched, st.integers(0, 1), times),
        st.tuples(st.just("unlearn"), touched, st.integers(0, 1), times),
        st.tuples(st.just("values"), keys),
        st.tuples(st.just("values_many"), st.lists(keys, max_size=4)),
        st.tuples(st.just("take_changes")),
        st.tuples(st.just("put_changes"), changes),
        st.tuples(st.just("set_clock"), times, times, counts, st.floats(0.001, 0.5)),
    ),
    max_size=40,
)


def compiled_table(base_rate: float, **bounds: int) -> PriorTable:
    # Asked for by name, so that it is not the one in Python where nothing is built.
    assert native is not None, "the compiled engine is not built: pip install ./native"
    table: PriorTable = native.PriorTable(base_rate, **bounds)
    return table


def answer(table: PriorTable, call: tuple[Any, ...]) -> Any:
    """What the table says, or the name of what it raises. Floats as their bytes: a NaN equals a NaN."""
    name, *given = call
    try:
        if name == "set_clock":
            landmark, newest, base, rate = given
            table.set_clock(landmark=landmark, newest=newest, base=base, initial_base_rate=rate)
            return None
        return to_the_bit(getattr(table, name)(*given))
    except (ArithmeticError, ValueError) as error:
        return type(error).__name__


def to_the_bit(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack("<d", value) if value == value else b"NaN"
    if isinstance(value, bytes):
        return to_the_bit(np.frombuffer(value).tolist())
    if isinstance(value, dict):
        # In its order.
        return [(key, to_the_bit(found)) for key, found in value.items()]
    return [to_the_bit(found) for found in value] if isinstance(value, list) else value


def everything(table: PriorTable) -> Any:
    """All that can be read of a table."""
    rates = [answer(table, ("__getattribute__", name)) for name in ("base_rate", "cart_rate")]
    clock = clock_of(table)
    return len(table), to_the_bit(table.entries()), to_the_bit(list(clock)), rates


# ---- the rule --------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(calls=calls)
def test_both_tables_answer_the_same_whatever_is_asked(calls: Sequence[tuple[Any, ...]]) -> None:
    one, other = PriorTable(0.03, entries_max=ENTRIES_MAX), compiled_table(0.03, entries_max=ENTRIES_MAX)
    for n, call in enumerate(calls):
        assert answer(other, call) == answer(one, call), f"call {n}: {call}"
    assert everything(other) == everything(one)
    assert everything(copy.deepcopy(other)) == everything(one)


@settings(max_examples=40, deadline=None)
@given(outcomes=st.lists(st.tuples(touched, st.integers(0, 1), st.integers(0, 400)), min_size=30, max_size=60))
def test_both_tables_answer_the_same_on_a_shop_of_every_day(outcomes: Sequence[tuple[Touched, int, int]]) -> None:
    # Without the odd numbers above every value is finite, and none is left unsaid.
    one, other = PriorTable(0.03, entries_max=ENTRIES_MAX), compiled_table(0.03, entries_max=ENTRIES_MAX)
    for n, (what, label, hours) in enumerate(outcomes):
        for table in (one, other):
            table.learn(what, label, T0 + 3_600_000 * hours)
        asked = Keys(
            f"i{n % 30}", "i1", "i2", "i3", "i4", n % 20, what.items, what.categories, [], 3, [3, 1, n % 120, 2]
        )
        found = other.values(asked)
        assert len(found) == len(PRIOR_NAMES)
        assert np.isfinite(found).all()
        assert to_the_bit(found) == to_the_bit(one.values(asked))
        assert other.values_many([asked]) == one.values_many([asked]) == struct.pack(f"={len(found)}d", *found)
    assert to_the_bit(other.take_changes()) == to_the_bit(one.take_changes())
    assert everything(other) == everything(one)


@settings(max_examples=80, deadline=None)
@given(rates=st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=64))
def test_sums_are_rounded_once_however_many_numbers_of_whatever_size(rates: list[float]) -> None:
    # Means over an episode's items, whose priors lie many orders of magnitude apart: `math.fsum` is exact.
    tables = PriorTable(0.03), compiled_table(0.03)
    entries = [(("item", f"i{n}"), [rate / 3, rate, rate / 7]) for n, rate in enumerate(rates)]
    items = Keys(items=[f"i{n}" for n in range(len(rates))])
    for table in tables:
        table.put_changes(entries)
        table.set_clock(landmark=T0, newest=T0 + HALF_LIFE_MS // 3, base=[3.0, 100.0, 7.0], initial_base_rate=0.03)
    one, other = (table.values(items) for table in tables)
    assert to_the_bit(one) == to_the_bit(other)


class Watching(HashScorer):
    """Keeps the keys of the batches that it has scored."""

    def __init__(self) -> None:
        self.seen: list[Sequence[Keys]] = []

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        self.seen.append(keys)
        return super().score_many(x, keys)


def test_a_batch_of_the_engine_has_the_values_of_its_keys_one_by_one() -> None:
    assert native is not None, "the compiled engine is not built: pip install ./native"
    random = np.random.default_rng(4)
    records = []
    for n in range(400):
        item, kind = int(random.integers(0, 12)), random.choice(["view_item", "add_to_cart", "page_view", "purchase"])
        named = {"item_id": f"i{item}", "category": f"c{item % 4}", "brand": f"b{item % 3}", "country": "DE"}
        # Some without a name of any kind, some with an item alone.
        fields = named if n % 5 else {} if n % 2 else {"item_id": f"i{item}"}
        records.append(event(n, f"v{random.integers(0, 30)}", str(kind), n * 0.5, **fields))
    scorer = Watching()
    partition = Partition(replace(RULES, engine="compiled"), scorer)
    for start in range(0, len(records), 80):
        partition.step(records[start : start + 80])
    assert {type(batch) for batch in scorer.seen} == {native.KeysBatch}
    assert max(len(keys.items) for batch in scorer.seen for keys in batch) > 3
    tables = PriorTable(0.03), compiled_table(0.03)
    for batch in scorer.seen:
        for n, keys in enumerate(batch):
            for table in tables:
                table.learn(
                    Touched(keys.items, keys.categories, keys.brands, [keys.step], None, keys.country, n % 3 == 0,
                            keys.transitions),
                    n % 7 == 0,
                    T0 + n * 86_400_000,
                )  # fmt: skip
        one, other = tables
        assert other.values_many(batch) == other.values_many(list(batch)) == one.values_many(list(batch))
        assert np.frombuffer(other.values_many(batch)).any()


def test_the_constants_are_the_same() -> None:
    assert native is not None
    assert native.PriorTable.constants() == {
        **{
            name: getattr(priors, name)
            for name in (
                "SMOOTHING_SESSIONS",
                "HALF_LIFE_MS",
                "ENTRIES_MAX",
                "EVICT_SHARE",
                "BASE_SESSIONS",
                "CARTS_PER_PURCHASE",
            )
        },
        "GROUPS": len(GROUPS),
        "TRANSITION_CODES": pages.TRANSITION_CODES,
        "TRANSITION_TIMES_MAX": state.TRANSITION_TIMES_MAX,
        "PRIOR_NAMES": len(PRIOR_NAMES),
        "KINDS": (*KINDS, TRANSITION, ORIGIN),
    }


def test_damaged_changes_are_refused_and_nothing_of_them_is_taken() -> None:
    table = compiled_table(0.03)
    with pytest.raises(ValueError, match="got 2 counts, expected 3"):
        table.put_changes([(("item", "a"), [1.0, 2.0, 1.0]), (("item", "b"), [1.0, 2.0])])
    assert len(table) == 0

"""The sequence of pages as inputs: named by hand, bounded, and worth what was planted in the order of the pages."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stream_app.core.model import IntentModel
from stream_app.core.pages import ENTRY, GROUP_CODE, TRANSITION_CODES, transition_code
from stream_app.core.records import Keys
from stream_app.core.zoo.inputs import INPUT_NAMES, Inputs
from stream_app.core.zoo.page_sequence import NUMBERS, PageSequence, page_names
from tests.zoo.material import BASE, examples

LIST, ITEM, CART = (GROUP_CODE[name] for name in ("list", "item", "cart"))
ENTRY_LIST, LIST_ITEM, ITEM_LIST = (
    transition_code(ENTRY, LIST), transition_code(LIST, ITEM), transition_code(ITEM, LIST),
)  # fmt: skip


def test_pages_by_name() -> None:
    keys = Keys(
        step=2 * ITEM + 1, transition=LIST_ITEM, transitions=[ENTRY_LIST, 1, LIST_ITEM, 4, ITEM_LIST, 2], country="DE"
    )
    country, *pages = page_names(keys)
    assert country.startswith("country ")
    assert pages == [
        "last item of the same item", "last list > item", "entry > list", "list > item", "list > item again",
        "list > item often", "item > list", "item > list again",
    ]  # fmt: skip


def test_nothing_known_has_no_name_and_codes_of_another_version_are_passed_over() -> None:
    assert list(page_names(Keys())) == []
    assert list(page_names(Keys(step=99, transition=TRANSITION_CODES, transitions=[TRANSITION_CODES + 7, 3, -2]))) == []


def test_all_names_there_can_be_are_some_hundreds() -> None:
    pairs = [number for code in range(TRANSITION_CODES) for number in (code, 8)]
    names = {
        name
        for n in range(3_000)
        for name in page_names(Keys(step=n % 22, transition=n % TRANSITION_CODES, transitions=pairs, country=f"c{n}"))
    }
    assert len(names) == 64 + 22 + TRANSITION_CODES * 4


def test_visits_so_far_are_told_apart_up_to_five() -> None:
    sequence = PageSequence()
    names = []
    for visits in (0, 1, 4, 5, 700):
        x = {**dict.fromkeys(INPUT_NAMES, 0.0), "earlier_sessions": math.log1p(visits)}
        names += [name for name in sequence.transform_one(Inputs(x.items(), Keys())) if name not in NUMBERS]
    assert names == ["visits 0", "visits 1", "visits 4", "visits 5", "visits 5"]


def ordered(count: int, seed: int) -> list[tuple[list[int], int]]:
    """Episodes of the same pages: those who went from an item to the list buy, those who went to the item do not."""
    random = np.random.default_rng(seed)
    return [
        ([ENTRY_LIST, 1, LIST_ITEM if way else ITEM_LIST, 1], int(random.random() < (0.02 if way else 0.4)))
        for way in random.random(count) < 0.5
    ]


@pytest.mark.parametrize(("name", "least", "most"), [("page_sequence", 0.75, 1.0), ("sgd", 0.4, 0.6)])
def test_an_order_of_pages_that_tells_who_buys_is_learned_by_it_alone(name: str, least: float, most: float) -> None:
    model = IntentModel(name, base_rate=BASE)
    (plain,) = examples(1)
    for (transitions, label), n in zip(ordered(600, 1), range(600), strict=True):
        keys = Keys(step=2 * ITEM, transitions=transitions)
        model.learn(msgspec.structs.replace(plain, event_id=f"e{n}", keys=keys, label=label, touched=None))
    unseen = ordered(600, 2)
    x = np.repeat(np.array([msgspec.structs.astuple(plain.features)]), len(unseen), axis=0)
    scores = model.score_many(x, [Keys(step=2 * ITEM, transitions=way) for way, _ in unseen])
    assert least <= roc_auc_score([label for _, label in unseen], scores) <= most

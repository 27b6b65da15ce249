"""Two ways to do it wrong on purpose, which show that the right way is right.

`permuted-labels`: the outcomes of the episodes of each hour are dealt out anew among them, for learning and judging.
Nothing can then be foreseen; whoever does better than a coin has seen what he should not.

`instant-labels`: every event's label is learned as soon as the event is scored, long before it could be known. What is
gained by that is what an evaluation without the labels' delay would have pretended.

Both read the history once more beforehand and keep its examples in memory, which the evaluation itself never does.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
import numpy as np

from stream_app.core.example_decoding import TypedExample
from stream_app.core.plan import Rules
from stream_app.evaluation.folding import Folded, Folder
from stream_app.evaluation.history import History, ticks
from stream_app.evaluation.nobody import NOBODY
from stream_app.evaluation.question import Outcomes

Sanity = Literal["permuted-labels", "instant-labels"]
SANITIES: Final[tuple[Sanity, ...]] = get_args(Sanity)

#: Short, for two reasons: the base rate moves with the time of day, and of a block that is half known the other half
#: can be foreseen, the wrong way round: what has come up already will not come up again.
_BLOCK_MS: Final = 3600 * 1000

_SEED: Final = 0

#: A scored event: visitor, session, its number there.
_EventKey = tuple[str, str, int]


def sanity_outcomes(kind: Sanity, history: History, rules: Rules, directory: Path) -> Outcomes:
    """The outcomes to learn and judge by, done wrong on purpose."""
    known = _known(history, rules, directory)
    return _instant(known) if kind == "instant-labels" else _permuted(known)


def _known(history: History, rules: Rules, directory: Path) -> dict[_EventKey, TypedExample]:
    directory.mkdir(parents=True)
    folder = Folder(rules, directory)
    known = {}
    for tick in ticks(history.events(), freshness_ms=_BLOCK_MS, cuts=(), events_max=1_000):
        for example in folder.fold(tick, NOBODY).examples:
            known[_key(example)] = example
    folder.close()
    return known


def _instant(known: dict[_EventKey, TypedExample]) -> Outcomes:
    count = 0

    def outcomes(folded: Folded) -> list[TypedExample]:
        nonlocal count
        found = []
        for scored in folded.scored:
            example = known.get((scored.visitor_id, scored.session_id, scored.events))
            if example is not None:
                count += 1
                # In an order of its own: the learner takes a position that falls for a repetition.
                found.append(msgspec.structs.replace(example, position=(1, count, 0)))
        return found

    return outcomes


def _permuted(known: dict[_EventKey, TypedExample]) -> Outcomes:
    episodes: dict[tuple[str, str, tuple[int, ...]], list[TypedExample]] = defaultdict(list)
    for example in known.values():
        episodes[(example.visitor_id, example.session_id, example.position[:2])].append(example)
    blocks: dict[int, list[list[TypedExample]]] = defaultdict(list)
    for examples in episodes.values():
        blocks[examples[0].event_time // _BLOCK_MS].append(examples)
    random = np.random.default_rng(_SEED)
    dealt: dict[_EventKey, int] = {}
    for block in blocks.values():
        labels = random.permutation([examples[0].label for examples in block])
        for examples, label in zip(block, labels.tolist(), strict=True):
            dealt.update({_key(example): label for example in examples})
    return lambda folded: [msgspec.structs.replace(example, label=dealt[_key(example)]) for example in folded.examples]


def _key(example: TypedExample) -> _EventKey:
    return example.visitor_id, example.session_id, example.events

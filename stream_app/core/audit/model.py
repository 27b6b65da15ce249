"""The model on trial: the newest good snapshot against the examples it says it has learned from.

Every example below the snapshot's offsets must have been observed exactly once: counts of updates, of those held back,
of repetitions, of buying and other episodes and of the prequential metrics follow from the examples, whatever the order
between partitions was. Where all examples lie in one partition that order is known too: they are folded again by a
fresh learner, and every number of the snapshot must be the same, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from stream_app.core.audit.report import Check, Names, Violation, quote
from stream_app.core.contender import moved
from stream_app.core.events import EVENT_TIME_MS_MIN
from stream_app.core.example_decoding import TypedExample, check_finite
from stream_app.core.learner import Learner
from stream_app.core.model import NonFiniteError
from stream_app.core.priors import EntryKey
from stream_app.core.records import Example
from stream_app.core.snapshots import Head

_DECODER: Final = msgspec.json.Decoder(TypedExample)
_UNREADABLE: Final = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)
#: Sums of floats come out differently in another order, by this much at most.
_SUMS_DIFFER: Final = 1e-9


class ModelAudit:
    """Feed the examples of each partition in offset order, then `finish`.

    `alone` says that one partition holds all examples, so that their order is known; `learner` is one that has learned
    nothing, with the trainer's settings. Once a person has chosen the champion the fold is not repeated: where in the
    log that was is not known.
    """

    def __init__(
        self, names: Names, head: Head, entries: Mapping[EntryKey, list[float]], *, learner: Learner, alone: bool
    ) -> None:
        self.check = Check("model", -1)
        self.names = names
        self._state = head.state
        self._entries = entries
        self._offsets = {int(partition): int(offset) for partition, offset in head.state["offsets"]}
        # A person's choice of the champion, and a challenger that began anew, are in no example.
        champion = head.state["champion"]
        by_hand = champion["commands"] or any(former == name for _, _, former, name, *_ in champion["changes"])
        self._learner = learner if alone and not by_hand else None
        self._positions: dict[tuple[int, int], tuple[int, int]] = {}
        self._counts: dict[str, float] = dict.fromkeys(
            ("observed", "repeated", "buying", "other", "cold", "warm", "positives", "weight"), 0
        )
        #: examples that the trainer has not come to yet
        self.behind = 0

    def ends(self, ends: Mapping[int, int]) -> None:
        """The ends of the examples' partitions: a snapshot from beyond them has learned from another topic."""
        for partition, offset in sorted(self._offsets.items()):
            if offset > ends.get(partition, 0):
                self._differs(f"offset of partition {partition}", f"at most {ends.get(partition, 0)}", offset)

    def example(self, partition: int, offset: int, value: bytes | None) -> None:
        """One record of the examples topic."""
        if offset >= self._offsets.get(partition, 0):
            self.behind += 1
            return
        try:
            example = _DECODER.decode(value or b"")
            if self._learner is not None:
                self._learner.fold(partition, offset, example)
            check_finite(example)
        except (*_UNREADABLE, NonFiniteError):
            # As the trainer: such an example leaves nothing behind but its offset.
            if self._learner is not None:
                self._learner.offsets[partition] = offset + 1
            return
        times = (example.label_time, example.previous_time) if example.previous >= 0 else (example.label_time,)
        if min(times) < EVENT_TIME_MS_MIN:
            return
        self._count(partition, example)

    def finish(self) -> Check:
        """The verdict."""
        self._compare_counts()
        if self._learner is not None:
            self._compare_fold(self._learner)
            self.check.note = "folded again, bit by bit"
        else:
            self.check.note = "counts; the order between partitions is not known"
        return self.check

    def _count(self, partition: int, example: Example) -> None:
        kind, trigger, n = example.position
        counts = self._counts
        if (trigger, n) <= self._positions.get((partition, kind), (-1, -1)):
            counts["repeated"] += 1
            return
        self._positions[partition, kind] = (trigger, n)
        counts["observed"] += 1
        if example.previous >= 0:
            self._count_correction(example)
            return
        if example.touched is not None:
            counts["buying" if example.label else "other"] += 1
        if example.cold:
            counts["cold"] += 1
        else:
            counts["warm"] += 1
            counts["positives"] += example.label
            counts["weight"] += example.weight

    def _count_correction(self, example: Example) -> None:
        counts = self._counts
        if example.touched is not None:
            positives, negatives = moved(example.label, parted=example.touched.parted)
            counts["buying"] += positives
            counts["other"] += negatives
        if not example.cold:
            counts["positives"] += example.label - example.previous

    def _compare_counts(self) -> None:
        said, counts = self._state, self._counts
        held = [msgspec.convert(example, TypedExample) for example in said["held"]]
        waiting = len(held) + sum(len(examples) for _, examples in said["pending"])
        held_episodes = sum(example.touched is not None for example in held)
        positives, negatives, repeated = said["episodes"]
        examples, warm_positives, weight = said["prequential"]["total"]["all"]["sums"][:3]
        facts: Iterable[tuple[str, float, float]] = (
            ("examples learned or waiting", counts["observed"], said["updates"] + waiting),
            ("repetitions", counts["repeated"], repeated),
            ("buying episodes", counts["buying"], positives + held_episodes),
            ("episodes without a checkout", counts["other"], negatives),
            ("examples observed cold", counts["cold"], said["prequential"]["cold"]),
            ("examples observed", counts["warm"], examples),
            ("positives observed", counts["positives"], warm_positives),
        )
        for what, expected, got in facts:
            self._compare(what, expected, got)
        self.check.expected += 1
        if math.isclose(counts["weight"], weight, rel_tol=_SUMS_DIFFER, abs_tol=_SUMS_DIFFER):
            self.check.found += 1
        else:
            self._violate("weight observed", counts["weight"], weight)
        told = {(int(p), int(k)): (int(t), int(n)) for p, k, t, n in said["positions"]}
        self._compare("last positions", dict(sorted(self._positions.items())), dict(sorted(told.items())))

    def _compare_fold(self, learner: Learner) -> None:
        learner.version, learner.lineage = self._state["version"], self._state.get("lineage", 0)
        mine = learner.export()
        for name in sorted(mine):
            if not _equal(mine[name], self._state.get(name)):
                self._differs(name, quote(mine[name]), quote(self._state.get(name)))
            else:
                self.check.expected += 1
                self.check.found += 1
        changed = learner.priors.table.take_changes()
        kept = {key: counts for key, counts in changed.items() if counts is not None}
        self._compare("prior entries", len(kept), len(self._entries))
        wrong = [key for key, counts in kept.items() if self._entries.get(key) != counts]
        self._compare("prior entries that differ", [], wrong[:5])

    def _compare(self, what: str, expected: Any, got: Any) -> None:
        self.check.expected += 1
        if expected == got:
            self.check.found += 1
        else:
            self._violate(what, expected, got)

    def _differs(self, what: str, expected: Any, got: Any) -> None:
        self.check.expected += 1
        self._violate(what, expected, got)

    def _violate(self, what: str, expected: Any, got: Any) -> None:
        self.check.violate(
            Violation("model", "differs", self.names.snapshots, 0, -1, "", f"{what} {expected}", quote(got))
        )


def _equal(one: Any, other: Any) -> bool:
    """Bit by bit, into dicts and lists."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)

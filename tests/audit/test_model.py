"""The model on trial: a snapshot that skipped, repeated or altered anything it learned from is found."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.core.audit.model import ModelAudit
from stream_app.core.audit.report import Check
from stream_app.core.example_decoding import TypedExample
from stream_app.core.learner import Learner
from stream_app.core.model import NonFiniteError
from stream_app.core.priors import EntryKey
from stream_app.core.snapshots import SNAPSHOT_SCHEMA, Head
from tests.audit.trial import NAMES
from tests.core.examples import BASE, examples, learner

Log = list[tuple[int, int, bytes]]


def log_of(found: list[TypedExample], *, partitions: int = 1) -> Log:
    """The examples as records: (partition, offset, value), visitors spread over partitions."""
    ends = [0] * partitions
    log: Log = []
    for n, example in enumerate(found):
        partition = n % partitions
        log.append((partition, ends[partition], msgspec.json.encode(example)))
        ends[partition] += 1
    return log


def trained(log: Log, *, hold_ms: int = 0) -> tuple[Head, dict[EntryKey, list[float]]]:
    """What a trainer that read the log in this order publishes."""
    trainer: Learner = learner(hold_ms=hold_ms)
    for partition, offset, value in log:
        try:
            trainer.fold(partition, offset, msgspec.json.decode(value, type=TypedExample))
        except (msgspec.ValidationError, msgspec.DecodeError, NonFiniteError):
            trainer.offsets[partition] = offset + 1
    whole = trainer.export()
    arrays = {name: whole.pop(name) for name in ("serving", "bands", "prequential", "drift")}
    state = {**msgspec.json.decode(msgspec.json.encode(whole)), **arrays}
    changes = trainer.priors.table.take_changes()
    entries = {key: counts for key, counts in changes.items() if counts is not None}
    return Head(SNAPSHOT_SCHEMA, 1, len(entries), 0, state), entries


def judge(
    log: Log, head: Head, entries: dict[EntryKey, list[float]], *, alone: bool = True, hold_ms: int = 0
) -> tuple[Check, int]:
    trial = ModelAudit(NAMES, head, entries, learner=Learner(["newton"], base_rate=BASE, hold_ms=hold_ms), alone=alone)
    for partition, offset, value in sorted(log):
        trial.example(partition, offset, value)
    ends: dict[int, int] = {}
    for partition, offset, _ in log:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    trial.ends(ends)
    return trial.finish(), trial.behind


def said(check: Check) -> str:
    return "\n".join(violation.expected for violation in check.spelled)


@pytest.mark.parametrize("hold_ms", [0, 3_600_000])
def test_a_model_that_learned_each_example_once_is_the_same_to_the_last_bit(hold_ms: int) -> None:
    log = log_of(examples(400))
    check, behind = judge(log, *trained(log, hold_ms=hold_ms), hold_ms=hold_ms)
    assert said(check) == ""
    assert (check.note, behind) == ("folded again, bit by bit", 0)
    assert check.found == check.expected > 20


def test_a_model_of_several_partitions_is_checked_by_its_counts_whatever_their_order_was() -> None:
    log = log_of(examples(400), partitions=3)
    check, _ = judge(log, *trained(log), alone=False)
    assert said(check) == ""
    assert check.note == "counts; the order between partitions is not known"


def test_examples_repeated_refused_or_not_learned_yet_are_no_violation() -> None:
    found = examples(300)
    log = log_of([*found[:200], *found[150:200], *found[200:]])
    log[10] = (0, 10, b"not an example")
    log[20] = (0, 20, log[20][2].replace(b'"score":', b'"score":7'))
    head, entries = trained(log[:320])
    check, behind = judge(log, head, entries)
    assert said(check) == ""
    assert head.state["episodes"][2] == 50
    assert behind == 30


@pytest.mark.parametrize("alone", [True, False])
def test_a_snapshot_that_skipped_an_example_is_found(alone: bool) -> None:
    log = log_of(examples(300))
    check, _ = judge(log, *trained([*log[:100], *log[101:]]), alone=alone)
    assert "examples learned or waiting 300" in said(check)
    assert check.spelled[0].got == "299"


@pytest.mark.parametrize("alone", [True, False])
def test_an_example_learned_twice_is_found(alone: bool) -> None:
    log = log_of(examples(300))
    twice = msgspec.json.decode(log[299][2], type=TypedExample)
    again = msgspec.json.encode(msgspec.structs.replace(twice, position=(1, 10_000, 0)))
    head, entries = trained([*log, (0, 300, again)])
    head.state["offsets"] = [[0, 300]]
    check, _ = judge(log, head, entries, alone=alone)
    assert "examples learned or waiting 300" in said(check)


def test_one_weight_of_another_value_is_found_where_the_order_is_known() -> None:
    log = log_of(examples(300))
    head, entries = trained(log)
    # Of a newton model, node 1 is its numbers, in their own words.
    weights = head.state["serving"]["classifier"]["nodes"][1][2]["weights"]
    weights[3] = np.nextafter(weights[3], 1e9)
    check, _ = judge(log, head, entries)
    assert [violation.expected.split()[0] for violation in check.spelled] == ["serving"]


def test_a_prior_that_was_changed_or_lost_is_found() -> None:
    log = log_of(examples(300))
    head, entries = trained(log)
    key = next(iter(entries))
    check, _ = judge(log, head, {**entries, key: [entries[key][0] + 1, entries[key][1]]})
    assert "prior entries that differ" in said(check)
    check, _ = judge(log, head, {other: counts for other, counts in entries.items() if other != key})
    assert "prior entries" in said(check)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"episodes": [1, 2, 3]}, "buying episodes"),
        ({"offsets": [[0, 301]]}, "offset of partition 0 at most 300"),
        ({"positions": []}, "last positions"),
    ],
)
def test_counts_that_do_not_follow_from_the_examples_are_found(change: dict[str, Any], found: str) -> None:
    log = log_of(examples(300))
    head, entries = trained(log)
    head.state.update(change)
    check, _ = judge(log, head, entries, alone=False)
    assert found in said(check)

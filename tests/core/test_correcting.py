"""What a correction does to what was learned: models, priors, counts, metrics, and what still waits."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import event as note
from hypothesis import given, settings

from stream_app.core.example_decoding import TypedExample, decode_example
from stream_app.core.learner import Learner
from stream_app.core.model import ZOO, NonFiniteError, input_rows
from stream_app.core.newton import NewtonLogistic
from stream_app.core.priors import KINDS, ORIGIN, TRANSITION
from stream_app.core.records import Touched
from tests.audit.test_model import judge, said, trained
from tests.core.examples import SnapshotTopic, everything, example, examples, learner
from tests.core.streams import DAY, MINUTE, T0, HashScorer, Partition, at, crowd
from tests.core.test_corrections import LATE, ended, late, rules, sessions
from tests.core.test_learner import fold, warm


def corrected(one: TypedExample, place: int, **fields: Any) -> TypedExample:
    """The example with the other label, as a label told it at `place`."""
    return msgspec.structs.replace(
        one,
        label=1 - one.label,
        label_source="label",
        position=(0, place, 0),
        previous=one.label,
        previous_time=one.label_time,
        **fields,
    )


def fold_log(log: list[TypedExample], **options: int) -> Learner:
    found = learner(**options)
    fold(found, *log)
    return found


# ---- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_corrected_at_once_leaves_newtons_weights_as_if_it_had_never_been_another(label: int) -> None:
    rows = np.random.default_rng(3).normal(size=(500, 6))
    one, other = (NewtonLogistic(6, base_rate=0.1) for _ in range(2))
    for n, row in enumerate(rows):
        one.learn(row, int(row[0] > 1))
        other.learn(row, int(row[0] > 1) if n < 499 else 1 - int(row[0] > 1))
    assert not np.allclose(one.weights, other.weights, rtol=0, atol=1e-6)
    other.correct(rows[-1], 2 * int(rows[-1, 0] > 1) - 1)
    np.testing.assert_allclose(other.weights, one.weights, rtol=0, atol=1e-12)
    assert np.array_equal(np.tril(one.covariance), np.tril(other.covariance))
    # There and back again is where it was.
    before = one.weights.copy()
    one.correct(rows[7], 2 * label - 1)
    one.correct(rows[7], 1 - 2 * label)
    np.testing.assert_allclose(one.weights, before, rtol=0, atol=1e-15)


def newton_distances(*, delay: int, seed: int) -> tuple[float, float]:
    """How far weights are from those of labels in time: with the labels corrected `delay` examples late, and never.

    Of 20,000 examples, 9 to 10 % positive, a third of the positives is told as negative first.
    """
    random = np.random.default_rng(seed)
    rows, truth = random.normal(size=(20_000, 30)), random.normal(size=30) * 0.25
    labels = (random.random(len(rows)) < 1 / (1 + np.exp(2.8 - rows @ truth))).astype(int)
    fake = (random.random(len(rows)) < 1 / 3) & (labels == 1)
    in_time, told_late, never = (NewtonLogistic(30, base_rate=0.05) for _ in range(3))
    for n, row in enumerate(rows):
        in_time.learn(row, int(labels[n]))
        for model in (told_late, never):
            model.learn(row, int(labels[n] and not fake[n]))
        if n >= delay and fake[n - delay]:
            told_late.correct(rows[n - delay], 1)
    for n in np.flatnonzero(fake[-delay:]):
        told_late.correct(rows[len(rows) - delay + n], 1)
    distances = [float(np.linalg.norm(model.weights - in_time.weights)) for model in (told_late, never)]
    return distances[0], distances[1]


@pytest.mark.parametrize(
    ("delay", "share"),
    [
        pytest.param(100, 0.04, id="100 late, measured .017 and .027"),
        pytest.param(1_000, 0.1, id="1,000 late, measured .053 and .070"),
        pytest.param(5_000, 0.18, id="5,000 late, measured .128 and .135"),
    ],
)
def test_corrected_weights_are_closer_to_those_of_labels_in_time_than_uncorrected_ones(
    delay: int, share: float
) -> None:
    for seed in (1, 2):
        told_late, never = newton_distances(delay=delay, seed=seed)
        assert told_late < share * never


def test_a_learner_that_is_told_late_comes_close_to_one_that_is_told_in_time_priors_and_all() -> None:
    # A third of the positives is told as negative first, and corrected 50 examples later: measured .13, .14 and .20.
    for seed in (1, 2, 3):
        log = examples(6_000, seed=seed)
        fake = np.random.default_rng(seed).random(len(log)) < 1 / 3
        first = [msgspec.structs.replace(one, label=0) if fake[n] else one for n, one in enumerate(log)]
        told: list[TypedExample] = []
        for n, one in enumerate(first):
            told.append(one)
            if n >= 50 and fake[n - 50] and log[n - 50].label:
                told.append(corrected(first[n - 50], n))
        in_time, late_told, never = (fold_log(found).model.classifier.core.weights for found in (log, told, first))
        assert np.linalg.norm(late_told - in_time) < 0.3 * np.linalg.norm(never - in_time)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_model_takes_a_correction_and_one_that_cannot_take_back_learns_once_more(name: str) -> None:
    log = examples(300)
    model, plain = (learner(name) for _ in range(2))
    fold(model, *log)
    fold(plain, *log)
    negative = next(one for one in reversed(log) if not one.label)
    rows = input_rows(model.priors, [negative])
    before = model.model.raw(rows)[0]
    model.model.correct_row(rows, 0, 1, event_id="e")
    model.model.export()
    if hasattr(model.model.classifier, "correct_one"):
        assert model.model.raw(rows)[0] > before
    else:
        plain.model.learn_rows(rows, 1, event_ids=["e"])
        assert model.model.raw(rows) == plain.model.raw(rows)


# ---- priors ---------------------------------------------------------------------------------------------------------


def test_an_episode_that_was_counted_is_taken_out_and_what_is_gone_is_left_alone() -> None:
    one = learner().priors.table
    touched = Touched(["i1", "i2"], ["c"], ["b"], [3, 8], "ads", "de", carted=True, transitions=[1, 2, 20, 1])
    one.learn(Touched(["i1"], ["c"], [], [3]), 0, T0)
    before = one.entries()
    base = list(one.base)
    one.learn(touched, 1, T0 + DAY)
    one.take_changes()
    one.unlearn(touched, 1, T0 + DAY)
    assert ("item", "i2") in one.take_changes()
    assert one.base == pytest.approx(base, abs=1e-12)
    for kind, found in one.entries().items():
        for key, counts in found.items():
            assert counts == pytest.approx(before[kind].get(key, [0.0, 0.0, 0.0]), abs=1e-12), (kind, key)
    # Never counted: nothing falls below zero, no rate leaves 0 to 1, and nothing new appears.
    known = len(one)
    for _ in range(3):
        one.unlearn(Touched(["i1", "another"], ["c"], [], [3]), 1, T0 + DAY)
    assert len(one) == known
    assert all(0.0 <= counts[0] <= counts[1] for found in one.entries().values() for counts in found.values())
    assert 0.0 < one.base_rate < one.cart_rate < 1.0


def table_of(
    partition: Partition,
) -> tuple[list[float], dict[str, dict[str, list[float]]], tuple[int, int]]:
    """Base counts, entries and episodes after a learner has folded all of the examples."""
    found = learner()
    # The first says from when the priors count, the last that nothing waits any more.
    read = [decode_example(msgspec.json.encode(record)) for record in partition.examples]
    fold(found, example(0, time=T0 - DAY))
    fold(found, *read, partition=1)
    fold(found, example(1, time=T0 + 10 * DAY))
    assert not found.held
    table = found.priors.table
    return table.base, table.entries(), (found.positives, found.negatives)


@settings(max_examples=80, deadline=None)
@given(stream=sessions(), drawn=LATE)
def test_a_label_told_late_gives_the_counts_that_it_would_have_given_in_time(
    stream: list[Any], drawn: list[Any]
) -> None:
    # One label: of several the one that comes first parts a session in time, and the earliest checkout late.
    minutes, order_id, _, session_id = drawn[0]
    told = late([(minutes % 60, order_id, "checkout", session_id)])
    first = [record for record in stream if record.timestamp < at(60)]
    in_time = Partition(rules(reservoir_size=24), HashScorer())
    in_time.step(first)
    in_time.step(labels=told)
    in_time.step(crowd(1_000, 90))
    after = ended(*first, reservoir_size=24)
    after.step(labels=told)
    base, entries, episodes = table_of(in_time)
    late_base, late_entries, late_episodes = table_of(after)
    assert late_base == pytest.approx(base, rel=1e-9)
    assert late_episodes == episodes
    for kind in KINDS:
        assert set(late_entries[kind]) == set(entries[kind])
        for key, counts in entries[kind].items():
            assert late_entries[kind][key] == pytest.approx(counts, rel=1e-9, abs=1e-9), (kind, key)
    # In time, transitions after the checkout are not told where no name or step is new; late, they have been.
    for kind in (TRANSITION, ORIGIN):
        for key in {**entries[kind], **late_entries[kind]}:
            bought, made, _ = entries[kind].get(key, [0.0, 0.0, 0.0])
            late_bought, late_made, _ = late_entries[kind].get(key, [0.0, 0.0, 0.0])
            assert late_bought == pytest.approx(bought, rel=1e-9, abs=1e-9)
            assert late_made > made * (1 - 1e-9)
    note(f"corrected {any(one['previous'] >= 0 for one in after.examples)}")


# ---- counts and metrics ---------------------------------------------------------------------------------------------


def test_a_correction_moves_an_episode_and_a_score_from_one_class_to_the_other_and_adds_none() -> None:
    one = learner()
    warm(one)
    fold(one, first := example(1_000, label=0, score=0.2, time=T0 + MINUTE))
    counts = one.positives, one.negatives, one.prequential.since_start().examples
    told = corrected(first, 5)
    fold(one, told)
    assert (one.positives, one.negatives, one.prequential.since_start().examples) == (
        counts[0] + 1,
        counts[1] - 1,
        counts[2],
    )
    fold(one, corrected(told, 6))
    assert (one.positives, one.negatives) == counts[:2]
    # Of a part only: the rest stays an episode.
    parted = Touched(["i1"], parted=True)
    fold(one, corrected(first, 7, touched=parted))
    assert (one.positives, one.negatives) == (counts[0] + 1, counts[1])


def test_a_correction_told_again_changes_nothing() -> None:
    one = learner()
    warm(one)
    first = example(1_000, time=T0 + MINUTE)
    fold(one, first, corrected(first, 5))
    before = everything(one)
    assert not one.fold(0, one.offsets[0], corrected(first, 5))
    one.repeated, one.offsets[0] = 0, one.offsets[0] - 1
    assert everything(one) == before


def test_a_buyer_taken_back_while_it_waits_to_be_learned_is_learned_as_one_who_did_not_buy() -> None:
    # Cold: the positive waits. Its refund makes of it what a negative of the same time would have been.
    told = example(0, label=1, time=T0 + MINUTE)
    one = fold_log([told, corrected(told, 1)])
    assert not one.held
    other = fold_log([msgspec.structs.replace(told, label=0)])
    assert (one.positives, one.negatives, one.frontier) == (0, 1, T0 + MINUTE)
    assert one.priors.table.base == other.priors.table.base
    assert one.priors.table.entries() == other.priors.table.entries()
    assert np.array_equal(one.model.classifier.core.weights, other.model.classifier.core.weights)
    # Both are accounted for.
    assert one.updates == 2


def test_of_an_episode_that_waits_in_part_each_example_is_put_right_as_it_stands() -> None:
    episode = [example(n, label=1, time=T0 + MINUTE * n, position=(1, 5, n), left=1 - n, touched=None) for n in (0, 1)]
    episode[1].touched = Touched(["i1"], ["c1"], [], [3])
    refund = [msgspec.structs.replace(corrected(one, 9), position=(0, 9, n)) for n, one in enumerate(episode)]
    # The negative between the two lets the first positive be learned, and not the second.
    between = example(7, label=0, time=T0 + MINUTE // 2, position=(1, 6, 0))
    one = fold_log([*episode, between])
    assert [waiting.event_id for waiting in one.held] == ["e1"]
    fold(one, *refund)
    assert not one.held
    assert (one.positives, one.negatives, one.updates) == (0, 2, 5)
    other = fold_log([*(msgspec.structs.replace(first, label=0) for first in episode), between])
    # The first outcome's time, from which the priors count, is another.
    assert one.priors.table.base == pytest.approx(other.priors.table.base, rel=1e-4)


@pytest.mark.parametrize("fields", [{"previous": 1}, {"previous": 2}, {"previous_time": 5}, {"previous_time": 2**60}])
def test_a_correction_that_cannot_be_is_refused_and_leaves_nothing_behind(fields: dict[str, int]) -> None:
    one = learner()
    warm(one)
    wrong = msgspec.structs.replace(corrected(example(1_000), 5), **fields)
    before = everything(one)
    with pytest.raises(NonFiniteError):
        one.fold(0, one.offsets[0], wrong)
    one.offsets[0] -= 1
    assert everything(one) == before


def test_corrections_go_on_over_a_snapshot_as_without_one() -> None:
    log = examples(400)
    told = [*log, *(corrected(one, n) for n, one in enumerate(log[200:300]))]
    whole = fold_log(told)
    topic, first = SnapshotTopic(), fold_log(told[:450])
    topic.publish(first)
    second = topic.restored()
    fold(second, *told[450:])
    second.version = whole.version
    assert everything(second) == everything(whole)


# ---- the audit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("partitions", "hold_ms"), [(1, 0), (1, 3_600_000), (3, 0)])
def test_a_model_that_was_corrected_is_audited_with_its_corrections_and_one_that_left_one_out_is_found(
    partitions: int, hold_ms: int
) -> None:
    told = examples(400)
    # From 0 to 1 and back, whole and in part, also of what still waits.
    flipped = [corrected(one, n) for n, one in enumerate(told[:20] + told[380:])]
    parted = [
        msgspec.structs.replace(one, touched=msgspec.structs.replace(one.touched, parted=bool(one.label)))
        if one.touched is not None
        else one
        for one in flipped
    ]
    # Its correction lies in the partition of the example.
    order = [*range(400), *((n if n < 20 else n + 360) for n in range(len(parted)))]
    log: list[tuple[int, int, bytes]] = []
    ends = [0] * partitions
    for one, n in zip([*told, *parted], order, strict=True):
        partition = n % partitions
        log.append((partition, ends[partition], msgspec.json.encode(one)))
        ends[partition] += 1
    head, entries = trained(log, hold_ms=hold_ms)
    check, _ = judge(log, head, entries, alone=partitions == 1, hold_ms=hold_ms)
    assert said(check) == ""
    assert check.found == check.expected
    head, entries = trained(log[:-1], hold_ms=hold_ms)
    head.state["offsets"] = [[partition, end] for partition, end in enumerate(ends)]
    check, _ = judge(log, head, entries, alone=partitions == 1, hold_ms=hold_ms)
    assert "examples learned or waiting" in said(check)


# ---- models that never learned what is corrected --------------------------------------------------------------------


def test_a_model_that_joined_later_does_not_unlearn_what_it_never_learned() -> None:
    log = examples(300)
    one, topic = learner("newton"), SnapshotTopic("newton")
    fold(one, *log)
    topic.publish(one)
    again = topic.restored("newton", "blend")
    newcomer, champion = again.contenders["blend"], again.contenders["newton"]
    before = newcomer.export()["classifier"]
    updates = champion.updates
    for n, sold in enumerate([told for told in log if not told.label][:20]):
        again.fold(0, again.offsets[0], corrected(sold, n))
    assert champion.updates > updates
    assert newcomer.updates == 0
    assert repr(newcomer.export()["classifier"]) == repr(before)


def test_corrections_of_what_nobody_here_has_learned_are_left_alone() -> None:
    one = learner()
    for n, told in enumerate(examples(40)):
        fold(one, corrected(told, n))
    assert (one.positives, one.negatives) == (0, 0)
    assert np.abs(one.model.classifier.core.weights[:-1]).max() == 0.0

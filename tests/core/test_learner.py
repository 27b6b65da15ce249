"""The trainer's fold: each example once, positives not before their time, and nothing that could poison the model."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.core import learner as module
from stream_app.core.contender import WARM_NEGATIVES_MIN, WARM_POSITIVES_MIN
from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.learner import LEARNING_SPAN_MS_MAX, Learner
from stream_app.core.model import SCORE_MIN, NonFiniteError
from stream_app.core.records import Keys, Touched
from tests.core.examples import SnapshotTopic, as_json, everything, example, examples, learner
from tests.core.streams import MINUTE, T0
from tests.zoo.material import to_the_bit


def fold(learner: Learner, *found: TypedExample, partition: int = 0) -> None:
    for offset, one in enumerate(found, learner.offsets.get(partition, 0)):
        assert learner.fold(partition, offset, one)


def warm(learner: Learner, *, time: int = T0) -> None:
    """Learn enough of both that the model is believed; all of it before `time`."""
    count = WARM_NEGATIVES_MIN + WARM_POSITIVES_MIN
    fold(learner, *(example(n, label=int(n < WARM_POSITIVES_MIN), time=time - count + n) for n in range(count)))
    # The first positives came before any negative: they were held.
    assert not learner.cold
    assert not learner.held


# ---- each example once ----------------------------------------------------------------------------------------------


def test_an_example_told_again_is_told_by_its_position_and_changes_nothing_but_the_offset() -> None:
    one = learner()
    fold(one, *(example(n) for n in range(3)))
    before = everything(one)
    for offset, again in ((3, example(1)), (4, example(2)), (5, example(0))):
        assert not one.fold(0, offset, again)
    assert (one.updates, one.repeated, one.offsets) == (3, 3, {0: 6})
    one.repeated, one.offsets = 0, {0: 3}
    assert everything(one) == before


def test_positions_are_told_apart_by_kind_partition_and_ordinal() -> None:
    one = learner()
    assert one.fold(0, 0, example(position=(1, 5, 2)))
    assert not one.fold(0, 1, example(position=(1, 5, 2)))
    assert not one.fold(0, 2, example(position=(1, 5, 1)))
    assert one.fold(0, 3, example(position=(1, 5, 3)))
    assert not one.fold(0, 4, example(position=(1, 4, 9)))
    assert one.fold(0, 5, example(position=(0, 5, 2)))
    assert one.fold(0, 6, example(position=(2, T0, 0)))
    assert one.fold(1, 0, example(position=(1, 5, 2)))
    assert (one.updates, one.repeated) == (5, 3)
    assert one.positions == {(0, 1): (5, 3), (0, 0): (5, 2), (0, 2): (T0, 0), (1, 1): (5, 2)}


@pytest.mark.parametrize(
    ("model", "every"), [("newton", 1), ("newton", 7), ("sgd", 1), ("sgd", 7), ("hoeffding_adaptive_tree", 7)]
)
def test_a_learner_restarted_from_its_snapshots_equals_one_that_never_stopped_bit_for_bit(
    model: str, every: int
) -> None:
    stream = examples(240 if every == 1 else 400)
    steady, topic = learner(model), SnapshotTopic(model)
    for offset, one in enumerate(stream):
        steady.fold(0, offset, one)
    restarted = learner(model)
    for offset, one in enumerate(stream):
        if offset % every == 0:
            topic.publish(restarted)
            restarted = topic.restored()
        assert restarted.offsets.get(0, 0) == offset
        restarted.fold(0, offset, one)
    restarted.version = 0
    assert everything(restarted) == everything(steady)
    assert steady.positives > 20
    assert restarted.prequential.since_start() == steady.prequential.since_start()
    assert restarted.prequential.third_event() == steady.prequential.third_event()


def test_examples_since_the_last_snapshot_are_folded_again_and_come_to_the_same() -> None:
    stream = examples(120)
    steady, topic, lost = learner(), SnapshotTopic(), learner()
    fold(steady, *stream)
    fold(lost, *stream[:50])
    topic.publish(lost)
    fold(lost, *stream[50:90])  # learned, and gone with the process
    restarted = topic.restored()
    assert restarted.offsets == {0: 50}
    fold(restarted, *stream[50:])
    restarted.version = 0
    assert everything(restarted) == everything(steady)


def test_held_positives_survive_a_restart() -> None:
    one, topic = learner(), SnapshotTopic()
    fold(one, example(0, time=T0), example(1, label=1, time=T0 + 5), example(2, label=1, time=T0 + 7))
    assert len(one.held) == 2
    topic.publish(one)
    again = topic.restored()
    assert list(again.held) == list(one.held)
    fold(again, example(3, time=T0 + 6))
    assert [held.event_id for held in again.held] == ["e2"]
    assert again.positives == 1


# ---- positives wait for negatives of their age ----------------------------------------------------------------------


def test_while_cold_a_positive_is_learned_when_negatives_of_its_age_have_come() -> None:
    # event time, min:  0   10   20   30          label:  + bought, − not
    #   +10 waits (no negative yet)
    #   −0  learned; frontier 0: +10 waits
    #   +5  waits behind it
    #   −20 learned; frontier 20: +10, +5 learned
    #   +15 at once: the frontier has passed it
    #   +30 waits
    one = learner()
    said: list[tuple[int, int, int]] = []
    for offset, (label, minute) in enumerate([(1, 10), (0, 0), (1, 5), (0, 20), (1, 15), (1, 30)]):
        one.fold(0, offset, example(offset, label=label, time=T0 + minute * MINUTE))
        said.append((one.positives, one.negatives, len(one.held)))
    assert said == [(0, 0, 1), (0, 1, 1), (0, 1, 2), (2, 2, 0), (3, 2, 0), (3, 2, 1)]
    assert one.frontier == T0 + 20 * MINUTE
    assert one.updates == 5


def test_a_held_positive_is_observed_at_once_and_learned_as_if_it_had_come_later() -> None:
    first, later = example(0, label=1, time=T0 + 5), example(1, time=T0 + 5)
    one, other = learner(), learner()
    fold(one, first)
    assert one.prequential.since_start().examples == 1
    assert one.updates == 0
    fold(one, later)
    # Held from the frontier on it is learned after the negative that lets it go.
    fold(other, later, msgspec.structs.replace(first, position=(1, 9, 0)))
    assert to_the_bit(one.model) == to_the_bit(other.model)


def test_once_warm_a_new_positive_is_learned_at_once() -> None:
    one = learner()
    warm(one)
    fold(one, example(1_000, label=1, time=T0 + 60 * MINUTE))
    assert one.positives == WARM_POSITIVES_MIN + 1


def test_a_positive_that_waits_when_the_model_turns_warm_waits_on() -> None:
    one = learner()
    waiting = example(0, label=1, time=T0 + MINUTE)
    fold(one, waiting)
    count = WARM_NEGATIVES_MIN
    fold(one, *(example(1 + n, time=T0 - MINUTE + n) for n in range(count)))
    fold(one, *(example(1 + count + n, label=1, time=T0 - MINUTE) for n in range(WARM_POSITIVES_MIN)))
    # Head of the queue: those behind it wait too, but they were not put into it.
    assert not one.cold
    assert list(one.held) == [waiting]
    fold(one, example(1_000, time=T0 + MINUTE))
    assert not one.held


def test_with_a_hold_time_every_positive_is_learned_at_a_common_age() -> None:
    # hold 30 min. Label times, min: +0 told at 1, clock 1: waits ─ −0 told at 29: waits ─ −1 told at 30: learned
    hold = 30 * MINUTE
    one = learner()
    warm(one, time=T0 - 60 * MINUTE)
    one.hold_ms = hold
    learned = one.positives
    fold(one, example(1_000, label=1, time=T0, label_time=T0 + MINUTE))
    assert len(one.held) == 1
    fold(one, example(1_001, time=T0, label_time=T0 + 29 * MINUTE))
    assert len(one.held) == 1
    fold(one, example(1_002, time=T0 - MINUTE, label_time=T0 + 30 * MINUTE))
    assert (len(one.held), one.positives) == (0, learned + 1)
    # Told late: older than the hold time already.
    fold(one, example(1_003, label=1, time=T0 - 31 * MINUTE, label_time=T0 + 30 * MINUTE))
    assert one.positives == learned + 2


def test_positives_that_wait_are_bounded_and_the_oldest_is_learned_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_MAX", 3)
    one = learner()
    fold(one, *(example(n, label=1, time=T0 + n) for n in range(5)))
    assert [held.event_id for held in one.held] == ["e2", "e3", "e4"]
    assert one.positives == 2


def test_only_the_example_that_closes_an_episode_counts_towards_warmth() -> None:
    one = learner()
    fold(one, example(0), example(1, touched=None), example(2, label=1, touched=None), example(3, label=1))
    assert (one.positives, one.negatives, one.updates) == (1, 1, 4)


def test_cold_until_twenty_have_bought_and_two_hundred_have_not() -> None:
    one = learner()
    fold(one, *(example(n, time=T0) for n in range(WARM_NEGATIVES_MIN)))
    fold(one, *(example(1_000 + n, label=1, time=T0) for n in range(WARM_POSITIVES_MIN - 1)))
    assert one.cold
    fold(one, example(2_000, label=1, time=T0))
    assert not one.cold
    few = learner()
    few.serving.positives, few.serving.negatives = WARM_POSITIVES_MIN, WARM_NEGATIVES_MIN - 1
    assert few.cold


def test_the_base_rate_is_that_of_episodes_smoothed_by_the_assumed_one() -> None:
    # (10 + 100 × 0.03) / (40 + 100): one half-life has not passed, all at one time
    one = learner()
    fold(one, *(example(n, label=int(n >= 30), time=T0) for n in range(40)))
    assert one.base_rate == pytest.approx(13 / 140)


# ---- what could poison the model ------------------------------------------------------------------------------------


def with_feature(value: float, place: int = 4) -> Any:
    values = [0.0] * len(FEATURE_NAMES)
    values[place] = value
    return FeatureValues(*values)


WRONG_TRANSITIONS = ([3], [3, 0], [3, -1], [3, 9], [3, 10**400], [-2, 1], [10**25, 1], [3, 1, 5])

BAD: list[tuple[dict[str, Any], str]] = [
    ({"features": with_feature(math.nan)}, f"feature {FEATURE_NAMES[4]} is not finite"),
    ({"features": with_feature(math.inf, 0)}, f"feature {FEATURE_NAMES[0]} is not finite"),
    ({"features": with_feature(-math.inf, len(FEATURE_NAMES) - 1)}, f"feature {FEATURE_NAMES[-1]} is not finite"),
    ({"features": FeatureValues(*[1e308] * len(FEATURE_NAMES))}, "is not finite"),
    ({"score": 0.0}, "got score 0.0"),
    ({"score": 1.0}, "got score 1.0"),
    ({"score": math.nan}, "got score nan"),
    ({"label": 2}, "got label 2"),
    ({"label": -1}, "got label -1"),
    ({"weight": 0.0}, "weight 0.0"),
    ({"weight": -1.0}, "weight -1.0"),
    ({"weight": math.inf}, "weight inf"),
    ({"weight": math.nan}, "weight nan"),
    ({"label_time": -1}, "got label_time -1"),
    ({"label_time": 10**17}, f"got label_time {10**17}"),
    ({"score": 0.9999999}, "got score 0.9999999"),
    ({"score": 1e-9}, "got score 1e-09"),
    ({"weight": 1.7e308}, "weight 1.7e"),
    ({"weight": 1e-300}, "weight 1e-300"),
    ({"position": (1, 10**25, 0)}, "got position"),
    ({"position": (1, 5, 10**25)}, "got position"),
    ({"position": (3, 5, 0)}, "got position"),
    ({"position": (1, -5, 0)}, "got position"),
    ({"label_time": 10**20}, f"got label_time {10**20}"),
    ({"previous_time": 10**20}, f"previous_time {10**20}"),
    *(({name: 10**25}, f"{name} {10**25}") for name in ("event_time", "events", "model_version", "events_offset")),
    *(({name: 10**25}, f"{name} {10**25}") for name in ("left", "schema")),
    ({"keys": Keys(step=10**400)}, "got keys with step 10"),
    ({"keys": Keys(transition=10**25)}, f"transition {10**25}"),
    *(({"keys": Keys(transitions=wrong)}, "got keys") for wrong in WRONG_TRANSITIONS),
    *(({"touched": Touched(transitions=wrong)}, "got touched") for wrong in WRONG_TRANSITIONS),
    ({"touched": Touched(steps=[3, 10**30])}, "got touched"),
]
BAD_IDS = [f"{n}-{said[:40]}" for n, (_, said) in enumerate(BAD)]
#: Only after others.
TOO_FAR: tuple[dict[str, Any], str] = ({"label_time": T0 + LEARNING_SPAN_MS_MAX + 10**9}, "got label_time")


@pytest.mark.parametrize(("fields", "said"), [*BAD, TOO_FAR], ids=[*BAD_IDS, "too_far"])
def test_an_example_that_cannot_be_learned_is_refused_and_leaves_nothing_but_its_offset(
    fields: dict[str, Any], said: str
) -> None:
    one = learner()
    fold(one, *examples(30))
    before = everything(one)
    with pytest.raises(NonFiniteError, match=said):
        one.fold(0, 30, example(10**9, **fields))
    assert one.offsets == {0: 31}
    one.offsets = {0: 30}
    assert everything(one) == before


@pytest.mark.parametrize("fields", [fields for fields, _ in BAD], ids=BAD_IDS)
def test_an_impossible_example_at_the_very_beginning_does_no_harm_to_those_after_it(fields: dict[str, Any]) -> None:
    one, topic = learner(), SnapshotTopic()
    for offset in range(2):
        with pytest.raises(NonFiniteError):
            one.fold(0, offset, example(10**9, **fields))
    assert one.fold(0, 2, example(0, label=0, keys=Keys(item="i1", transitions=[3, 8, 10**6, 1])))
    topic.publish(one)
    assert everything(topic.restored()) == everything(one)
    assert (one.updates, one.offsets) == (1, {0: 3})


def test_scores_and_weights_at_the_bounds_are_learned_and_published() -> None:
    one, topic = learner(), SnapshotTopic()
    for n, score in enumerate((SCORE_MIN, 1.0 - SCORE_MIN) * 4):
        fold(one, example(n, label=n % 2, score=score, weight=(1e-9, 1e9)[n // 2 % 2], model_version=2**63 - 1))
    assert math.isfinite(one.prequential.recent().log_loss)
    topic.publish(one)
    assert everything(topic.restored()) == everything(one)


def test_a_refused_example_does_not_make_those_after_it_look_repeated() -> None:
    one = learner()
    with pytest.raises(NonFiniteError):
        one.fold(0, 0, example(0, position=(1, 10**15, 0), score=0.0))
    assert one.fold(0, 1, example(1))


def test_outcomes_as_far_apart_as_allowed_leave_priors_finite() -> None:
    one = learner()
    for n in range(1_000):
        one.fold(0, 2 * n, example(2 * n, time=T0))
        one.fold(0, 2 * n + 1, example(2 * n + 1, label=n % 2, time=T0 + LEARNING_SPAN_MS_MAX))
    assert 0.0 < one.base_rate < 1.0
    assert math.isfinite(sum(one.model.priors.table.values(example().keys)))


@pytest.mark.parametrize(
    "damage",
    [
        {"features": {}},
        {"features": None},
        {"label": "1"},
        {"position": [1, 2]},
        {"label_source": "hearsay"},
        {"event_time": 1.5},
        {"touched": {"items": [1]}},
    ],
    ids=str,
)
def test_a_damaged_example_does_not_decode(damage: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({**as_json(example()), **damage}), type=TypedExample)


def test_poisoned_examples_are_observed_and_not_learned() -> None:
    # Learning up to offset 5 of partition 0 made the model non-finite; the last good snapshot is at 2.
    one = learner()
    fold(one, *(example(n) for n in range(2)))
    one.poisoned = {0: 5}
    fold(one, example(2), example(3, label=1, time=T0 - 1), example(4, label=1, time=T0 + 9))
    assert (one.updates, one.positives, len(one.held)) == (2, 0, 0)
    assert one.prequential.since_start().examples == 5
    fold(one, example(5))
    assert one.updates == 3
    assert one.fold(1, 0, example(0))
    assert one.updates == 4
    assert not one.fold(0, 6, example(3))


@pytest.mark.parametrize("model", ["newton", "sgd"])
def test_a_model_that_has_become_non_finite_is_never_exported(model: str) -> None:
    one = learner(model)
    fold(one, *examples(40))
    huge = FeatureValues(*[1e200 if n % 2 else -1e200 for n in range(len(FEATURE_NAMES))])
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(40, 44):
            one.fold(0, n, example(n, label=n % 2, features=huge))
    with pytest.raises(NonFiniteError, match="became non-finite"):
        one.export()


# ---- what is not a snapshot -----------------------------------------------------------------------------------------


def test_a_champion_that_is_in_no_zoo_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"got a damaged snapshot of model 'oracle'"):
        learner("newton").restore({**learner("newton").export(), "model": "oracle"}, {})


def test_one_models_state_under_anothers_name_is_refused_and_changes_nothing() -> None:
    one = learner("newton")
    before = everything(one)
    with pytest.raises(ValueError, match=r"got a snapshot of model and inputs \('sgd'"):
        one.restore({**learner("sgd").export(), "model": "newton"}, {})
    assert everything(one) == before


@pytest.mark.parametrize(
    "damage",
    [
        {"priors": {}},
        {"priors": None},
        {"prequential": {"total": {}}},
        {"updates": None},
        {"episodes": [1, 2]},
        {"clock": [1]},
        {"held": [{"event_id": "e"}]},
        {"offsets": [[1]]},
        {"positions": [[1, 2, 3]]},
        {"serving": {}},
        {"serving": None},
        {"champion": {}},
        {"champion": {"pinned": False, "changed": 1, "changes": [[1, 2]], "commands": {}}},
        {"champion": {"pinned": False, "changed": 0, "changes": [], "commands": None}},
        {"bands": {}},
        {"bands": None},
        {"pending": [[0, [{"event_id": "e"}]]]},
        {"pending": [1]},
    ],
    ids=str,
)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(damage: dict[str, Any]) -> None:
    source, one = learner(), learner()
    fold(source, *examples(60))
    fold(one, *examples(30, seed=9))
    before = everything(one)
    with pytest.raises(ValueError, match=r"snapshot"):
        one.restore({**source.export(), **damage}, {})
    assert everything(one) == before


def test_a_snapshot_that_lacks_a_part_is_refused_and_changes_nothing() -> None:
    source, one = learner(), learner()
    fold(source, *examples(60))
    before = everything(one)
    whole = source.export()
    # The standings are for people to read.
    for name in set(whole) - {"standings"}:
        with pytest.raises(ValueError, match="snapshot"):
            one.restore({key: value for key, value in whole.items() if key != name}, {})
        assert everything(one) == before

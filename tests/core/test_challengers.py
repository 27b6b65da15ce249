"""Several models learn from the same examples: who serves, who takes over, and what a restart keeps of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cache
from itertools import takewhile

import msgspec
import numpy as np
import pytest

from stream_app.core.contender import WARM_NEGATIVES_MIN, WARM_POSITIVES_MIN
from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.learner import Learner
from stream_app.core.records import Keys, Touched
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SnapshotReader
from tests.core.examples import BASE, SECRET, SnapshotTopic, everything, example, learner, rows_of
from tests.core.streams import MINUTE, T0

WINDOW = 1_000

_RANDOM = np.random.default_rng(11)
#: Inputs that tell much the same: what steps along one input at a time are slow to sort out.
_MIX = _RANDOM.normal(0, 1, (6, len(FEATURE_NAMES)))
_TRUTH = np.array([1.2, -0.8, 0.6, 0.0, 0.0, 0.4])


def sessions(count: int, *, seed: int = 1) -> Iterator[TypedExample]:
    """Episodes of one to four examples that come together; a fifth of them end in a checkout."""
    return takewhile(lambda each: int(each.visitor_id[1:]) < count, drawn(seed))


@cache
def drawn(seed: int) -> list[TypedExample]:
    """Of 3,000 episodes: a shorter stream is the beginning of them."""
    return list(drawing(3_000, seed))


def drawing(count: int, seed: int) -> Iterator[TypedExample]:
    random = np.random.default_rng(seed)
    for n in range(count):
        hidden = random.normal(0, 1, 6)
        label = int(random.random() < 1 / (1 + math.exp(1.8 - hidden @ _TRUTH)))
        rows = int(random.integers(1, 5))
        for k in range(rows):
            values = hidden @ _MIX + random.normal(0, 0.3, len(FEATURE_NAMES))
            made = example(
                n,
                label=label,
                time=T0 + n * MINUTE,
                visitor_id=f"v{n}",
                session_id=f"s{n}",
                event_id=f"e{n}-{k}",
                events=k + 1,
                features=FeatureValues(*np.round(values, 4).tolist()),
                keys=Keys(item=f"i{n % 7}", items=[f"i{n % 7}"]),
                weight=1.0 + k,
                position=(1, n, k),
                touched=Touched([f"i{n % 7}"], [], [], [k]) if k == rows - 1 else None,
                left=rows - 1 - k,
            )
            yield msgspec.json.decode(msgspec.json.encode(made), type=TypedExample)


def fold(one: Learner, found: list[TypedExample]) -> None:
    for offset, each in enumerate(found, one.offsets.get(0, 0)):
        one.fold(0, offset, each)


def warm_up(one: Learner) -> None:
    """Enough of both for every model to be believed; too few to compare them."""
    count = WARM_NEGATIVES_MIN + WARM_POSITIVES_MIN
    for n in range(count):
        values = np.round(np.random.default_rng(n).normal(0, 1, len(FEATURE_NAMES)), 4).tolist()
        label = int(n >= WARM_NEGATIVES_MIN)
        one.fold(1, n, example(n, label=label, time=T0 - MINUTE, features=FeatureValues(*values)))
    assert all(contender.warm for contender in one.contenders.values())


# ---- the better one takes over --------------------------------------------------------------------------------------


def test_a_challenger_that_is_truly_better_takes_over_and_stays() -> None:
    one = learner("sgd", "newton", window=WINDOW)
    assert one.model.name == "sgd"
    for offset, each in enumerate(sessions(3_000)):
        one.fold(0, offset, each)
    assert one.model.name == "newton"
    assert one.champion.former == "sgd"
    (change,) = one.champion.changes
    assert (change.former, change.name, change.pinned) == ("sgd", "newton", False)
    assert change.reason.startswith("log-loss 0.")
    assert "standard errors over" in change.reason
    assert 0 < change.updates < one.updates
    assert T0 < change.time <= one.clock
    # What the record says is what the figures say: since then sgd has been compared with newton, and is behind.
    standing = one.contenders["sgd"].standing()
    assert standing.difference > 0
    assert standing.examples > WINDOW / 2


def test_the_one_that_serves_from_the_start_stays_where_it_is_the_better_one() -> None:
    one = learner("newton", "sgd", window=WINDOW)
    fold(one, list(sessions(3_000)))
    assert one.model.name == "newton"
    assert one.champion.changes == []


def test_after_a_change_the_comparison_begins_anew_so_that_nobody_flickers() -> None:
    one = learner("sgd", "newton", window=WINDOW)
    stream = enumerate(sessions(3_000))
    while one.model.name == "sgd":
        one.fold(0, *next(stream))
    changed_at = one.updates
    newton, sgd = one.contenders["newton"], one.contenders["sgd"]
    assert (newton.standing().z, sgd.standing().z) == (0.0, 0.0)
    # From now on sgd foresees every outcome: even so it must wait until half the window is filled again.
    while one.model.name == "newton":
        offset, each = next(stream)
        sgd.predict = lambda rows, label=each.label: _foresee(sgd, len(rows), label)  # type: ignore[method-assign]
        one.fold(0, offset, each)
    assert one.updates - changed_at >= math.log(2) * WINDOW - 8
    assert [change.name for change in one.champion.changes] == ["newton", "sgd"]


def _foresee(contender: object, rows: int, label: int) -> None:
    contender.raw = contender.p = [0.99 if label else 0.01] * rows  # type: ignore[attr-defined]


def test_all_are_compared_on_the_same_rows_before_any_of_them_is_learned() -> None:
    one, topic = learner("sgd", "newton", "bins", window=WINDOW), SnapshotTopic("sgd", "newton", "bins", window=WINDOW)
    stream = list(sessions(400))
    start = next(n for n, each in enumerate(stream) if n > 800 and each.left == 3)
    fold(one, stream[:start])
    topic.publish(one)
    before = topic.restored()
    episode = stream[start : start + 4]
    assert [each.left for each in episode] == [3, 2, 1, 0]
    fold(one, episode[:3])
    assert one.updates == before.updates
    assert one.pending == {0: episode[:3]}
    fold(one, episode[3:])
    assert one.updates == before.updates + 4
    rows = rows_of(before.priors, episode)
    for name, contender in one.contenders.items():
        assert contender.raw == before.contenders[name].model.raw(rows)
        assert len(set(contender.raw)) == 4


def test_an_episode_whose_last_example_never_came_is_learned_when_another_begins() -> None:
    one = learner()
    short = [example(0, position=(1, 5, 0), left=2, touched=None), example(1, position=(1, 5, 1), left=1, touched=None)]
    fold(one, short)
    assert (one.updates, one.pending) == (0, {0: short})
    # Another partition's examples are no part of it, and do not end it.
    one.fold(1, 0, example(2))
    assert (one.updates, one.pending) == (1, {0: short})
    fold(one, [example(3, position=(1, 9, 0), visitor_id="w")])
    assert (one.updates, one.pending) == (4, {})
    assert one.positions[0, 1] == (9, 0)


def test_what_belongs_to_another_outcome_does_not_wait_with_it() -> None:
    first = example(0, position=(1, 5, 0), left=1, touched=None)
    for other in (
        example(1, position=(1, 6, 0)),
        example(1, position=(1, 5, 1), visitor_id="w"),
        example(1, position=(1, 5, 1), session_id="t"),
        example(1, position=(1, 5, 1), label=1),
    ):
        one = learner()
        fold(one, [first])
        fold(one, [other])
        assert one.pending == {}
        assert one.updates + len(one.held) == 2
    one = learner()
    fold(one, [first])
    fold(one, [example(1, position=(1, 5, 1), left=1)])
    assert len(one.pending[0]) == 2


def test_examples_that_wait_for_their_last_one_are_bounded() -> None:
    one = learner()
    fold(one, [example(n, position=(1, 5, n), left=1_000 - n, touched=None) for n in range(23)])
    assert (one.updates, len(one.pending[0])) == (0, 23)
    fold(one, [example(23, position=(1, 5, 23), left=900, touched=None)])
    assert (one.updates, one.pending) == (24, {})


# ---- a person's choice ----------------------------------------------------------------------------------------------


def test_one_chosen_by_hand_stays_whatever_the_others_do_until_log_loss_may_choose_again() -> None:
    one = learner("sgd", "newton", window=WINDOW)
    warm_up(one)
    assert one.promote("sgd", reason="by hand", command="c1") is None
    assert one.champion.pinned
    stream = enumerate(sessions(3_000))
    better = 0
    while better < 50:
        one.fold(0, *next(stream))
        assert one.model.name == "sgd"
        better += one.contenders["newton"].beats_champion(one.serving)
    assert one.promote(None, reason="by hand: log-loss chooses again", command="c2") is None
    assert not one.champion.pinned
    for _ in range(8):
        one.fold(0, *next(stream))
    assert one.model.name == "newton"
    assert [(change.former, change.name, change.pinned) for change in one.champion.changes] == [
        ("sgd", "sgd", True),
        ("sgd", "sgd", False),
        ("sgd", "newton", False),
    ]
    assert one.champion.commands == {"c1": "", "c2": ""}


def test_one_promoted_by_hand_serves_at_once_and_the_former_is_remembered() -> None:
    one = learner("newton", "sgd", window=WINDOW)
    warm_up(one)
    assert one.promote("sgd", reason="by hand", command="c1") is None
    assert one.model is one.contenders["sgd"].model
    assert (one.champion.name, one.champion.former, one.champion.pinned) == ("sgd", "newton", True)
    assert one.contenders["newton"].standing().z == 0.0


@pytest.mark.parametrize("name", ["oracle", "blend", ""])
def test_a_model_that_does_not_learn_is_not_promoted(name: str) -> None:
    one = learner("newton", "sgd")
    warm_up(one)
    refused = one.promote(name, reason="by hand", command="c1")
    assert refused == f"got model {name!r}, which is not learning: expected one of newton, sgd"
    assert one.champion.commands == {"c1": refused}
    assert (one.champion.name, one.champion.pinned, one.champion.changes) == ("newton", False, [])


def test_a_model_that_has_learned_too_little_is_not_promoted() -> None:
    one = learner("newton", "sgd")
    warm_up(one)
    one.contenders["sgd"].positives = 3
    refused = one.promote("sgd", reason="by hand", command="c1")
    assert refused == "model sgd has learned 3 checkouts and 200 other episodes: too few to be believed"
    assert (one.champion.name, one.champion.pinned) == ("newton", False)
    # The one that serves may be kept to, cold or not.
    one.contenders["newton"].positives = 3
    assert one.promote("newton", reason="by hand", command="c2") is None
    assert one.champion.pinned


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_challenger_that_has_become_useless_begins_anew_and_does_not_stop_the_champion() -> None:
    one = learner("newton", "sgd", "bins", window=WINDOW)
    fold(one, list(sessions(600)))
    spoiled = one.contenders["sgd"]
    spoiled.model.classifier["LogisticRegression"]._weights[FEATURE_NAMES[0]] = math.nan
    kept = one.contenders["bins"].standing()
    fold(one, list(sessions(5, seed=3)))
    exported = one.export_challengers()
    assert set(exported) == {"sgd", "bins"}
    assert one.contenders["sgd"] is not spoiled
    assert (one.contenders["sgd"].warm, one.contenders["sgd"].updates) == (False, 0)
    assert exported["sgd"]["learned"] == [0, 0, 0]
    (note,) = one.champion.changes
    assert (note.former, note.name) == ("sgd", "sgd")
    assert note.reason.startswith("model sgd: ")
    assert one.champion.former is None
    assert one.contenders["bins"].standing().name == kept.name
    # The record of it travels with the champion; nobody was held up.
    assert one.export()["champion"]["changes"][0][2:4] == ["sgd", "sgd"]
    fold(one, [example(0, position=(1, 10**6, 0))])
    assert one.contenders["sgd"].updates == 1
    assert set(one.export_challengers()) == {"sgd", "bins"}
    assert len(one.champion.changes) == 1


def test_a_frozen_one_stays_as_it_is_while_the_others_learn() -> None:
    one = learner("newton", "sgd", window=WINDOW)
    fold(one, list(sessions(300)))
    one.freeze("sgd", "learns no more: too large")
    one.freeze("sgd", "again")
    one.freeze("oracle", "nobody")
    frozen = one.contenders["sgd"].model.export()
    learned = one.contenders["sgd"].updates
    more = [msgspec.structs.replace(each, position=(1, 10**6 + n, 0), left=0) for n, each in enumerate(sessions(50))]
    fold(one, more)
    assert one.contenders["sgd"].updates == learned < one.contenders["newton"].updates
    assert one.contenders["sgd"].model.export()["shapes"] == frozen["shapes"]
    assert str(one.contenders["sgd"].model.export()["nodes"]) == str(frozen["nodes"])
    assert [(change.name, change.reason) for change in one.champion.changes] == [("sgd", "learns no more: too large")]


# ---- a restart ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [("newton", "sgd"), ("sgd", "newton", "bins")])
def test_a_restart_at_any_point_changes_not_one_bit_also_in_the_middle_of_an_episode(models: tuple[str, ...]) -> None:
    stream = list(sessions(420))
    steady = learner(*models, window=100)
    fold(steady, stream)
    topic, one, amid = SnapshotTopic(*models, window=100), learner(*models, window=100), 0
    for offset, each in enumerate(stream):
        one.fold(0, offset, each)
        if offset % 3 == 0:
            topic.publish(one)
            one = topic.restored()
            amid += bool(one.pending)
    assert amid > 50
    assert one.champion.changes == steady.champion.changes
    one.version = 0
    assert everything(one) == everything(steady)
    assert one.champion.export() == steady.champion.export()
    assert steady.serving.warm


def test_the_bit_for_bit_comparison_covers_a_change_of_champion_by_log_loss() -> None:
    stream = list(sessions(2_500))
    steady = learner("sgd", "newton", window=1_000)
    fold(steady, stream)
    topic, one = SnapshotTopic("sgd", "newton", window=1_000), learner("sgd", "newton", window=1_000)
    for offset, each in enumerate(stream):
        one.fold(0, offset, each)
        if offset % 151 == 0:
            topic.publish(one)
            one = topic.restored()
    one.version = 0
    assert steady.model.name == "newton"
    assert everything(one) == everything(steady)


def test_other_models_in_the_settings_keep_the_champion_drop_who_is_gone_and_let_newcomers_begin() -> None:
    one, topic = learner("newton", "sgd", "bins", window=WINDOW), SnapshotTopic("newton", "sgd", "bins", window=WINDOW)
    fold(one, list(sessions(600)))
    assert one.promote("sgd", reason="by hand") is None
    topic.publish(one)
    # The settings name newton as the one to begin with, and blend beside it: neither sgd nor bins.
    again = topic.restored("newton", "blend")
    assert list(again.contenders) == ["newton", "blend", "sgd"]
    assert (again.model.name, again.champion.pinned) == ("sgd", True)
    for kept in ("sgd", "newton"):
        assert again.contenders[kept].standing() == one.contenders[kept].standing()
        assert again.contenders[kept].updates == one.contenders[kept].updates
    notes = [(change.name, change.reason) for change in again.champion.changes[1:]]
    assert notes == [("bins", "learns no more: not among the settings' models"), ("blend", "begins to learn")]
    newcomer = again.contenders["blend"]
    assert (newcomer.updates, newcomer.warm, newcomer.standing().examples) == (0, False, 0.0)
    assert again.promote("blend", reason="by hand") is not None
    assert again.promote(None, reason="by hand: log-loss chooses again") is None
    # It is believed only when it has seen enough itself, however much the learner has.
    start = again.offsets[0]
    for offset, each in enumerate(sessions(400, seed=5), start):
        again.fold(0, offset, msgspec.structs.replace(each, position=(1, 10**6 + each.position[1], each.position[2])))
        if not newcomer.warm:
            assert newcomer.standing().examples == 0.0
    assert newcomer.warm
    assert newcomer.standing().examples > 0


def test_a_challenger_that_cannot_go_on_begins_anew_and_takes_nobody_with_it() -> None:
    one = learner("newton", "sgd")
    fold(one, list(sessions(50)))
    challengers = one.export_challengers()
    for damage in ({**challengers["sgd"], "learned": None}, {}, {**challengers["sgd"], "frozen": KeyError}):
        bad = {name: value for name, value in damage.items() if value is not KeyError}
        other = learner("newton", "sgd")
        other.restore(one.export(), {"sgd": bad})
        assert (other.updates, other.serving.updates) == (one.updates, one.serving.updates)
        assert other.contenders["sgd"].updates == 0
        assert other.contenders["sgd"].joined == one.clock
        (note,) = [change for change in other.champion.changes if change.name == "sgd"]
        assert note.reason.startswith("begins anew")


# ---- scorers follow -------------------------------------------------------------------------------------------------


def test_scorers_serve_whatever_model_the_trainer_has_made_champion_number_by_number() -> None:
    one = learner("sgd", "newton", window=WINDOW)
    topic, reader = SnapshotTopic("sgd", "newton"), SnapshotReader(secret=SECRET)
    # The setting of a scorer says nothing of who serves once a head has come.
    scorer = ServingModel("bins", base_rate=BASE)
    x = np.round(np.random.default_rng(3).normal(0, 1, (20, len(FEATURE_NAMES))), 4)
    keys = [Keys(item=f"i{n % 7}", items=[f"i{n % 7}"]) for n in range(20)]
    names = []
    for offset, each in enumerate(sessions(1_500)):
        one.fold(0, offset, each)
        if offset % 200:
            continue
        for record in topic.publish(one):
            if (found := reader.read(*record)) is not None:
                scorer.take(found.head, found.entries)
        names.append(scorer.name)
        assert scorer.name == one.model.name
        if not one.cold:
            assert scorer.score_many(x, keys).tolist() == one.model.score_many(x, keys).tolist()
    assert names == sorted(names, reverse=True)
    assert set(names) == {"sgd", "newton"}
    assert copy.copy(scorer.version) == one.version

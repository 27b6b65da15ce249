"""Each kind of violation, planted into a run that is clean, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_app.core import state
from stream_app.core.batch import BY_LABEL
from stream_app.core.processor import Rules
from tests.audit.trial import Run
from tests.core.streams import DAY, MINUTE, RULES, Record, event, label


def finished_run(**how: Any) -> Run:
    """A purchase, a label, a duplicate, a broken record, sessions ended by events and by the clock, two still open."""
    run = Run(**how)
    first = [event(n, visitor, "view_item", n / 10, item_id=f"i{n}") for n, visitor in enumerate("abcdeabc")]
    run.step([*first, Record("events", 8, 0, b"a", b"broken"), first[0]._replace(offset=9)])
    run.step([event(10, "a", "purchase", 2, order_id="o1", price=5.0)], [label(0, "b", 1, "o2")])
    run.step([event(11, "d", "view_item", 40), event(12, "e", "view_item", 40.5), event(13, "c", "view_item", 80)])
    run.step(idle_ms=DAY)
    run.step([event(14, "a", "view_item", DAY / MINUTE + 100), event(15, "b", "search", DAY / MINUTE + 100)])
    return run


def told(run: Run, **how: Any) -> set[tuple[str, str]]:
    """(check, kind) of what is found."""
    return {(violation.check, violation.kind) for violation in run.violations(**how)}


def rewrite(run: Run, topic: str, n: int, **changes: Any) -> None:
    """Change fields of a written record."""
    key, value = run.topics[topic][n]
    run.topics[topic][n] = key, msgspec.json.encode({**json.loads(value), **changes})


def first_where(run: Run, topic: str, **fields: Any) -> int:
    """The first record of a topic with these values."""
    for n, (_, value) in enumerate(run.topics[topic]):
        record = json.loads(value)
        if all(record[name] == wanted for name, wanted in fields.items()):
            return n
    raise AssertionError(f"no {topic} with {fields}")


def test_the_run_itself_is_clean_and_has_a_bit_of_everything() -> None:
    run = finished_run()
    checks = {check.name: check for check in run.judge()}
    assert told(run) == set()
    assert {name: check.found for name, check in checks.items()} == {
        "features": 14, "scores": 14, "order": 14, "closed sessions": 8, "examples": 12, "dead letters": 1,
        "states": 5, "view": 5, "position": 7,
    }  # fmt: skip
    assert {json.loads(value)["position"][0] for _, value in run.topics["closed"]} == {1, 2}
    assert {json.loads(value)["position"][0] for _, value in run.topics["examples"]} == {BY_LABEL, 1, 2}


def lose_event(run: Run) -> None:
    del run.topics["features"][3], run.topics["scores"][3]


def double_score(run: Run) -> None:
    run.topics["scores"].append(run.topics["scores"][2])


def double_example(run: Run) -> None:
    run.topics["examples"].append(run.topics["examples"][0])


def wrong_feature(run: Run) -> None:
    features = json.loads(run.topics["features"][5][1])["features"]
    rewrite(run, "features", 5, features={**features, "events": features["events"] + 0.0001})


def wrong_key(run: Run) -> None:
    run.topics["scores"][0] = b"somebody else", run.topics["scores"][0][1]


def lost_closed(run: Run) -> None:
    del run.topics["closed"][0]


def closed_twice(run: Run) -> None:
    run.topics["closed"].append(run.topics["closed"][0])


def closed_too_early(run: Run) -> None:
    n = first_where(run, "closed", visitor_id="d", position=[1, 13])
    rewrite(run, "closed", n, position=[1, 12], next_offset=13)


def wrong_spend(run: Run) -> None:
    rewrite(run, "closed", first_where(run, "closed", visitor_id="a"), spend=6.0)


def lost_example(run: Run) -> None:
    del run.topics["examples"][0]


def wrong_label(run: Run) -> None:
    n = first_where(run, "examples", label_source="session_end")
    rewrite(run, "examples", n, label=1)


def wrong_position(run: Run) -> None:
    n = first_where(run, "examples", label_source="label")
    position = json.loads(run.topics["examples"][n][1])["position"]
    rewrite(run, "examples", n, position=[position[0], position[1] + 1, position[2]])


def lost_at_once(run: Run) -> None:
    del run.topics["examples"][first_where(run, "examples", event_id="e1")]


def lost_all_at_once(run: Run) -> None:
    run.topics["examples"] = [
        (key, value) for key, value in run.topics["examples"] if json.loads(value)["position"][0] != BY_LABEL
    ]


def doubled_at_once(run: Run) -> None:
    run.topics["examples"].append(run.topics["examples"][first_where(run, "examples", event_id="e6")])


def wrong_label_at_once(run: Run) -> None:
    rewrite(run, "examples", first_where(run, "examples", event_id="e1"), label=0)


def at_once_elsewhere(run: Run) -> None:
    rewrite(run, "examples", first_where(run, "examples", event_id="e1"), events_offset=1)


def at_once_without_a_label(run: Run) -> None:
    n = first_where(run, "examples", event_id="e3", label=0)
    rewrite(run, "examples", n, label=1, label_source="label", position=[BY_LABEL, 7, 0], events_offset=3)


def score_never_served(run: Run) -> None:
    rewrite(run, "examples", 0, score=0.123)


def out_of_order(run: Run) -> None:
    scores = run.topics["scores"]
    scores[0], scores[5] = scores[5], scores[0]


def score_of_a_duplicate(run: Run) -> None:
    rewrite(run, "scores", 0, events=2)
    run.topics["scores"].append(finished_run().topics["scores"][0])


def watermark_goes_back(run: Run) -> None:
    rewrite(run, "scores", 13, watermark=json.loads(run.topics["scores"][13][1])["watermark"] - 1)


def lost_letter(run: Run) -> None:
    run.letters.clear()


def letter_of_nothing(run: Run) -> None:
    run.letters.append((("events", 3), 1))


def not_ours(run: Run) -> None:
    run.topics["examples"].append((b"a", b"[1, 2]"))


def state_lost(run: Run) -> None:
    run.topics["changelog"] = [entry for entry in run.topics["changelog"] if entry[0] != b"d"]
    del run.view["d"]


def state_wrong(run: Run) -> None:
    last = max(n for n, (key, _) in enumerate(run.topics["changelog"]) if key == b"a")
    key, blob = run.topics["changelog"][last]
    visitor = state.decode(blob)
    visitor.history.purchases += 1
    run.topics["changelog"][last] = key, state.encode(visitor)
    run.view["a"] = state.encode(visitor)


def state_of_nobody(run: Run) -> None:
    run.topics["changelog"].append((b"nobody", state.encode(state.Visitor())))
    run.view["nobody"] = state.encode(state.Visitor())


def view_changed(run: Run) -> None:
    run.view["a"] = run.view["b"]


def view_lost(run: Run) -> None:
    run.view["c"] = None


def view_of_nobody(run: Run) -> None:
    run.view["nobody"] = b"x"


def deadline_lost(run: Run) -> None:
    del run.partition.deadlines["a"]


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lose_event, {("features", "missing"), ("scores", "missing")}),
        (double_score, {("scores", "doubled")}),
        (double_example, {("examples", "doubled")}),
        (wrong_feature, {("features", "differs")}),
        (wrong_key, {("scores", "differs")}),
        (lost_closed, {("closed sessions", "missing")}),
        (closed_twice, {("closed sessions", "doubled")}),
        (closed_too_early, {("closed sessions", "differs")}),
        (wrong_spend, {("closed sessions", "differs")}),
        (lost_example, {("examples", "missing")}),
        (wrong_label, {("examples", "differs")}),
        (wrong_position, {("examples", "differs")}),
        (lost_at_once, {("examples", "missing")}),
        (lost_all_at_once, {("examples", "missing")}),
        (doubled_at_once, {("examples", "doubled")}),
        (wrong_label_at_once, {("examples", "differs")}),
        (at_once_elsewhere, {("examples", "differs")}),
        (at_once_without_a_label, {("examples", "differs")}),
        (score_never_served, {("examples", "differs")}),
        (out_of_order, {("order", "out_of_order")}),
        (score_of_a_duplicate, {("scores", "differs"), ("order", "out_of_order")}),
        (watermark_goes_back, {("scores", "differs")}),
        (lost_letter, {("dead letters", "missing")}),
        (letter_of_nothing, {("dead letters", "unexpected")}),
        (not_ours, {("examples", "unreadable")}),
        (state_lost, {("states", "missing")}),
        (state_wrong, {("states", "differs")}),
        (state_of_nobody, {("states", "unexpected")}),
        (view_changed, {("view", "differs")}),
        (view_lost, {("view", "missing")}),
        (view_of_nobody, {("view", "unexpected")}),
        (deadline_lost, {("view", "differs")}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_violation_is_found_and_named(plant: Callable[[Run], None], found: set[tuple[str, str]]) -> None:
    run = finished_run()
    plant(run)
    assert told(run) == found


def test_a_violation_says_where_whose_what_was_expected_and_what_was_got() -> None:
    run = finished_run()
    rewrite(run, "scores", 1, session_id="another")
    (violation,) = run.violations()
    assert (violation.topic, violation.partition, violation.offset, violation.event_id) == ("scores", 3, 1, "e1")
    assert '"session_id":"b@1700000006000"' in violation.expected
    assert str(violation).startswith("scores: differs at scores-3 offset 1 event e1: expected {")


def test_repetitions_may_be_at_least_once_if_they_say_the_same() -> None:
    run = finished_run(exactly_once=False)
    run.topics["features"].append(run.topics["features"][4])
    again = json.loads(run.topics["scores"][4][1])
    run.topics["scores"].append((run.topics["scores"][4][0], msgspec.json.encode({**again, "score": 0.5})))
    checks = {check.name: check for check in run.judge()}
    assert told(run) == set()
    assert (checks["features"].repeated, checks["scores"].repeated) == (1, 1)
    rewrite(run, "features", 14, events=77)
    assert told(run) == {("features", "differs")}


def test_what_was_written_ahead_of_the_commit_is_told_at_least_once_and_a_violation_exactly_once() -> None:
    run = finished_run(exactly_once=False)
    before = run.partition.position
    run.step([event(16, "c", "view_item", DAY / MINUTE + 101)], [label(1, "b", DAY / MINUTE + 101, "o9")])
    run.partition.position = before
    checks = {check.name: check for check in run.judge()}
    assert told(run) == set()
    assert [checks[name].ahead for name in ("features", "scores", "examples", "states")] == [1, 1, 1, 2]
    run.exactly_once = True
    assert told(run) == {("features", "unexpected"), ("scores", "unexpected"), ("examples", "unexpected")}


def test_outputs_that_retention_deleted_are_gone_and_not_missing_but_later_ones_are() -> None:
    run = finished_run()
    del run.topics["features"][:4]
    starts = {"features": 4}
    (features,) = [check for check in run.judge(starts=starts) if check.name == "features"]
    assert (features.gone, features.found, features.violations) == (4, 10, 0)
    del run.topics["features"][3]
    assert told(run, starts=starts) == {("features", "missing")}


def test_a_view_that_is_not_where_the_commit_is_is_told() -> None:
    run = finished_run()
    view_lags = msgspec.structs.replace(run.partition.position, seq=run.partition.position.seq + 1)
    assert told(run, committed=view_lags) == {("position", "differs")}
    # A worker that has taken over and found nothing to do has moved the view's on.
    taken_over = msgspec.structs.replace(run.partition.position, seq=1)
    assert told(run, committed=taken_over) == set()


def test_other_settings_than_the_workers_show() -> None:
    run = finished_run()
    run.rules = Rules(**{name: getattr(RULES, name) for name in RULES.__dataclass_fields__} | {"gap_ms": MINUTE})
    assert ("closed sessions", "missing") in told(run)


def test_a_violation_is_counted_however_many_there_are() -> None:
    run = finished_run()
    run.topics["scores"].clear()
    (scores,) = [check for check in run.judge() if check.name == "scores"]
    assert (scores.violations, len(scores.spelled)) == (14, 5)

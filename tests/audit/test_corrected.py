"""Corrections on trial: late labels and orders taken back are audited like what they correct."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.audit.trial import Run
from tests.core.streams import DAY, Record, crowd, event, label


def late_run() -> Run:
    """A session that is over, told late in part, then taken back; a purchase taken back while its session is open."""
    run = Run()
    run.step([event(n, "a", "view_item", n, item_id=f"i{n}") for n in range(3)])
    run.step([event(3, "b", "view_item", 80, item_id="i1"), event(4, "b", "purchase", 81, order_id="o2")])
    run.step(crowd(5, 90))
    run.step(labels=[label(0, "a", 1, "o1"), label(1, "b", 81, "o2", kind="cancel")])
    run.step([event(8, "a", "view_item", 91)])
    run.step(labels=[label(2, "a", 1, "o1", kind="refund"), label(3, "a", 1, "o1")])
    run.step(idle_ms=DAY)
    return run


def corrections(run: Run) -> list[int]:
    return [n for n, (_, value) in enumerate(run.topics["examples"]) if msgspec.json.decode(value)["previous"] >= 0]


def test_a_run_with_corrections_is_clean_and_each_is_expected() -> None:
    run = late_run()
    assert [str(violation) for violation in run.violations()] == []
    told = [msgspec.json.decode(run.topics["examples"][n][1]) for n in corrections(run)]
    assert [(one["event_id"], one["previous"], one["label"]) for one in told] == [
        ("e0", 0, 1), ("e1", 0, 1), ("e3", 1, 0), ("e0", 1, 0), ("e1", 1, 0),
    ]  # fmt: skip
    (checked,) = [check for check in run.judge() if check.name == "examples"]
    assert checked.expected == checked.found == len(run.topics["examples"])


@pytest.mark.parametrize(
    ("which", "fields", "check"),
    [
        pytest.param(0, {"label": 0}, "examples", id="to the label it had"),
        pytest.param(1, {"previous": 1}, "examples", id="from a label that was never taught"),
        pytest.param(2, {"previous_time": 5}, "examples", id="of another time"),
        pytest.param(3, {"score": 0.9}, "examples", id="with a score that was not served"),
        pytest.param(4, {"weight": 9.0}, "examples", id="with another weight"),
    ],
)
def test_a_correction_that_says_something_else_is_found(which: int, fields: dict[str, Any], check: str) -> None:
    run = late_run()
    place = corrections(run)[which]
    key, value = run.topics["examples"][place]
    run.topics["examples"][place] = (key, msgspec.json.encode({**msgspec.json.decode(value), **fields}))
    assert check in {violation.check for violation in run.violations()}


@pytest.mark.parametrize("which", range(5))
def test_a_correction_that_was_lost_or_told_twice_is_found(which: int) -> None:
    run = late_run()
    place = corrections(run)[which]
    run.topics["examples"].insert(place, run.topics["examples"][place])
    assert {(violation.check, violation.kind) for violation in run.violations()} == {("examples", "doubled")}
    run = late_run()
    del run.topics["examples"][place]
    # Where it was all that its label corrected, the state says that something was.
    assert {violation.check for violation in run.violations()} <= {"examples", "states"}
    assert run.violations()


def test_a_label_that_is_said_to_have_corrected_what_was_forgotten_is_found() -> None:
    run = Run()
    stream: list[Record] = [event(0, "a", "view_item", 0), *crowd(1, 90)]
    run.step(stream)
    run.step(labels=[label(0, "a", 1, "o1")])
    told = run.topics["examples"][-1]
    late = Run()
    late.step(stream)
    late.step([event(4, "a", "view_item", 3_000), *crowd(5, 3_000)])
    late.step(labels=[label(0, "a", 1, "o1")])
    assert late.violations() == []
    late.topics["examples"].append(told)
    # What it says is what the fold would say; that it was not so is told by the state.
    assert {violation.check for violation in late.violations()} == {"states"}

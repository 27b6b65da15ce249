"""What the process says of itself is what its components say at that moment."""

from __future__ import annotations

import pytest

from stream_app.web.health import Answer, Health


def test_a_process_without_components_is_alive_and_not_ready() -> None:
    health = Health()
    assert health.alive() == (True, {})
    assert health.ready() == (False, {})


def test_one_component_that_is_not_ready_makes_the_process_not_ready_and_says_why() -> None:
    health = Health()
    states = {"worker": (True, "4 partitions"), "trainer": (False, "restoring")}
    for name in states:
        health.register(name, ready=lambda name=name: states[name])  # type: ignore[misc]
    ready, words = health.ready()
    assert not ready
    assert words == {"worker": {"ok": True, "is": "4 partitions"}, "trainer": {"ok": False, "is": "restoring"}}
    states["trainer"] = (True, "learning")
    assert health.ready()[0]


def test_liveness_asks_only_those_who_registered_for_it() -> None:
    health = Health()
    health.register("worker", ready=lambda: (False, "restoring"), alive=lambda: (True, "the loop turns"))
    health.register("web", ready=lambda: (True, "listening"))
    assert health.alive() == (True, {"worker": {"ok": True, "is": "the loop turns"}})


def test_a_component_that_cannot_answer_is_not_well_and_does_not_silence_the_others() -> None:
    def broken() -> Answer:
        raise RuntimeError("no loop")

    health = Health()
    health.register("broken", ready=broken)
    health.register("fine", ready=lambda: (True, "yes"))
    ready, words = health.ready()
    assert not ready
    assert words["broken"] == {"ok": False, "is": "could not be asked: RuntimeError: no loop"}
    assert words["fine"]["ok"] is True


def test_a_name_is_registered_once() -> None:
    health = Health()
    health.register("worker", ready=lambda: (True, ""))
    with pytest.raises(ValueError, match="registered already"):
        health.register("worker", ready=lambda: (True, ""))

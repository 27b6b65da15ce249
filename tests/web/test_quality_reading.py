"""When the newest snapshot is looked at: now and then, and at once when an alarm of drift was heard of."""

from __future__ import annotations

import pytest

from stream_app.audit_reading import NotPossibleError
from stream_app.settings import Settings, load
from stream_app.web import quality_reading
from stream_app.web.quality_reading import QualityReading


async def test_an_alarm_that_was_not_heard_of_before_is_looked_into_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def read_models(settings: Settings) -> None:
        nonlocal looks
        looks += 1
        raise NotPossibleError(f"look {looks}")

    monkeypatch.setattr(quality_reading, "read_models", read_models)
    reading = QualityReading(load(flags={}), None)
    for now, alarm, looked in [(0, None, 1), (5, None, 1), (6, "first", 2), (7, "first", 2), (8, "second", 3)]:
        await reading.refresh(float(now), alarm=alarm)
        assert (looks, reading.problem) == (looked, f"look {looked}")
    await reading.refresh(100.0, alarm="second")
    assert looks == 4

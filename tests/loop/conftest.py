"""The loops' pauses are milliseconds here: what is tested is what they do after them."""

import pytest

from stream_app import partition


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(partition, "BACKOFF_S_MAX", 0.004)

"""Every test runs with both guarantees. Pauses are milliseconds: what is tested is what the loops do after them."""

import pytest

from stream_app import behind, partition
from tests.loop.shop import Shop


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "DOUBT_S", 0.0)
    for module in (partition, behind):
        monkeypatch.setattr(module, "BACKOFF_S_MIN", 0.001)
        monkeypatch.setattr(module, "BACKOFF_S_MAX", 0.004)


@pytest.fixture(params=["at_least_once", "exactly_once"], autouse=True)
def guarantee(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Shop, "exactly_once", request.param == "exactly_once")
    return str(request.param)

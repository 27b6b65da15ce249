"""One registry for all tests here: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import skip_or_fail
from tests.support.registry import RealRegistry
from tests.support.unavailable import UnavailableError


@pytest.fixture(scope="session")
def registry() -> Iterator[RealRegistry]:
    """May be killed, if it is started again: subjects are of one test alone."""
    real = RealRegistry()
    try:
        real.start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    yield real
    real.stop()

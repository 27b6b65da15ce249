"""A Prometheus for tests: `prometheus` makes one that scrapes the target files of a directory.

def test_something(prometheus: Callable[..., RealPrometheus], tmp_path: Path) -> None:
    scraping = prometheus(tmp_path)                       # running, 1 s intervals, our rules with `for` cut to 2 s
    … processes with web_targets_dir=tmp_path write their target files there, or `write_target(tmp_path, port)` …
    scraping.until("a target", lambda: any(scraping.up().values()), seconds=20)
    assert scraping.query('sum(rate(intent_scores_total[10s]))')
    assert "ScoringStalled" not in scraping.firing()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.ops.prometheus import RealPrometheus
from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Callable[..., RealPrometheus]]:
    """Start a real Prometheus on a directory of target files (and `RealPrometheus`' options); all end with the module.

    Skips where prometheus is not installed, but fails in CI.
    """
    with ExitStack() as stack:

        def start(targets: Path, **options: Any) -> RealPrometheus:
            try:
                return stack.enter_context(RealPrometheus(targets, **options))
            except UnavailableError as reason:
                skip_or_fail(reason)

        yield start

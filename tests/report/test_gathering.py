"""One pass over everything: the same however the events are cut, and kinds of journeys that were planted are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from stream_app.analytics.block import Block
from stream_app.analytics.journeys.agreement import adjusted_rand
from stream_app.analytics.journeys.held_back import HeldBack
from stream_app.analytics.journeys.page_rules import PageRules
from stream_app.core.events import Event
from stream_app.report.figures.figures import Figures, Setting, make_figures
from stream_app.report.figures.quality import Quality
from stream_app.report.figures.reading import Reading
from stream_app.report.gathering import Gathering
from tests.analytics.small import GAP, MINUTE, block, blocks, histories, unhurried
from tests.analytics.test_journeys import planted

SETTING = Setting(files=[], format="", session_gap_s=1800.0, grace_s=60.0, utc_offset_minutes=0, page_rules=0)
QUALITY = Quality(events_max=0, events=0, whole=False, refused=None, report=None)


def figures_of(parts: list[Block]) -> Figures:
    gathered = Gathering(gap_ms=GAP, grace_ms=MINUTE, utc_offset_ms=0, rules=PageRules([]))
    for part in parts:
        gathered.add(part)
    gathered.close()
    return make_figures(gathered, Reading({}, late=0, sorted_first=False), SETTING, QUALITY)


@unhurried
@given(histories(events_max=19))
def test_however_the_events_are_cut_the_figures_are_the_same(history: tuple[list[Event], list[int]]) -> None:
    events, cuts = history
    whole, pieces = figures_of([block(events)]), figures_of(blocks(events, cuts))
    # Kinds are learned batch by batch; so few events have none.
    assert whole.journeys.kinds is pieces.journeys.kinds is None
    for part in ("data", "funnels", "purchase_time", "sources", "journeys"):
        assert getattr(pieces, part) == getattr(whole, part), part
    # Sums of floats in another order: equal but for their last digits.
    for one, other in zip(pieces.correlations.matrix, whole.correlations.matrix, strict=True):
        assert [value is None for value in one] == [value is None for value in other]
        assert [value or 0.0 for value in one] == pytest.approx([value or 0.0 for value in other], abs=2e-6)


def test_planted_kinds_of_journeys_are_found_in_one_pass() -> None:
    rows, types = planted(3_000, seed=5)
    journeys = HeldBack(seed=0, held_max=1_000)
    for part in np.array_split(np.arange(len(rows)), 12):
        journeys.add(rows.take(part))
    journeys.close()
    assert journeys.clusters is not None
    assert journeys.clusters.k == 4
    some = rows.steps > 0
    agreement = adjusted_rand(journeys.clusters.assign(rows.take(some)), types[some])
    print(f"adjusted Rand index {agreement:.3f}")
    assert agreement > 0.95
    # Those that were held back are counted as well, once each.
    assert sum(cluster.sessions for cluster in journeys.clusters.clusters()) == some.sum()


def test_what_is_held_back_for_too_few_sessions_is_never_begun() -> None:
    rows, _ = planted(10, seed=1)
    journeys = HeldBack(seed=0)
    journeys.add(rows)
    journeys.close()
    assert journeys.clusters is None
    with pytest.raises(ValueError, match="at least 20"):
        HeldBack(seed=0, held_max=10)

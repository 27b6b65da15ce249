"""Where visitors come from, and what they do: actions by source and category, and whether the sources differ.

A session has the source that its first event with one names, and the category that it touched last. Counts are of
events. The test is of sessions, each of which did a thing or did not: the events of one session hang together, and a
test that took them as independent would find a difference in anything.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.contingency import Association, association
from stream_app.analytics.heavy import Heavy
from stream_app.analytics.intervals import share, wilson
from stream_app.analytics.sessions import ACTIONS, SessionRows
from stream_app.analytics.table import Floats, Integers

#: Pairs of source and category kept; campaigns' tags may be new with each visit.
PAIRS_MAX: Final = 4_096

#: Sources with fewer sessions are left out of the test: nothing can be said of them.
TESTED_FROM: Final = 30

#: Between the two names of a pair: no text of a shop has it.
_BETWEEN: Final = "\x1f"

# Columns of the counts: sessions, events by action, sessions with that action.
_EVENTS: Final = slice(1, 1 + len(ACTIONS))
_DID: Final = slice(1 + len(ACTIONS), 1 + 2 * len(ACTIONS))


class SourceActions(NamedTuple):
    """Of one source, in one category or all; arrays by `ACTIONS`.

    `shares` are of the source's actions. `did`: sessions with the action, `reached` their share with its interval.
    """

    source: str
    sessions: int
    events: Integers
    shares: Floats
    did: Integers
    reached: Floats
    low: Floats
    high: Floats


class Difference(NamedTuple):
    """Whether the share of sessions with an action differs between sources.

    `adjusted` is the probability after Holm's correction (1979) for the number of actions.
    """

    action: str
    association: Association
    adjusted: float


class Sources:
    """Counts sessions that are over."""

    def __init__(self, *, pairs_max: int = PAIRS_MAX) -> None:
        self._pairs = Heavy(kept_max=pairs_max, columns=1 + 2 * len(ACTIONS))

    def add(self, rows: SessionRows) -> None:
        """Take in sessions, each once."""
        if len(rows):
            counts = np.column_stack([np.ones(len(rows), np.int64), rows.actions, rows.actions > 0])
            self._pairs.add(rows.source + _BETWEEN + rows.category, counts)

    def merge(self, other: Sources) -> None:
        """Take in what another has counted."""
        self._pairs.merge(other._pairs)

    @property
    def missed(self) -> int:
        """How many sessions of a pair may not be counted; 0 as long as all pairs are kept."""
        return self._pairs.missed

    def categories(self) -> list[str]:
        """Most sessions first."""
        return list(self._grouped(1))

    def actions(self, category: str | None = None) -> list[SourceActions]:
        """By source, most sessions first; of a category, or of all."""
        return [_actions(source, counts) for source, counts in self._grouped(0, category).items()]

    def differences(self, category: str | None = None) -> list[Difference]:
        """One test for each action that some sessions did and some did not, between sources with enough sessions."""
        found = [told for told in self.actions(category) if told.sessions >= TESTED_FROM]
        if not found:
            return []
        tests = []
        for n, action in enumerate(ACTIONS):
            did = np.array([told.did[n] for told in found])
            told = association(np.stack([did, np.array([told.sessions for told in found]) - did], axis=1))
            if told is not None:
                tests.append((action, told))
        return _adjusted(tests)

    def _grouped(self, part: int, category: str | None = None) -> dict[str, Integers]:
        """Counts by source (part 0) or category (1), most sessions first."""
        names, counts = self._pairs.largest()
        grouped: dict[str, Integers] = {}
        for name, row in zip(names, counts, strict=True):
            pair = name.split(_BETWEEN)
            if category is None or pair[1] == category:
                grouped[pair[part]] = grouped.get(pair[part], 0) + row
        return dict(sorted(grouped.items(), key=lambda item: (-int(item[1][0]), item[0])))


def _actions(source: str, counts: Integers) -> SourceActions:
    events, did = counts[_EVENTS], counts[_DID]
    of = np.full(len(did), counts[0])
    return SourceActions(
        source,
        int(counts[0]),
        events,
        share(events, np.full(len(events), events.sum())),
        did,
        share(did, of),
        *wilson(did, of),
    )


def _adjusted(tests: list[tuple[str, Association]]) -> list[Difference]:
    """By rising probability, each times the number of tests not yet passed, and none below the one before it."""
    found: list[Difference] = []
    for n, (action, told) in enumerate(sorted(tests, key=lambda test: (test[1].probability, -test[1].chi_squared))):
        least = found[-1].adjusted if found else 0.0
        found.append(Difference(action, told, min(1.0, max(least, told.probability * (len(tests) - n)))))
    return found

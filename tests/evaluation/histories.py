"""Histories of a test: a made-up shop's events as a file, and what a pass over it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from producers.formats import FORMATS
from producers.history_files import HistoryFile
from stream_app.core.codec import encode
from stream_app.core.events import Event
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.grid import Variant
from stream_app.evaluation.history import History
from stream_app.evaluation.question import Question
from stream_app.evaluation.report import Report, make_report
from stream_app.evaluation.run import Pass, Results
from stream_app.evaluation.target import Target
from tests.core.streams import MINUTE, RULES, T0

DAY = 24 * 60 * MINUTE
#: Later than any event of a test.
NOW = T0 + 400 * DAY

RULES_HERE = replace(RULES, cache_visitors_max=50)


def question(**changes: Any) -> Question:
    """Newton alone, quick to answer."""
    asked: dict[str, Any] = {
        "online": ("newton",), "batch": (), "rules": RULES_HERE, "base_rate": 0.1, "folds": 2, "freshness_ms": 60_000,
    }  # fmt: skip
    asked |= changes
    for kind in ("online", "batch"):
        asked[kind] = tuple(Variant(entry, entry) if isinstance(entry, str) else entry for entry in asked[kind])
    return Question(**asked)


def shop(visits: int, *, seed: int = 5, per_hour: float = 60.0) -> list[Event]:
    """Visitors who look at items and sometimes buy; item 1 sells well, item 9 not at all. In the order of time."""
    random = np.random.default_rng(seed)
    events = []
    for visit in range(visits):
        time = visit * 60 / per_hour
        item = int(random.integers(0, 10))
        for n in range(1 + int(random.geometric(0.35))):
            time += float(random.exponential(1.5))
            events.append(event(visit, n, "view_item", time, item))
            if random.random() < 0.02 + 0.12 * (item == 1):
                events.append(event(visit, 1000 + n, "purchase", time + 0.5, item))
                break
            if random.random() < 0.3:
                item = int(random.integers(0, 10))
    return sorted(events, key=lambda e: e.event_time)  # type: ignore[arg-type, return-value]


def event(visit: int, n: int, event_type: str, minutes: float, item: int, **fields: Any) -> Event:
    return Event(
        f"{visit}.{n}", event_type, T0 + round(minutes * MINUTE), f"v{visit % 4000}", item_id=f"i{item}",
        category=f"c{item % 3}", brand=f"b{item % 4}", **fields,
    )  # type: ignore[arg-type]  # fmt: skip


def written(events: Iterable[Event], path: Path) -> Path:
    """A file of the canonical format."""
    path.write_bytes(b"".join(encode(one) + b"\n" for one in events))
    return path


@dataclass
class Passed:
    """A pass that is over: its rows in memory, and the report."""

    results: Results
    rows: Chunk
    report: Report

    def p(self, name: str = "newton") -> Any:
        return self.rows["p"][:, self.results.contenders.index(name)]


def history_of(paths: Sequence[Path], scratch: Path, *, target: Target = "purchase") -> History:
    files = [HistoryFile(path, path.name, FORMATS["canonical"]) for path in paths]
    return History(files, now_ms=NOW, directory=scratch, target=target, progress=lambda *_: None)


def passed(
    events: Sequence[Event], asked: Question, scratch: Path, *, target: Target = "purchase", draws: int = 0
) -> Passed:
    """Evaluate events as `stream-app evaluate` does."""
    scratch.mkdir(parents=True, exist_ok=True)
    history = history_of([written(events, scratch / "history.jsonl")], scratch, target=target)
    work = Pass(asked, history, scratch)
    try:
        results = work.run(lambda *_: None)
        report = make_report(asked, history.survey, results, drawn=draws, progress=lambda *_: None)
        rows = next(results.rows.chunks(max(len(results.rows), 1)))
    finally:
        work.close()
    return Passed(results, rows, report)

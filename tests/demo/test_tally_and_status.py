"""What the demo shows is what happened: counts, rates over the last seconds, the AUC's course."""

from __future__ import annotations

import io
import math
import re
from collections import Counter

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from stream_app.core.effects import Effects, Position
from stream_app.core.learner import Learner
from stream_app.demo import plain
from stream_app.demo.screen import picture
from stream_app.demo.status import Status, Watch
from stream_app.demo.tally import LAST_SCORES, Tally
from stream_app.observe import Observer
from tests.core.examples import example


def _effects(first: int, count: int, *, item: str = "i7") -> Effects:
    scores, features = [], []
    for n in range(first, first + count):
        scores.append(
            (b"v", b'{"event_id":"e","event_type":"view_item","events":%d,"score":0.25,"band":"on_the_fence",'
                   b'"cold":false,"model":"newton"}' % n)
        )  # fmt: skip
        features.append((b"v", b'{"events":%d,"features":{"age":0.0},"keys":{"item":"%s"}}' % (n, item.encode())))
    return Effects(
        Position(),
        scores=scores,
        features=features,
        examples=[
            (b"v", b'{"label":1,"label_source":"purchase"}'),
            (b"v", b'{"label_source":"session_end"}'),
            (b"v", b'{"label":1,"label_source":"label","previous":0}'),
        ],
        events=Counter({("view_item", "scored"): count, ("view_item", "duplicate"): 2, ("unknown", "not_json"): 1}),
        labels=Counter({"resolved": 1}),
        bands=Counter({"on_the_fence": count}),
        sessions_opened=3,
        sessions_closed=1,
    )


class _Run:
    def __init__(self) -> None:
        self.now = 100.0
        self.tally = Tally()
        self.observer = Observer(CollectorRegistry())
        self.learner = Learner(["newton"], base_rate=0.03)
        self.watch = Watch(self.tally, self.observer.end_to_end, lambda: self.learner, now=lambda: self.now)

    def learn(self, examples: int) -> None:
        """A score that is right most of the time."""
        for n in range(examples):
            label = n % 5 == 0
            score = 0.6 if label == (n % 15 != 0) else 0.1
            self.learner.prequential.observe(example(n, score=score, label=int(label), events=3 if n % 2 else 1))


@pytest.fixture
def run() -> _Run:
    return _Run()


def test_every_event_is_dealt_with_once_and_the_newest_scores_are_kept() -> None:
    tally = Tally()
    tally.take(_effects(1, 3, item="old"), 0)
    tally.take(_effects(4, 20), 1)
    assert tally.scored == 23
    assert tally.events_dealt_with == 23 + 4 + 2
    assert tally.rejected == {"not_json": 2}
    assert tally.examples == {"purchase": 2, "session_end": 2}
    assert (tally.corrections, tally.examples_written) == (2, 6)
    last = tally.last_scores()
    assert [shown.events for shown in last] == list(range(24 - LAST_SCORES, 24))
    assert {shown.item for shown in last} == {"i7"}


def test_rates_are_of_the_last_seconds_and_the_clock_stops_at_the_end(run: _Run) -> None:
    run.watch.status()  # while starting: not part of any rate
    run.now = 110.0
    run.watch.begin()
    for _ in range(10):
        run.watch.status()
        run.now += 1.0
        run.tally.take(_effects(1, 50), 0)
        run.observer.end_to_end.observe_many(np.full(50, 0.04))
    status = run.watch.status()
    assert status.per_second == pytest.approx(50.0)
    assert status.seconds == 10.0
    assert 0.03 < status.latency_p50 <= 0.05
    run.watch.end()
    run.now += 60.0
    assert run.watch.status().seconds == 10.0
    assert run.watch.overall()["events_per_second"] == 50.0


def test_what_is_not_known_yet_is_a_dash_and_null(run: _Run) -> None:
    facts = run.watch.overall()
    assert facts["roc_auc"] is None
    assert facts["latency_p50_seconds"] is None
    assert "ROC AUC" in plain.summary(facts)
    run.watch.begin()
    assert "auc – (recent –)" in plain.line(run.watch.status())


def test_figures_of_a_few_examples_are_dashes_in_the_lines_the_picture_and_the_summary(run: _Run) -> None:
    run.watch.begin()
    run.learn(60)  # 12 of them positive
    run.now += 2.0
    status = run.watch.status()
    assert status.quality.positives == 12
    assert "auc – (recent –), log-loss – (constant –)" in plain.line(status)
    text = "\n".join(_drawn(status, 110, 32))
    for name in ("ROC AUC", "log-loss", "constant's"):
        assert re.search(rf"{name} +–, recent – ", text), name
    assert re.search(r"its course +– ", text)
    facts = run.watch.overall()
    assert facts["quality_examples"] == 60
    summed = plain.summary(facts)
    assert "– (recent –, third event –)" in summed
    assert re.search(r"log-loss +– \(constant –\)\n +base rate +– \(mean score 0", summed)


def test_no_row_of_the_panels_is_empty_before_anything_is_known(run: _Run) -> None:
    lines = _drawn(run.watch.status(), 110, 32)
    for line in lines[2:10]:
        left, right = line.split("│")[1], line.split("│")[3]
        assert left.strip(), line
        assert right.strip(), line


def test_what_became_of_offers_is_in_the_line_the_picture_and_the_summary(run: _Run) -> None:
    run.watch.begin()
    assert "offers" not in plain.line(run.watch.status())
    assert re.search(r"offers +none ", "\n".join(_drawn(run.watch.status(), 80, 24)))
    assert "offers" not in plain.summary({**run.watch.overall(), "experiment": None})
    run.watch.offers = {"made": 1_203, "found_nobody": 45, "taken": 67}
    status = run.watch.status()
    assert "; offers 1,203 made, 45 found nobody, 67 taken; " in plain.line(status)
    assert re.search(r"offers +1,203 made, 67 taken ", "\n".join(_drawn(status, 80, 24)))
    arms = {
        arm: {"visitors": 900 + n, "settled": 500 + n, "converted": 30 + n}
        for n, arm in enumerate(("treatment", "holdout"))
    }
    told = {"arms": arms, "conclusions": ["It is too early.", "Of profit, too."]}
    text = plain.summary({**run.watch.overall(), "experiment": told})
    assert re.search(r"offers +1,203 made, 45 found nobody, 67 taken\n", text)
    assert "treatment 900 visitors, 500 settled, 30 ordered; holdout 901 visitors, 501 settled, 31 ordered\n" in text
    assert text.endswith(
        "  It is too early.\n"
        + " " * (text.index("treatment") - text.rindex("\n", 0, text.index("treatment")) - 1)
        + "Of profit, too."
    )
    assert re.search(
        r"experiment +why not$", plain.summary({**run.watch.overall(), "experiment": {"problem": "why not"}})
    )


def test_the_curve_of_the_auc_covers_the_whole_run_in_bounded_space(run: _Run) -> None:
    run.watch.begin()
    lengths = set()
    for n in range(300):
        run.now += 1.0
        if n == 50:
            run.learn(100)
        lengths.add(len(run.watch.status().curve))
    assert lengths <= set(range(26))
    assert max(lengths) > 12


def _drawn(status: Status, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(
        picture(
            status,
            title="shop 1",
            url="http://127.0.0.1:8088",
            beside="export A=b",
            note="WARNING dead_letter topic=[x]",
        )
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").split("\n")


def test_the_picture_fits_a_terminal_of_80_by_24_and_says_everything(run: _Run) -> None:
    run.watch.sent = run.watch.wanted = 2_000
    run.watch.event_time = 1_735_700_000_000
    run.watch.begin()
    run.tally.take(_effects(1, 20), 0)
    run.learn(600)
    run.now += 2.0
    lines = _drawn(run.watch.status(), 80, 24)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    for shown in (
        "shop 1", "2025-01-01 02:53", "20 of 2,000", "events/s", "2 open, 1 closed", "snapshot", "ROC AUC", "log-loss",
        "third event", "0.250 on_the_fence", "n° 20", "http://127.0.0.1:8088/metrics", "topic=[x]",
    ):  # fmt: skip
        assert shown in text, shown
    assert "…" not in text


def test_the_summary_has_the_figures_of_the_run(run: _Run) -> None:
    run.watch.begin()
    run.watch.sent = 50
    run.tally.take(_effects(1, 50), 0)
    run.learn(600)
    run.now += 2.0
    facts = run.watch.overall()
    assert facts["scores"] == 50
    assert facts["rejected"] == {"not_json": 1}
    assert 0.5 < facts["roc_auc"] <= 1.0
    assert not math.isnan(facts["log_loss"])
    text = plain.summary(facts)
    assert "50 in 2.0 s: 25 events/s" in text
    assert "1 not_json" in text

"""How far a model is from the best possible score: the core, offline, over a synthetic shop, beside the shop's truth.

    python benchmarks/synthetic_truth.py [--events N] [--seed S] [--model NAME] [--change-at N] [--blind] [--json]

The shop's events and labels go through the very code of a partition and the trainer, in batches, without Kafka; the
model learns from each batch before the next. For stretches of the stream it prints

* the realised log-loss of the scores and of the truth, the excess of the one over the other, and the ECE of the scores;
* the expected excess: since the truth p is known, a score s costs p·ln(p/s) + (1−p)·ln((1−p)/(1−s)) more than it on
  average, whatever the visits then did. It has no luck in it, so a few thousand events are enough to see a per cent.

With --change-at the behaviour changes after N events; a copy of the model that stops learning there shows what the
change costs, and the examples learned until half of the jump, and all of it, is made up for are counted. With --blind
the truth itself is made blind to one kind of information at a time, which shows what each is worth. Constants are not
scored: the burn-in, while the model is cold, is left out.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

from producers.synthetic.behaviour import VISITOR_TYPES
from producers.synthetic.calendar import Requests
from producers.synthetic.likelihood import Likelihood
from producers.synthetic.regime import RegimeKey
from producers.synthetic.reporting import Happening, reported
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.codec import encode
from stream_app.core.events import CheckoutLabel, Event
from stream_app.core.example_decoding import decode_example
from stream_app.core.learner import Learner
from stream_app.core.model import IntentModel
from stream_app.core.plan import WithoutReasons
from stream_app.core.processor import PartitionProcessor
from stream_app.core.records import Keys
from stream_app.settings import Settings
from stream_app.worker import rules_of

START_MS = 1_735_689_600_000
#: Events that are scored with one state of the model: two minutes of the shop's time, less than half a second of ours.
BATCH = 256
#: Scores of one step of the recovery, and the excess, over that before the change, that counts as recovered.
STEP = 5_000
RECOVERED_WITHIN = 0.01
ECE_BINS = 20

Column = npt.NDArray[np.float64]


class Record(NamedTuple):
    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class ScoreOf(msgspec.Struct):
    """The part of a score record that is judged."""

    event_id: str
    events: int
    score: float
    cold: bool


class LearningScorer(WithoutReasons):
    """`plan.Scorer` over a learner's model as it is now, and a copy of it that was frozen, if any."""

    version = updates = 0
    bands = None

    def __init__(self, learner: Learner) -> None:
        self.name = learner.model.name
        self.learner = learner
        self.frozen: IntentModel | None = None
        self.frozen_scores: list[float] = []

    @property
    def cold(self) -> bool:
        return self.learner.cold

    def score_many(self, x: Column, keys: Sequence[Keys]) -> Column:
        if self.frozen is not None:
            self.frozen_scores += self.frozen.score_many(x, keys).tolist()
        if self.cold:
            return np.full(len(x), min(max(self.learner.base_rate, 1e-6), 1 - 1e-6))
        return self.learner.model.score_many(x, keys)


class Measured(NamedTuple):
    """One row per warm score, in order. `learned`: examples learned by then; `frozen`: NaN before the change."""

    truth: Column
    score: Column
    frozen: Column
    bought: Column
    number: Column
    learned: Column

    def part(self, start: int, end: int | None = None) -> Measured:
        return Measured(*(column[start:end] for column in self))


class Bench:
    """A partition and a trainer without their I/O, fed by a shop."""

    def __init__(self, shop: Shop, truth: Truth, *, model: str, settings: Settings) -> None:
        self.shop, self.truth = shop, truth
        self.learner = Learner([model], base_rate=settings.base_rate, hold_ms=settings.label_hold_ms)
        self.scorer = LearningScorer(self.learner)
        self.processor = PartitionProcessor(rules_of(settings), partition=0)
        self.states: dict[str, bytes] = {}
        self.offsets = {"events": 0, "labels": 0}
        self.examples = 0
        self.bought: dict[str, int] = {}
        #: per event under way: truth, visit and event time
        self.expected: dict[str, tuple[float, str, int]] = {}
        self.visits: list[str] = []
        self.columns = {name: array("d") for name in ("truth", "score", "frozen", "number", "learned", "time")}

    def run(self, events: int, *, freeze_at: int | None = None) -> Measured:
        batch: list[Event | CheckoutLabel] = []
        seen = 0
        for fact in reported(self._watched(islice(self.shop.happenings(), events))):
            seen += isinstance(fact, Event)
            self._witness(fact)
            batch.append(fact)
            if len(batch) == BATCH:
                self._step(batch)
                batch = []
                if freeze_at is not None and seen >= freeze_at and self.scorer.frozen is None:
                    self.scorer.frozen = copy.deepcopy(self.learner.model)
        return self._measured()

    def _watched(self, happenings: Iterable[Happening]) -> Iterator[Happening]:
        for happening in happenings:
            if happening.event.event_type == "purchase":
                self.bought[str(happening.event.session_id)] = time_of(happening.event)
            yield happening

    def _witness(self, fact: Event | CheckoutLabel) -> None:
        # At once, not a batch later: by then the shop says who has departed since.
        while self.shop.departed:
            self.truth.forget(self.shop.departed.popleft())
        if isinstance(fact, Event):
            self.expected[fact.event_id] = (self.truth.after(fact), str(fact.session_id), time_of(fact))
        else:
            self.truth.told(fact)

    def _step(self, batch: list[Event | CheckoutLabel]) -> None:
        events, labels = [], []
        for fact in batch:
            if isinstance(fact, Event):
                events.append(self._record("events", fact.visitor_id, encode(fact), time_of(fact)))
            else:
                labels.append(self._record("labels", fact.visitor_id, encode(fact), time_of(batch[-1])))
        more = self._carry_out(events, labels)
        while more:
            more = self._carry_out([], [])

    def _carry_out(self, events: list[Record], labels: list[Record]) -> bool:
        plan = self.processor.plan(events, labels)
        loaded = {visitor: self.states.get(visitor) for visitor in plan.missing}
        effects = self.processor.apply(plan, loaded, self.scorer, now_ms=START_MS)
        self.processor.committed(effects)
        self.states.update(effects.states)
        self._judge([value for _, value in effects.scores])
        for _, value in effects.examples:
            self.learner.fold(0, self.examples, decode_example(value))
            self.examples += 1
        return effects.more_due

    def _judge(self, scores: list[bytes]) -> None:
        frozen, self.scorer.frozen_scores = self.scorer.frozen_scores, []
        decode = msgspec.json.Decoder(ScoreOf).decode
        for n, value in enumerate(scores):
            score = decode(value)
            p, visit, time = self.expected.pop(score.event_id)
            if score.cold:
                continue
            self.visits.append(visit)
            row = (p, score.score, frozen[n] if frozen else float("nan"), score.events, self.learner.updates, time)
            for column, number in zip(self.columns.values(), row, strict=True):
                column.append(number)

    def _record(self, topic: str, visitor: str, value: bytes, time: int) -> Record:
        offset = self.offsets[topic]
        self.offsets[topic] += 1
        return Record(topic, offset, time, visitor.encode(), value)

    def _measured(self) -> Measured:
        """Leave out the visits that were not over at the end."""
        columns = {name: np.array(values) for name, values in self.columns.items()}
        last = dict(zip(self.visits, columns["time"], strict=True))
        until = columns["time"].max() - 3_600_000
        over = np.array([last[visit] < until for visit in self.visits])
        bought = np.array(
            [self.bought.get(visit, -1) > time for visit, time in zip(self.visits, columns["time"], strict=True)]
        )
        columns["bought"] = bought.astype(np.float64)
        return Measured(**{name: columns[name][over] for name in Measured._fields})


class BlindTruth(Truth):
    """A truth that takes one kind of information for the same under every intent."""

    def __init__(self, shop: Shop, blind: Callable[[Likelihood], None]) -> None:
        super().__init__(shop.catalogue, shop.calendar)
        self._blind = blind

    def likelihood(self, key: RegimeKey) -> Likelihood:
        known = key in self._likelihoods
        likelihood = super().likelihood(key)
        if not known:
            self._blind(likelihood)
        return likelihood


def _level(array_: Column) -> Column:
    """The mean over intents, for every intent."""
    return np.repeat(array_.mean(axis=-1, keepdims=True), array_.shape[-1], axis=-1)


def _no_items(tables: Likelihood) -> None:
    tables.items = _level(tables.items)


def _no_categories(tables: Likelihood) -> None:
    tables.items, tables.categories = _level(tables.items), _level(tables.categories)


def _no_looks(tables: Likelihood) -> None:
    _no_categories(tables)
    tables.revisit, tables.stay = _level(tables.revisit), _level(tables.stay)


def _no_gaps(tables: Likelihood) -> None:
    tables.gap = lambda gap_ms: np.ones_like(tables.stay)  # type: ignore[method-assign]


def _no_context(tables: Likelihood) -> None:
    tables.sources = {name: _level(each) for name, each in tables.sources.items()}
    tables.devices = {name: _level(each) for name, each in tables.devices.items()}


def _no_steps(tables: Likelihood) -> None:
    tables.next, tables.entry = _level(tables.next), _level(tables.entry)


def _no_types(tables: Likelihood) -> None:
    shares = np.array([kind.share for kind in VISITOR_TYPES])
    tables.mix = np.repeat((shares @ tables.mix)[None, :], len(tables.mix), axis=0)


BLIND = {
    "nothing": lambda tables: None,
    "which item": _no_items,
    "which item and category": _no_categories,
    "anything looked at": _no_looks,
    "the pace": _no_gaps,
    "source and device": _no_context,
    "which steps follow which": _no_steps,
    "the visitor": _no_types,
}


def time_of(fact: Event | CheckoutLabel) -> int:
    time = fact.event_time if isinstance(fact, Event) else fact.checkout_time
    assert isinstance(time, int)
    return time


def loss(p: Column, y: Column) -> float:
    """Mean log-loss; `y` may be a probability: the expected loss then."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def auc(p: Column, y: Column) -> float:
    """Area under the ROC curve; ties count half. NaN with one class only."""
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = y.sum()
    negatives = len(y) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[y > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def ece(p: Column, y: Column) -> float:
    """Expected calibration error over bins of equally many scores."""
    order = np.argsort(p, kind="stable")
    return float(
        sum(
            abs(float(p[part].mean() - y[part].mean())) * len(part) / len(p) for part in np.array_split(order, ECE_BINS)
        )
    )


def figures(rows: Measured) -> dict[str, float]:
    truth, score, bought = rows.truth, rows.score, rows.bought
    base = np.full(len(bought), bought.mean())
    found = {
        "scores": float(len(score)),
        "examples_learned": float(rows.learned[-1]),
        "log_loss": loss(score, bought),
        "log_loss_truth": loss(truth, bought),
        "log_loss_constant": loss(base, bought),
        "excess": loss(score, bought) / loss(truth, bought) - 1,
        "excess_expected": loss(score, truth) / loss(truth, truth) - 1,
        "ece": ece(score, bought),
        "ece_expected": ece(score, truth),
    }
    for name, chosen in (("all", rows.number > 0), ("first", rows.number == 1), ("third", rows.number == 3)):
        chosen &= truth > 0  # after a purchase nothing is to come: not a question for a ranking
        found[f"auc_{name}"] = auc(score[chosen], bought[chosen])
        found[f"auc_{name}_truth"] = auc(truth[chosen], bought[chosen])
    return found


def stretches(rows: Measured, *, start: int = 0) -> Iterator[dict[str, float]]:
    """Figures of stretches that double in length, then of the last fifth."""
    size, place = 25_000, start
    while place + size <= len(rows.truth):
        yield {"from": float(place), **figures(rows.part(place, place + size))}
        place, size = place + size, size * 2
    yield {"from": float(len(rows.truth) * 4 // 5), **figures(rows.part(len(rows.truth) * 4 // 5))}


def recovery(rows: Measured) -> dict[str, float]:
    """What the planted change cost, and how many examples were learned until the excess was back."""
    change = int(np.flatnonzero(~np.isnan(rows.frozen))[0])
    before, after = rows.part(max(0, change - 4 * STEP), change), rows.part(change)
    usual = figures(before)["excess_expected"]
    parts = [after.part(place, place + STEP) for place in range(0, len(after.truth) - STEP + 1, STEP)]
    excess = [loss(part.score, part.truth) / loss(part.truth, part.truth) - 1 for part in parts]
    worst = int(np.argmax(excess))
    found = {
        "excess_before": usual,
        "excess_worst": excess[worst],
        "log_loss_frozen_after": loss(after.frozen, after.bought),
        "log_loss_after": loss(after.score, after.bought),
        "log_loss_truth_after": loss(after.truth, after.bought),
    }
    for name, bound in (("half", (usual + excess[worst]) / 2), ("all", usual + RECOVERED_WITHIN)):
        back = next((n for n in range(worst, len(parts)) if excess[n] <= bound), None)
        found[f"events_until_{name}_recovered"] = float("nan") if back is None else float((back + 1) * STEP)
        found[f"examples_until_{name}_recovered"] = (
            float("nan") if back is None else float(parts[back].learned[-1] - after.learned[0])
        )
    return found


def blindness(events: int, seed: int) -> Iterator[tuple[str, float, float]]:
    """For each kind of information: the log-loss and AUC of a truth without it."""
    for name, blind in BLIND.items():
        shop = Shop(seed=seed, start_ms=START_MS)
        truth = BlindTruth(shop, blind)
        whole = Truth(shop.catalogue, shop.calendar)
        both = [(truth.after(fact), whole.after(fact)) for fact in islice(shop, events) if isinstance(fact, Event)]
        p, best = np.array(both).T
        yield name, loss(p, best), loss(best, best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=Settings().model)
    parser.add_argument("--labels", type=float, default=0.0, help="share of the checkouts told by labels alone")
    parser.add_argument("--bots", type=float, default=0.0)
    parser.add_argument("--drift-days", type=float, default=0.0)
    parser.add_argument("--change-at", type=int, metavar="EVENTS")
    parser.add_argument("--blind", action="store_true", help="measure what each kind of information is worth, and end")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.blind:
        for name, without, whole in blindness(arguments.events, arguments.seed):
            print(f"blind to {name:26} log-loss {without:.5f}  {100 * (without / whole - 1):+.2f} %", flush=True)
        return
    requests = Requests(bots=arguments.bots, drift_days=arguments.drift_days, change_events=arguments.change_at)
    shop = Shop(seed=arguments.seed, start_ms=START_MS, label_share=arguments.labels, requests=requests)
    bench = Bench(shop, Truth(shop.catalogue, shop.calendar), model=arguments.model, settings=Settings())
    rows = bench.run(arguments.events, freeze_at=arguments.change_at)
    report: dict[str, Any] = {"arguments": vars(arguments), "stretches": list(stretches(rows))}
    if arguments.change_at is not None:
        report["recovery"] = recovery(rows)
    print(json.dumps(report, indent=2) if arguments.json else text(report))


def text(report: dict[str, Any]) -> str:
    lines = [
        "   from  scores  examples | log-loss   truth constant  excess expected |   ECE | "
        "AUC: all (truth)  1st event      3rd"
    ]
    lines += [
        f"{row['from']:7,.0f} {row['scores']:7,.0f} {row['examples_learned']:9,.0f} | {row['log_loss']:8.5f} "
        f"{row['log_loss_truth']:.5f}  {row['log_loss_constant']:.5f} {100 * row['excess']:+6.2f} % "
        f"{100 * row['excess_expected']:+6.2f} % | {row['ece']:.4f} | "
        + "  ".join(f"{row[f'auc_{name}']:.3f} ({row[f'auc_{name}_truth']:.3f})" for name in ("all", "first", "third"))
        for row in report["stretches"]
    ]
    lines += [f"{name:26} {value:,.5g}" for name, value in report.get("recovery", {}).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""A run of the engine on memory, and its trial: what the tests tamper with before it is judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stream_app.core.audit.outputs import letter_digest
from stream_app.core.audit.partition import PartitionAudit
from stream_app.core.audit.report import Check, Names, Violation
from stream_app.core.audit.states import StatesAudit
from stream_app.core.effects import Effects, Position
from stream_app.core.processor import Rules, Scorer
from tests.core.streams import RULES, HashScorer, Partition, Record

NAMES = Names(
    *["events", "labels", "features", "scores", "examples", "closed", "changelog", "snapshots", "dead-letters"]
)
PARTITION = 3


@dataclass
class Run:
    """A partition, and everything it wrote as records of topics; `guarantee` decides what may repeat."""

    rules: Rules = RULES
    scorer: Scorer = field(default_factory=HashScorer)
    exactly_once: bool = True

    def __post_init__(self) -> None:
        self.partition = Partition(self.rules, self.scorer)
        self.events: list[Record] = []
        self.labels: list[Record] = []
        self.topics: dict[str, list[tuple[bytes, bytes]]] = {
            name: [] for name in ("features", "scores", "closed", "examples", "changelog")
        }
        self.letters: list[tuple[tuple[str, int], int]] = []
        self.view: dict[str, bytes | None] = {}

    def step(self, events: Iterable[Record] = (), labels: Iterable[Record] = (), idle_ms: int = 0) -> None:
        """A batch, written and committed, and those after it that end what was too much for one."""
        events, labels = list(events), list(labels)
        self.events += [record for record in events if record not in self.events]
        self.labels += [record for record in labels if record not in self.labels]
        effects = self.partition.compute(events, labels, idle_ms)
        self.emit(effects)
        self.take_over(effects)
        if effects.more_due:
            self.step()

    def lose(self, events: Iterable[Record], labels: Iterable[Record] = (), idle_ms: int = 0) -> None:
        """A batch whose outputs are written, but nothing after them: then a crash."""
        self.emit(self.partition.compute(list(events), list(labels), idle_ms))
        self.partition.restart()

    def emit(self, effects: Effects) -> None:
        for name in ("features", "scores", "closed", "examples"):
            self.topics[name] += getattr(effects, name)
        for letter in effects.dead_letters:
            self.letters.append(((letter.topic, letter.offset), letter_digest(letter.reason, letter.key, letter.value)))

    def take_over(self, effects: Effects) -> None:
        partition = self.partition
        self.topics["changelog"] += [(visitor.encode(), blob) for visitor, blob in effects.states.items()]
        self.view.update(effects.states)
        partition.store(effects.states)
        partition.position = effects.position
        partition.processor.committed(effects)

    def judge(self, *, committed: Position | None = None, starts: dict[str, int] | None = None) -> list[Check]:
        """The trial of everything there is."""
        position = committed or self.partition.position
        trial = PartitionAudit(
            self.rules,
            NAMES,
            PARTITION,
            partitions=1,
            exactly_once=self.exactly_once,
            events_offset=position.events_offset,
            labels_offset=position.labels_offset,
            position=position,
            starts=starts or {},
        )
        outputs = trial.outputs
        for name, check, read in (
            ("features", "features", outputs.feature),
            ("scores", "scores", outputs.score),
            ("closed", "closed sessions", outputs.closed_session),
            ("examples", "examples", outputs.example),
        ):
            for offset, (key, value) in enumerate(self.topics[name], start=(starts or {}).get(check, 0)):
                if not read(offset, key, value):
                    trial.unreadable(check, offset, value)
        for offset, (source, digest) in enumerate(self.letters):
            outputs.dead_letter(offset, source=source, digest=digest)
        for record in self.labels:
            trial.label(record)
        for record in self.events:
            trial.event(record)
        checks = trial.finish()
        gap_ms, quiet_ms = self.rules.gap_ms, self.rules.quiet_ms
        states = StatesAudit(NAMES, PARTITION, gap_ms=gap_ms, quiet_ms=quiet_ms, start=0, expired_before_ms=0)
        for offset, (key, value) in enumerate(self.topics["changelog"]):
            states.changelog(offset, 1, key, value)
        states.compare(trial.fold, ahead=trial.ahead)
        visitors = states.visitors()
        states.view_blobs(visitors, [self.view.get(visitor) for visitor in visitors], self.partition.deadlines)
        states.view_strangers(list(self.view))
        states.compare_positions(position, self.partition.position, trial.reached.newest)
        return checks + states.finish()

    def violations(self, **how: Any) -> list[Violation]:
        """Those that are spelled out."""
        return [violation for check in self.judge(**how) for violation in check.spelled]

"""What an audit finds: counts for each check, the first violations spelled out, and what could not be looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

#: Violations of one check and partition that are spelled out; all are counted.
SPELLED_MAX: Final = 5

#: Of an expected or found value that is quoted.
QUOTED_LENGTH_MAX: Final = 600


class Violation(msgspec.Struct, frozen=True, gc=False):
    """Something that must not be. `offset` −1 where there is none, as for what is missing.

    `kind` is `missing`, `doubled`, `unexpected`, `differs`, `out_of_order` or `unreadable`.
    """

    check: str
    kind: str
    topic: str
    partition: int
    offset: int = -1
    event_id: str = ""
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        place = f"{self.topic}-{self.partition}" + (f" offset {self.offset}" if self.offset >= 0 else "")
        about = f" event {self.event_id}" if self.event_id else ""
        expected = f": expected {self.expected}" if self.expected else ""
        got = f", got {self.got}" if self.got else ""
        return f"{self.check}: {self.kind} at {place}{about}{expected}{got}"


class Names(NamedTuple):
    """The topics' full names, for what is said of them."""

    events: str
    labels: str
    features: str
    scores: str
    examples: str
    closed: str
    changelog: str
    snapshots: str
    dead_letters: str


@dataclass(slots=True)
class Check:
    """One thing compared in one partition (−1: all of them).

    `expected` follows from the input, `found` was there and right, `repeated` are further copies of it, `ahead` was
    written for input that is not committed yet, `gone` may have been deleted by retention.
    """

    name: str
    partition: int
    expected: int = 0
    found: int = 0
    repeated: int = 0
    ahead: int = 0
    gone: int = 0
    violations: int = 0
    note: str = ""
    spelled: list[Violation] = field(default_factory=list)

    def quote_records(self, read: dict[tuple[str, int], bytes]) -> None:
        """Fill in what the records at (topic, offset) say, where a violation speaks of one."""
        self.spelled = [
            msgspec.structs.replace(v, got=quote(read[v.topic, v.offset])) if (v.topic, v.offset) in read else v
            for v in self.spelled
        ]

    def violate(self, violation: Violation) -> None:
        """Count it, and keep it while there are few."""
        self.violations += 1
        if len(self.spelled) < SPELLED_MAX:
            self.spelled.append(violation)


@dataclass(slots=True)
class Report:
    """The whole audit."""

    guarantee: str
    checks: list[Check] = field(default_factory=list)
    #: what could not be checked, and why
    unchecked: list[str] = field(default_factory=list)
    #: partition → input records that were not processed yet, by the committed offsets
    behind: dict[int, int] = field(default_factory=dict)
    #: input records audited, events and labels
    events: int = 0
    labels: int = 0

    @property
    def clean(self) -> bool:
        """Nothing that was looked at is wrong."""
        return not any(check.violations for check in self.checks)

    @property
    def violations(self) -> list[Violation]:
        """The first of each check."""
        return [violation for check in self.checks for violation in check.spelled]

    @property
    def violation_count(self) -> int:
        """All of them."""
        return sum(check.violations for check in self.checks)

    @property
    def repeated(self) -> dict[str, int]:
        """Check (scores, features, examples, closed, dead letters) → records that repeat an earlier one."""
        counts: Counter[str] = Counter()
        for check in self.checks:
            counts[check.name] += check.repeated
        return dict(counts)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "clean": self.clean,
            "guarantee": self.guarantee,
            "events": self.events,
            "labels": self.labels,
            "violations": self.violation_count,
            "repeated": self.repeated,
            "behind": {str(partition): count for partition, count in self.behind.items()},
            "unchecked": self.unchecked,
            "checks": [
                {
                    "name": check.name, "partition": check.partition, "expected": check.expected, "found": check.found,
                    "repeated": check.repeated, "ahead": check.ahead, "gone": check.gone,
                    "violations": check.violations, "note": check.note,
                }
                for check in self.checks
            ],
            "spelled": [msgspec.to_builtins(violation) for violation in self.violations],
        }  # fmt: skip


def quote(value: Any) -> str:
    """A record or value as short text."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.json.encode(value)
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= QUOTED_LENGTH_MAX else text[:QUOTED_LENGTH_MAX] + "…"

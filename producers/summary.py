"""What a run of a producer came to: printed at its end, and the same as JSON."""

from __future__ import annotations

import msgspec


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Counts of one run.

    `rows` is what was taken in (rows of a file, records of a shop), `sent` what Kafka acknowledged on the input
    topics, `rejected` the dead letters by reason; `seconds` is wall-clock time, `events_per_second` is `sent` over
    it. `stopped` says that the run was ended from outside. `offers` counts those that a shop was told to make, by what
    became of them; None where it did not listen.
    """

    source: str
    rows: int
    sent: int
    rejected: dict[str, int]
    seconds: float
    events_per_second: float
    stopped: bool
    notes: list[str]
    offers: dict[str, int] | None = None

    @classmethod
    def of(
        cls, *, source: str, rows: int, sent: int, rejected: dict[str, int], seconds: float, stopped: bool,
        notes: list[str],
    ) -> Summary:  # fmt: skip
        """Round and divide."""
        return cls(
            source=source,
            rows=rows,
            sent=sent,
            rejected=rejected,
            seconds=round(seconds, 3),
            events_per_second=round(sent / seconds, 1) if seconds > 0 else 0.0,
            stopped=stopped,
            notes=notes,
        )

    def to_json(self) -> str:
        """One JSON object on one line."""
        return msgspec.json.encode(self).decode()

    def to_text(self) -> str:
        """A few lines for people."""
        lines = [f"note: {note}" for note in self.notes]
        lines.append(f"{'stopped' if self.stopped else 'finished'}: {self.source}")
        lines.append(f"  {self.rows:,} rows, {self.sent:,} sent, {sum(self.rejected.values()):,} rejected")
        lines += [f"  rejected as {reason}: {count:,}" for reason, count in sorted(self.rejected.items())]
        if self.offers is not None:
            lines.append("  offers: " + in_words(self.offers))
        lines.append(f"  {self.seconds:,.1f} s, {self.events_per_second:,.0f} events/s")
        return "\n".join(lines)


def in_words(counts: dict[str, int]) -> str:
    """`12 made, 3 found nobody`."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())

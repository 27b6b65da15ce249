"""What became of a request's events: the answer of 200 and 422."""

from __future__ import annotations

from typing import Literal

import msgspec


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of one event of the request.

    `event_ids` are those accepted: one thing done with several items is an event for each. A `rejected` one may have
    some as well, where single items of it were wrong.
    """

    outcome: Literal["accepted", "rejected", "ignored"]
    event_ids: list[str] = []
    reason: str | None = None
    detail: str | None = None


class Answer(msgspec.Struct):
    """What became of a request: each accepted event, and each rejected one's dead letter, is acknowledged by Kafka.

    The counts are of `results`, which are the request's events in their order.
    """

    accepted: int
    rejected: int
    ignored: int
    results: list[EventResult]

    @property
    def status(self) -> int:
        """422 where all that was told was wrong: whoever tries it out shall see that at once."""
        return 422 if self.rejected and not any(result.event_ids for result in self.results) else 200


def answer_of(results: list[EventResult]) -> Answer:
    """The results, counted."""
    outcomes = [result.outcome for result in results]
    return Answer(outcomes.count("accepted"), outcomes.count("rejected"), outcomes.count("ignored"), results)

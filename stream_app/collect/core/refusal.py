"""A request that is not taken: nothing of it was kept, and the answer says why and what to do."""

from __future__ import annotations

import math
from typing import Final

import msgspec

#: What becomes of a request, the values of a metric's label: `taken`, or why it was refused.
TAKEN: Final = "taken"
OUTCOMES: Final = (
    TAKEN,
    "forbidden",  # its origin
    "unauthorized",  # its write key
    "address_limit",
    "key_limit",
    "too_large",
    "too_slow",
    "unsupported",  # type or encoding of its body
    "broken",  # cut off, not packed as it says, or no HTTP at all
    "busy",  # no room for it
    "unavailable",  # Kafka
    "unknown",  # path or method
    "failed",  # a mistake of ours (500)
)


class Problem(msgspec.Struct):
    """Why a request was refused: what was got, what was expected, and what to do about it."""

    status: int
    got: str
    expected: str
    do: str


class Refused(msgspec.Struct):
    """The answer to a request that was refused. Nothing of it was kept."""

    error: Problem


class RefusalError(Exception):
    """Ends a request with an HTTP status.

    `outcome` is one of `OUTCOMES`. `retry_after_s` says when to send the same again; None: not at all, it would be
    refused again.
    """

    def __init__(
        self, status: int, outcome: str, *, got: str, expected: str, do: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"got {got}, expected {expected}: {do}")
        self.status, self.outcome = status, outcome
        self.refused = Refused(Problem(status, got, expected, do))
        self.retry_after_s = retry_after_s

    @property
    def retry_after(self) -> str | None:
        """The header's value: whole seconds, at least one."""
        return None if self.retry_after_s is None else str(max(1, math.ceil(self.retry_after_s)))

"""The truth told beside the stream: one record for each event, on its way to whoever scores it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from producers.synthetic.reporting import Fact
from producers.synthetic.shop import Shop
from producers.synthetic.truth import Truth
from stream_app.core.events import Event


class TruthFileError(Exception):
    """The truth cannot be written; the text is one line that names the file."""


class TruthRecord(msgspec.Struct, gc=False):
    """What could be known after an event: `p` is the probability that the visit still ends in a purchase.

    `session_id` is null where the shop gives none; `event_id` finds the score.
    """

    event_id: str
    event_time: int
    session_id: str | None
    p: float


def witnessed(shop: Shop, tell: Callable[[TruthRecord], object]) -> Iterator[Fact]:
    """A shop's facts as they are; the truth after each event is told before the event is handed on.

    Memory does not grow with the stream: visitors who have left for good are forgotten.
    """
    truth = Truth(shop.catalogue, shop.calendar)
    for fact in shop:
        if isinstance(fact, Event):
            assert isinstance(fact.event_time, int)  # the shop's own
            tell(TruthRecord(fact.event_id, fact.event_time, fact.session_id, truth.after(fact)))
        else:
            truth.told(fact)
        yield fact
        while shop.departed:
            truth.forget(shop.departed.popleft())


class TruthFile:
    """Where the truth is written, one JSON object a line. Use it as a context manager; what was there is replaced.

    Raises
    ------
    TruthFileError
        If the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode

    def __enter__(self) -> TruthFile:
        with self._explained():
            self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        with self._explained():
            self._file.close()

    def tell(self, record: TruthRecord) -> None:
        """Write a record."""
        with self._explained():
            self._file.write(self._encode(record) + b"\n")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TruthFileError(f"{self._path}: {error.strerror}") from None

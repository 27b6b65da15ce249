"""What a demo was asked to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from producers.formats import Format


class File(NamedTuple):
    """History to replay instead of the shop."""

    path: Path
    format: Format


class Order(NamedTuple):
    """What to run: `events` and `duration_s` end it, None not; `rate` in events per second, None without limit."""

    file: File | None
    events: int | None
    duration_s: float | None
    rate: float | None
    seed: int

"""What reading the files has shown, before anything was gathered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reading(NamedTuple):
    """Rows not accepted by reason, events that came later than the grace, and whether the files were sorted for it."""

    rejected: Mapping[str, int]
    late: int
    sorted_first: bool

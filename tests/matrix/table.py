"""The matrix's outcome as a table, on the terminal and in docs/supported.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.matrix.supported import Row, supported, usual
from tests.matrix.trying import Outcome

PAGE: Final = Path(__file__).parents[2] / "docs" / "supported.md"
_MEASURED: Final = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
_HEAD: Final = "| row | ran | tests | seconds | of processor time |\n| --- | --- | ---: | ---: | ---: |\n"


def table(outcomes: Sequence[Outcome]) -> str:
    """In Markdown: every version of the range, those that all other tests run on included."""
    tried = {outcome.row: outcome for outcome in outcomes}
    return _HEAD + "".join(_line(row, tried.get(row)) for row in supported() if row in tried or row in usual())


def _line(row: Row, outcome: Outcome | None) -> str:
    if outcome is None:
        return f"| {row} | as usual | all others | | |\n"
    if outcome.skipped:
        return f"| {row} | **not tried**: {outcome.trouble} | | | |\n"
    ran = f"{outcome.ran}{' **failed**' if outcome.trouble else ''}"
    return f"| {row} | {ran} | {outcome.tests} | {outcome.seconds:.0f} | {outcome.cpu_s:.0f} |\n"


def write(outcomes: Sequence[Outcome], *, seconds: float) -> None:
    """Put it into the page, with where and when it was measured."""
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    release = platform.release().partition("-")[0]
    where = f"{platform.system()} {release}, {os.cpu_count()} cores, Python {platform.python_version()}"
    cpu_s = sum(outcome.cpu_s for outcome in outcomes)
    took = f"{seconds:.0f} s for all rows, {cpu_s:.0f} s of processor time"
    text = f"Measured {now} on {where}: {took}.\n\n{table(outcomes)}"
    page, found = _MEASURED.subn(lambda _: text, PAGE.read_text())
    assert found == 1
    PAGE.write_text(page)

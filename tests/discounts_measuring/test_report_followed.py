"""`discounts report --follow` in a terminal: it reports, again when something was added, and ends by Ctrl-C."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from msgspec import inspect as types

from stream_app.discounts.core.reporting import Report
from tests.discounts.core.exposures import exposure, outcome
from tests.discounts_measuring.shop import Told
from tests.discounts_measuring.test_commands import units, write
from tests.support.fixtures import Names
from tests.support.servers import RealKafka

DOCS: Final = Path(__file__).parents[2] / "docs"

COLUMNS: Final = 100
PATIENCE_S: Final = 60.0
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A program in a terminal of its own, 100 columns wide; `said` is what it has shown."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream_app", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.said = ""

    def until(self, words: str, *, seconds: float = PATIENCE_S) -> bool:
        """Read until it has said so; False if it has not in so many seconds, or has ended."""
        end = time.monotonic() + seconds
        while words not in self.said and time.monotonic() < end:
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                found = os.read(self._ours, 65_536)
            except OSError:  # Linux says so when the program has ended
                break
            self.said += _ESCAPES.sub("", found.decode()).replace("\r\n", "\n")
        return words in self.said

    def close(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    made = Terminal(*arguments)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.real_kafka
async def test_in_a_terminal_it_reports_again_when_something_was_added_and_ends_by_ctrl_c(
    real_kafka: RealKafka, names: Names
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await write(told.settings, units())
        given = ["--kafka-bootstrap", real_kafka.bootstrap, "--topic-prefix", names.topic_prefix]
        with terminal("discounts", "report", "--follow", "--planned", "900", *given) as shown:
            assert await asyncio.to_thread(shown.until, "shares of the arms"), shown.said
            first = shown.said
            assert "* Sequential intervals are made to be narrowest at 900 visitors." in first
            rows = [line.split() for line in first.splitlines()]
            assert ["treatment", "500", "0", "500", "250", "50.00%", "22.500", "7.500"] in rows
            # Tables are folded to the terminal's width, and nothing of the numbers is lost.
            table = first[first.index("arm ") : first.index("shares of the arms")]
            assert max(map(len, table.splitlines())) <= COLUMNS
            # Nothing comes while nothing happens, for longer than reports are apart.
            assert not await asyncio.to_thread(shown.until, "501", seconds=7.0)
            assert shown.said.count("Experiment autumn") == 1
            new = exposure("treatment-new", holdout_share=0.45, session_id="new", exposure_id="new")
            await write(told.settings, [outcome(15.0, revenue=45.0, orders=1, of=new)])
            assert await asyncio.to_thread(shown.until, "501"), shown.said
            assert await asyncio.to_thread(shown.until, "not used: 2 repeated"), shown.said
            # The exposure and its outcome may have been read one after the other.
            assert 2 <= shown.said.count("Experiment autumn") <= 3
            shown.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(shown.process.wait, PATIENCE_S) == 0
            assert not shown.until("Traceback", seconds=1.0)


def test_every_key_of_the_json_is_in_the_docs() -> None:
    page = (DOCS / "discounts-measuring.md").read_text()
    section = page[page.index("**`--json`**") : page.index("## Trying a policy on the log")]

    def named(kind: types.Type) -> Iterator[str]:
        if isinstance(kind, types.StructType):
            for field in kind.fields:
                yield field.encode_name
                yield from named(field.type)
        for inner in ("item_type", "value_type"):
            if hasattr(kind, inner):
                yield from named(getattr(kind, inner))
        for each in getattr(kind, "types", ()):
            yield from named(each)

    keys = set(named(types.type_info(Report)))
    assert {"p_value", "relative_sequential", "converted", "planned"} < keys
    assert [key for key in sorted(keys) if f"`{key}`" not in section] == []
    assert {*re.findall(r"`(\w+)`", section)} - keys <= {"conversion", "revenue", "profit"}

"""A page as somebody who follows it sees it: files to write, commands to type, and what they are shown to print.

Fenced blocks with a `title` are files. Those of `console` are commands, `$` before each, with what is printed below;
`…` stands for what differs. A comment before a block says what a person knows without being told:

    <!-- background: URL -->    another terminal; go on when URL answers, or at once without one
    <!-- until: REGEX -->       type it again until it prints that
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<how>background|until): ?(?P<what>.*?) ?-->\n)?^```(?P<info>\S+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class File(NamedTuple):
    """To be written."""

    name: str
    text: str


class Command(NamedTuple):
    """To be typed. `background` and `until` are None where the page says neither."""

    words: str
    printed: str
    background: str | None
    until: str | None


def steps(page: Path) -> Iterator[File | Command]:
    """In the order of the page."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        how, what = block["how"], block["what"]
        if block["title"]:
            yield File(block["title"], block["text"])
        elif block["info"] == "console":
            for typed in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                words, _, printed = typed.partition("\n")
                yield Command(words, printed, what if how == "background" else None, what if how == "until" else None)


def matches(shown: str, printed: str) -> bool:
    """Whether something was printed as it is shown; empty lines are nothing to compare."""
    pattern = ".*".join(re.escape(part) for part in _packed(shown).split("…"))
    return re.fullmatch(pattern, _packed(printed), re.DOTALL) is not None


def _packed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())

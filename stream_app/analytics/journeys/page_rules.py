"""Which kind of step a page is, by rules that the shop gives for its own URLs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from stream_app.analytics.block import Block
from stream_app.core.events import EVENT_CODE
from stream_app.core.pages import GROUP_CODE, GROUPS, page_group

_PAGE_VIEW: Final = EVENT_CODE["page_view"]


class PageRules:
    """Rules (pattern, kind of step), of which the first that is found in a URL counts; else what its path says.

    A kind is one of `core.pages.GROUPS`. Patterns are regular expressions, looked for anywhere in the whole URL
    without regard to case. Only bare page views are judged by their URL: any other event says what it is.

    Raises
    ------
    ValueError
        If a pattern is not a regular expression or a kind is not known.
    """

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        self._rules: list[tuple[re.Pattern[str], int]] = []
        for pattern, kind in rules:
            if kind not in GROUP_CODE:
                raise ValueError(f"page rule {pattern!r}: got kind {kind!r}, expected one of {', '.join(GROUPS)}")
            try:
                self._rules.append((re.compile(pattern, re.IGNORECASE), GROUP_CODE[kind]))
            except re.error as error:
                raise ValueError(f"page rule {pattern!r}: got no regular expression ({error})") from None

    def kind(self, url: str) -> int:
        """The code of the kind of step behind a URL."""
        return next((kind for pattern, kind in self._rules if pattern.search(url)), page_group(url))

    def apply(self, block: Block) -> Block:
        """The events with the kinds that the rules say; each distinct URL is looked at once."""
        pages = np.flatnonzero((block.type == _PAGE_VIEW) & (block.page != ""))
        if not self._rules or not len(pages):
            return block
        codes, urls = pd.factorize(block.page[pages])
        kinds = block.kind.copy()
        kinds[pages] = np.array([self.kind(url) for url in urls], np.uint8)[codes]
        return replace(block, kind=kinds)

"""A file of rules that say which kind of step a page is: one rule a line, `KIND PATTERN`.

    # what the shop's own pages are; the first pattern found in a URL counts
    item      /sku-\\d+
    purchase  /thank-you

A kind is one of `core.pages.GROUPS`, a pattern a regular expression, looked for anywhere in the URL without regard to
case. Empty lines and lines that begin with # are passed over.
"""

from __future__ import annotations

from pathlib import Path

from stream_app.analytics.journeys.page_rules import PageRules
from stream_app.report.errors import ReportError


def read_page_rules(path: Path | None) -> tuple[PageRules, int]:
    """The rules and how many they are; none without a file.

    Raises
    ------
    ReportError
        If the file cannot be read or says nothing sensible; the text says where.
    """
    if path is None:
        return PageRules([]), 0
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path}: {reason}") from None
    rules = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        kind, _, pattern = line.strip().partition(" ")
        if not pattern.strip():
            raise ReportError(f"{path}, line {number}: got {line.strip()!r}, expected KIND PATTERN such as item /sku-")
        rules.append((pattern.strip(), kind))
        try:
            PageRules(rules[-1:])
        except ValueError as error:
            raise ReportError(f"{path}, line {number}: {error}") from None
    return PageRules(rules), len(rules)

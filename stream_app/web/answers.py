"""How the web port answers: JSON, clear errors, and headers under which a page can ask nobody but us."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from aiohttp import web

#: Scripts, styles and connections of our own only; nobody may frame the page.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Of answers that are true for a moment only.
API_HEADERS: Final = {**PAGE_HEADERS, "Cache-Control": "no-store"}


class ProblemError(Exception):
    """A request that cannot be answered: what was got, what was expected, and what to do about it."""

    def __init__(self, status: int, *, got: str, expected: str, do: str) -> None:
        super().__init__(f"got {got}, expected {expected}: {do}")
        self.status, self.got, self.expected, self.do = status, got, expected, do


def json_answer(body: Any, *, status: int = 200) -> web.Response:
    """JSON that nobody keeps; a number that is none is null."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=API_HEADERS
    )


def problem_answer(problem: ProblemError) -> web.Response:
    """A problem as JSON."""
    body = {"status": problem.status, "got": problem.got, "expected": problem.expected, "do": problem.do}
    answer = json_answer({"error": body}, status=problem.status)
    if problem.status == 503:
        answer.headers["Retry-After"] = "5"
    return answer


def choice(request: web.Request, name: str, among: list[str], default: str) -> str:
    """A query parameter that is one of a few words. Raises ProblemError."""
    given = request.query.get(name, default)
    if given not in among:
        raise ProblemError(
            400, got=f"{name}={given[:40]!r}", expected=f"one of {', '.join(among)}", do="correct the query parameter"
        )
    return given


def whole_number(request: web.Request, name: str, *, default: int, most: int) -> int:
    """A query parameter from 1 to `most`. Raises ProblemError."""
    given = request.query.get(name, str(default))
    number = float(given) if given.isascii() and given.isdigit() and len(given) < 10 else math.nan
    if not 1 <= number <= most:
        raise ProblemError(
            400, got=f"{name}={given[:40]!r}", expected=f"a whole number from 1 to {most}", do="correct the parameter"
        )
    return int(number)

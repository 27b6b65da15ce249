"""Which pages may send: the origins that a browser says a request comes from (WHATWG Fetch, "CORS protocol")."""

from __future__ import annotations

import re
from typing import Final

from stream_app.collect.core.refusal import RefusalError

_ORIGIN: Final = re.compile(r"https?://[^\s/,*]+", re.ASCII)


class Origins:
    """The origins that are allowed: those listed, or all (`*`); and a page of the collector's own host.

    Raises ValueError for a text that is no list of origins.
    """

    def __init__(self, listed: str) -> None:
        origins = [origin.strip().lower().rstrip("/") for origin in listed.split(",") if origin.strip()]
        wrong = next((origin for origin in origins if origin != "*" and not _ORIGIN.fullmatch(origin)), None)
        if wrong is not None:
            raise ValueError(f"got origin {wrong!r}, expected one like https://shop.example, or *")
        self._all = "*" in origins
        self._origins = frozenset(origins)

    def __len__(self) -> int:
        return len(self._origins)

    def require(self, origin: str | None, host: str) -> None:
        """Let a request pass: without an origin it comes from no page. Raises RefusalError (403)."""
        if origin is None or self.allows(origin, host):
            return
        raise RefusalError(
            403,
            "forbidden",
            got=f"a request from a page of {origin[:100]!a}",
            expected="one of the origins that are allowed",
            do="add it to collect_origins",
        )

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of this origin may send, and read the answer; `host` is what the request was made to."""
        known = origin.lower()
        return self._all or known in self._origins or known.partition("://")[2] == host.lower()

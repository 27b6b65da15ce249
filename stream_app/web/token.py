"""Who may look: the web port's token, asked for by everything but health.

Prometheus and programs bring it as bearer token (RFC 6750). Browsers ask for a name and a password; the token is the
password, and the name does not matter: pages, their data and their stream then work without a script that knows it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from stream_app.web.answers import ProblemError, problem_answer

#: Whoever keeps the process running asks these, and they tell of no visitor and no shop.
OPEN: Final = frozenset({"/healthz", "/readyz"})

_ASKS: Final = 'Basic realm="stream-app", charset="UTF-8"'


def guard(token: str) -> Middleware:
    """A middleware that answers 401 to whoever does not bring the token, whatever path there is or is not."""
    # Only its hash is kept, and hashes are of one length: comparing them tells nothing by its time.
    expected = sha256(token.encode()).digest()

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN:
            return await handler(request)
        given = _given(request.headers.get("Authorization", ""))
        if hmac.compare_digest(sha256(given).digest(), expected):
            return await handler(request)
        answer = problem_answer(
            ProblemError(
                401,
                got="another token than ours" if given else "no token",
                expected="the setting web_token, as Authorization: Bearer TOKEN, or as password of any user",
                do="ask whoever runs this for it",
            )
        )
        answer.headers["WWW-Authenticate"] = _ASKS
        return answer

    return guarded


def _given(authorization: str) -> bytes:
    """The token that a request brings; nothing if none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode(errors="surrogateescape")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""

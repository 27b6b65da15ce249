"""A token issuer of the test run: signed JWTs, the keys that verify them, and an endpoint that hands them out."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from stream_app.tls import server_context
from tests.security.certificates import Pair

ISSUER, AUDIENCE = "https://issuer.example", "kafka"


class Issuer:
    """Signs tokens (RS256); `jwks` is the file of its public key, as brokers read it."""

    def __init__(self, directory: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        shown = {"kty": "RSA", "kid": "test", "alg": "RS256", "use": "sig"}
        shown |= {"n": _text(numbers.n.to_bytes(256, "big")), "e": _text(numbers.e.to_bytes(3, "big"))}
        self.jwks = directory / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [shown]}))

    def token(self, subject: str, *, seconds: int = 3600) -> str:
        """Good for so long, from now on."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + seconds, "scope": "kafka"}
        body = ".".join(
            _text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "test", "typ": "JWT"}, claims)
        )
        return f"{body}.{_text(self._key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Endpoint:
    """RFC 6749 §4.4 on loopback; `asked` are the forms that came with the right name and secret."""

    def __init__(self, issuer: Issuer, *, client: str, secret: str) -> None:
        self._issuer, self._client, self._secret = issuer, client, secret
        self.asked: list[dict[str, str]] = []
        #: what is answered, beside the token
        self.more: dict[str, Any] = {"expires_in": 3600, "token_type": "Bearer"}
        self.status = 200

    @asynccontextmanager
    async def listening(self, pair: Pair) -> AsyncIterator[str]:
        """Answer over TLS within the block; the URL."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = server_context(cert_file=str(pair.cert), key_file=str(pair.key))
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/token"
        await runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        given = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        if [unquote_plus(part) for part in given.split(":")] != [self._client, self._secret]:
            return web.json_response({"error": "invalid_client", "error_description": given}, status=401)
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        if self.status != 200:
            return web.json_response({"error": "server_error"}, status=self.status)
        return web.json_response({"access_token": self._issuer.token(self._client), **self.more})


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

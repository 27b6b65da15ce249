"""Where tokens for OAUTHBEARER come from: a file that somebody renews, or a token endpoint asked by client credentials.

Kafka's client asks for one at every connection; the endpoint is asked again only when the last token is nearly over.
"""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from stream_app.bounded_body import bounded_body
from stream_app.settings import Settings
from stream_app.tls import client_context

#: For one answer of the endpoint, in seconds: less than any request to Kafka may take.
_ANSWER_S_MAX: Final = 10.0

#: A token is used for this part of its life: the broker's clock may be ahead, and connecting takes time.
_LIFE_USED: Final = 0.8

#: In seconds: what a token is believed to live whose endpoint does not say; RFC 6749 only recommends that it does.
_LIFE_UNSAID_S: Final = 60.0

#: A token is some kilobytes at most; a larger answer is no token.
_ANSWER_BYTES_MAX: Final = 262_144


class TokenError(KafkaError):
    """There is no token now; there may be one later. The text has neither secret nor token."""

    retriable = True


class TokenFile(AbstractTokenProvider):
    """The token is in a file, as Kubernetes projects those of service accounts; read anew each time."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def token(self) -> str:
        """The file's text. Raises TokenError."""
        try:
            found = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise TokenError(f"kafka_token_file {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TokenError(f"kafka_token_file {self._path}: holds something else than a token") from None
        if not found:
            raise TokenError(f"kafka_token_file {self._path}: empty")
        return found


class TokenEndpoint(AbstractTokenProvider):
    """Asks an OIDC token endpoint by client credentials (RFC 6749 §4.4, as Kafka's own clients do: KIP-768)."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.kafka_token_url
        self._form = {"grant_type": "client_credentials"}
        if settings.kafka_token_scope:
            self._form["scope"] = settings.kafka_token_scope
        # §2.3.1: both are form-encoded before they are put together.
        name = quote_plus(settings.kafka_token_client_id)
        secret = quote_plus(settings.kafka_token_client_secret.get_secret_value())
        self._headers = {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}
        self._tls = client_context(ca_file=settings.kafka_token_ca_file)
        self._lock = asyncio.Lock()
        self._token, self._good_until = "", 0.0

    async def token(self) -> str:
        """The last token while it is good for long enough, else a new one. Raises TokenError."""
        async with self._lock:
            if time.monotonic() >= self._good_until:
                asked = time.monotonic()
                answer = await self._ask()
                self._token, life_s = _read(answer, self._url)
                self._good_until = asked + _LIFE_USED * life_s
            return self._token

    async def _ask(self) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                # A redirect would carry the secret to wherever it leads.
                session.post(
                    self._url, data=self._form, headers=self._headers, ssl=self._tls, allow_redirects=False
                ) as response,
            ):
                body = await bounded_body(response.content, _ANSWER_BYTES_MAX)
                if response.status != 200:
                    raise TokenError(f"kafka_token_url {self._url} answered {response.status}{_reason(body)}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TokenError(f"kafka_token_url {self._url} does not answer: {str(error) or 'timed out'}") from None
        found = _object(body)
        if found is None:
            raise TokenError(f"kafka_token_url {self._url} answered something else than a JSON object")
        return found


def token_provider(settings: Settings) -> AbstractTokenProvider:
    """The one that the settings ask for."""
    return TokenFile(settings.kafka_token_file) if settings.kafka_token_file else TokenEndpoint(settings)


def _read(answer: dict[str, Any], url: str) -> tuple[str, float]:
    """Token, and how long it lives from now on in seconds."""
    token, life_s = answer.get("access_token"), answer.get("expires_in", _LIFE_UNSAID_S)
    # What is no visible ASCII could end the message that it is put into.
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError(f"kafka_token_url {url} answered without an access_token")
    if isinstance(life_s, bool) or not isinstance(life_s, int | float) or not 0 < life_s < float("inf"):
        life_s = _LIFE_UNSAID_S
    return token, float(life_s)


def _reason(body: bytes) -> str:
    """The error's name, which RFC 6749 §5.2 lists; the rest of the answer may repeat what we sent."""
    name = (_object(body) or {}).get("error")
    return f" ({name})" if isinstance(name, str) and name.isascii() and name.isidentifier() else ""


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

"""Tokens for OAUTHBEARER: from a file that changes, and from a real endpoint over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.backends.kafka_tokens import TokenEndpoint, TokenError, TokenFile
from stream_app.settings import load
from tests.security.certificates import Authority
from tests.security.tokens import Endpoint, Issuer

SECRET = "s3cret/with+odd=characters"


class Served:
    """An endpoint that listens, and settings that lead to it."""

    def __init__(self, endpoint: Endpoint, url: str, ca: Path) -> None:
        self.endpoint, self.url, self._ca = endpoint, url, ca

    def tokens(self, **more: Any) -> TokenEndpoint:
        given = {
            "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER", "kafka_token_url": self.url,
            "kafka_token_client_id": "shop worker", "kafka_token_client_secret": SECRET,
            "kafka_token_ca_file": str(self._ca),
        }  # fmt: skip
        return TokenEndpoint(load(flags={**given, **more}))


@pytest.fixture
async def served(authority: Authority, tmp_path: Path) -> AsyncIterator[Served]:
    endpoint = Endpoint(Issuer(tmp_path), client="shop worker", secret=SECRET)
    async with endpoint.listening(authority.server()) as url:
        yield Served(endpoint, url, authority.ca)


async def test_a_token_is_asked_for_once_while_it_is_good(served: Served) -> None:
    tokens = served.tokens(kafka_token_scope="kafka.write")
    first = await tokens.token()
    assert first.count(".") == 2
    assert await tokens.token() == first
    assert served.endpoint.asked == [{"grant_type": "client_credentials", "scope": "kafka.write"}]


async def test_one_that_is_nearly_over_is_replaced(served: Served) -> None:
    served.endpoint.more["expires_in"] = 1e-9
    tokens = served.tokens()
    await tokens.token()
    await tokens.token()
    assert len(served.endpoint.asked) == 2


async def test_a_wrong_secret_is_told_and_not_repeated(served: Served) -> None:
    with pytest.raises(TokenError) as refused:
        await served.tokens(kafka_token_client_secret="wr0ng-secret").token()
    assert str(refused.value).endswith("/token answered 401 (invalid_client)")
    assert "wr0ng" not in str(refused.value)


async def test_an_endpoint_in_trouble_is_told_and_asked_again(served: Served) -> None:
    served.endpoint.status = 503
    tokens = served.tokens()
    with pytest.raises(TokenError, match=r"answered 503 \(server_error\)"):
        await tokens.token()
    served.endpoint.status = 200
    assert await tokens.token()


@pytest.mark.parametrize("answer", [{"access_token": None}, {"access_token": "two words"}, {"access_token": "a\x01b"}])
async def test_what_is_no_token_is_not_sent_to_kafka(served: Served, answer: dict[str, Any]) -> None:
    served.endpoint.more |= answer
    with pytest.raises(TokenError, match="without an access_token"):
        await served.tokens().token()


async def test_an_endpoint_whose_certificate_is_not_trusted_is_sent_nothing(served: Served) -> None:
    with pytest.raises(TokenError, match=r"does not answer: .*certificate"):
        await served.tokens(kafka_token_ca_file="").token()
    assert served.endpoint.asked == []


async def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    tokens = TokenFile(str(path))
    with pytest.raises(TokenError, match="No such file"):
        await tokens.token()
    path.write_text("\n")
    with pytest.raises(TokenError, match="empty"):
        await tokens.token()
    for text in ("first", "second"):
        path.write_text(f"{text}\n")
        assert await tokens.token() == text

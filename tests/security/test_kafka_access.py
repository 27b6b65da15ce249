"""Every way in that Kafka offers, on a real broker; and what is said when it does not let us in."""

from __future__ import annotations

import ast
import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.admin import KafkaUnreachableError, check_topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import LogError
from stream_app.doctor import doctor
from stream_app.settings import load
from tests.security.certificates import KEY_PASSWORD, Authority
from tests.security.deployment import SecuredServers
from tests.security.tokens import Endpoint, Issuer

_ROOT = Path(__file__).parents[2]
# aiokafka waits for no goodbye where a password was refused: over TLS the loop may end before it comes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
Way = Callable[[SecuredServers], dict[str, Any]]


@pytest.fixture(autouse=True)
def its_own_garbage() -> Iterator[None]:
    """What a test left to be collected is told of here, not in whichever test comes then."""
    yield
    gc.collect()


def _plain(servers: SecuredServers) -> dict[str, Any]:
    return {"kafka_sasl_mechanism": "PLAIN", **_named("look", servers.password("look"))}


def _scram_512(servers: SecuredServers) -> dict[str, Any]:
    return {"kafka_sasl_mechanism": "SCRAM-SHA-512", **_named("look", servers.password("look"))}


def _scram_256(servers: SecuredServers) -> dict[str, Any]:
    return {"kafka_sasl_mechanism": "SCRAM-SHA-256", **_named("short", "short-password")}


def _token(servers: SecuredServers) -> dict[str, Any]:
    path = servers.directory / "token"
    path.write_text(servers.issuer.token("look"))
    return {"kafka_sasl_mechanism": "OAUTHBEARER", "kafka_token_file": str(path)}


def _certificate(servers: SecuredServers) -> dict[str, Any]:
    pair = servers.authority.client("look", password=KEY_PASSWORD)
    return {
        "kafka_bootstrap": servers.kafka.mtls,
        "kafka_security_protocol": "SSL",
        "kafka_client_cert_file": str(pair.cert),
        "kafka_client_key_file": str(pair.key),
        "kafka_client_key_password": KEY_PASSWORD,
    }


def _named(name: str, password: str) -> dict[str, Any]:
    return {"kafka_username": name, "kafka_password": password}


def _flags(servers: SecuredServers, **more: Any) -> dict[str, Any]:
    return {
        "kafka_bootstrap": servers.kafka.sasl,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ca_file": str(servers.authority.ca),
        **more,
    }


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("way", [_plain, _scram_512, _scram_256, _token, _certificate])
def test_every_way_in_leads_to_the_name_that_the_list_knows(way: Way, secured: SecuredServers) -> None:
    secured.allow("look")
    settings = load(flags=_flags(secured, **way(secured)))
    (first, *_) = asyncio.run(check_topics(settings))
    # The list lets `look` describe topics, and nobody else: whoever came in by another name would be denied.
    assert (first.got == "TopicAuthorizationFailedError") is (settings.kafka_username == "short"), first


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_named("look", "wrong"), "the broker refuses user 'look' by SCRAM-SHA-512: are kafka_username and"),
        ({**_named("look", "wrong"), "kafka_sasl_mechanism": "PLAIN"}, "the broker refuses user 'look' by PLAIN"),
        (
            {**_named("look", "wrong"), "kafka_ca_file": ""},
            "certificate is not trusted (unable to get local issuer certificate): give whoever signed it as kafka_ca",
        ),
        (
            {**_named("look", "wrong"), "kafka_ca_file": "", "kafka_security_protocol": "SASL_PLAINTEXT"},
            "the connection was made and not answered",
        ),
        ({"kafka_security_protocol": "SSL"}, "is kafka_security_protocol right for that port, and does it ask for a"),
    ],
    ids=["password", "plain", "authority", "protocol", "no-sasl"],
)
def test_who_is_not_let_in_is_told_why(given: dict[str, Any], said: str, secured: SecuredServers) -> None:
    settings = load(flags=_flags(secured, **given))
    with pytest.raises(KafkaUnreachableError) as refused:
        asyncio.run(check_topics(settings))
    assert said in str(refused.value)
    findings = {found.name: found for found in asyncio.run(doctor(settings))}
    assert said in findings["kafka"].found
    assert "wrong" not in str(refused.value) + str(findings)


@pytest.mark.real_kafka
@pytest.mark.real_redis
async def test_a_token_that_an_endpoint_hands_out_leads_in_by_the_clients_name(secured: SecuredServers) -> None:
    secured.allow("look")
    endpoint = Endpoint(secured.issuer, client="look", secret="s3cret")
    async with endpoint.listening(secured.authority.server()) as url:
        settings = load(
            flags=_flags(
                secured, kafka_sasl_mechanism="OAUTHBEARER", kafka_token_url=url, kafka_token_client_id="look",
                kafka_token_client_secret="s3cret", kafka_token_ca_file=str(secured.authority.ca),
            )
        )  # fmt: skip
        (first, *_) = await check_topics(settings)
    assert first.got != "TopicAuthorizationFailedError", first
    assert endpoint.asked


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("what", ["too old", "of another issuer"])
def test_a_token_that_is_no_good_is_told(what: str, secured: SecuredServers, tmp_path: Path) -> None:
    path = tmp_path / "token"
    issuer = Issuer(tmp_path) if what == "of another issuer" else secured.issuer
    path.write_text(issuer.token("look", seconds=-60 if what == "too old" else 3600))
    given = {"kafka_sasl_mechanism": "OAUTHBEARER", "kafka_token_file": str(path)}
    with pytest.raises(KafkaUnreachableError, match="does the broker refuse our token"):
        asyncio.run(check_topics(load(flags=_flags(secured, **given))))


@pytest.mark.real_kafka
@pytest.mark.real_redis
def test_a_certificate_of_another_authority_is_not_taken(secured: SecuredServers, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "somebody else").client("look")
    given = {
        "kafka_bootstrap": secured.kafka.mtls, "kafka_security_protocol": "SSL",
        "kafka_client_cert_file": str(stranger.cert), "kafka_client_key_file": str(stranger.key),
    }  # fmt: skip
    with pytest.raises(KafkaUnreachableError, match="does not let us in"):
        asyncio.run(check_topics(load(flags=_flags(secured, **given))))


def test_addresses_and_passwords_reach_a_client_in_one_place_only() -> None:
    """Whoever made a client beside it would speak in the clear where the others do not."""
    naming = {
        str(path.relative_to(_ROOT))
        for folder in ("stream_app", "producers")
        for path in (_ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "bootstrap_servers"
    }
    # The producers' sink takes a mere address as well: of the demo's own server.
    assert naming == {"producers/sink.py"}
    assert '"bootstrap_servers"' in (_ROOT / "stream_app/backends/kafka_access.py").read_text()


def test_a_certificate_that_is_being_renewed_is_waited_for_as_a_kafka_that_is_away(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.client("look")
    settings = load(
        flags={
            "kafka_security_protocol": "SSL",
            "kafka_ca_file": str(authority.ca),
            "kafka_client_cert_file": str(pair.cert),
            "kafka_client_key_file": str(pair.key),
        }
    )
    clients = KafkaClients(settings)
    other = authority.client("another")
    pair.cert.write_bytes(other.cert.read_bytes())  # its key comes a moment later
    for make in (clients.admin, clients.reader, lambda: clients.producer(client_id="test")):
        with pytest.raises(LogError, match="making a client: certificate"):
            make()
    pair.key.write_bytes(other.key.read_bytes())
    assert clients._access()["security_protocol"] == "SSL"

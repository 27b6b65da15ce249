"""What cannot work, or would protect less than it seems to, is refused at the start, and no secret is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_app.settings import Settings, SettingsError, explain, load
from tests.security.certificates import KEY_PASSWORD, Authority

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

SASL = {"kafka_security_protocol": "SASL_SSL"}
NAMED = {**SASL, "kafka_username": "worker", "kafka_password": "hunter2hunter2"}
BEARER = {**SASL, "kafka_sasl_mechanism": "OAUTHBEARER"}
ASKED = {
    "kafka_token_url": "https://issuer.example/token",
    "kafka_token_client_id": "worker",
    "kafka_token_client_secret": "hunter2hunter2",
}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"kafka_username": "x"}, "got kafka_username with kafka_security_protocol PLAINTEXT, expected SASL_SSL, or"),
        ({"kafka_password": "hunter2hunter2"}, "got kafka_password with kafka_security_protocol PLAINTEXT"),
        ({"kafka_ca_file": "ca.pem"}, "got kafka_ca_file with kafka_security_protocol PLAINTEXT, expected SSL or SASL"),
        (SASL, "got kafka_sasl_mechanism SCRAM-SHA-512 and no kafka_username and no kafka_password, expected them set"),
        ({**SASL, "kafka_username": "x"}, "and no kafka_password, expected it set"),
        ({**NAMED, "kafka_token_file": "t"}, "got kafka_token_file with kafka_sasl_mechanism SCRAM-SHA-512, expected"),
        ({**NAMED, "kafka_sasl_mechanism": "OAUTHBEARER"}, "expected kafka_token_file or kafka_token_url instead"),
        (BEARER, "without kafka_token_file and no kafka_token_url and no kafka_token_client_id and no"),
        ({**BEARER, **ASKED, "kafka_token_file": "t"}, "with kafka_token_file, expected one of both"),
        ({**BEARER, **ASKED, "kafka_token_url": "http://issuer.example/t"}, "expected https: the secret would be in"),
        (
            {**BEARER, **ASKED, "kafka_token_url": "https://a:hunter2@b/t"},
            "kafka_token_url: expected https://host/path",
        ),
        ({**NAMED, "kafka_client_key_file": "k"}, "got kafka_client_key_file with no kafka_client_cert_file"),
        ({**NAMED, "kafka_ca_file": "nowhere.pem"}, "TLS to Kafka: CA file nowhere.pem: No such file or directory"),
        ({"redis_ca_file": "ca.pem"}, "got redis_ca_file with a redis_url with redis://, expected rediss://"),
        ({"redis_username": "x"}, "got redis_username without redis_password"),
        (
            {"redis_url": "redis://u:hunter2hunter2@h", "redis_password": "hunter2hunter2"},
            "got a password in redis_url and redis_password, expected one of both",
        ),
        (
            {"redis_url": "rediss://h:1/0?ssl_cert_reqs=none"},
            "got TLS options in redis_url, expected redis_ca_file",
        ),
        (
            {"schema_registry_url": "http://registry.example:8081", "schema_registry_password": "hunter2hunter2"},
            "got schema_registry_password with schema_registry_url http://registry.example, expected https",
        ),
        ({"web_key_file": "k"}, "got web_key_file without web_cert_file"),
        ({"collect_cert_file": "nowhere.pem"}, "TLS of the collect port: certificate nowhere.pem: No such file"),
        ({"web_token": "hunter2hunter2"}, "got a web_token of fewer than 16 characters"),
        ({"snapshot_key": " , "}, "got an empty snapshot_key"),
    ],
)
def test_a_bad_combination_is_one_line_without_secrets(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags=flags)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "flags",
    [
        NAMED,
        {**BEARER, **ASKED},
        {**BEARER, **ASKED, "kafka_token_url": "http://127.0.0.1:1/token"},
        {**BEARER, "kafka_token_file": "made-later"},
        {"kafka_security_protocol": "SSL"},
        {"redis_url": "rediss://h", "redis_username": "u", "redis_password": "p"},
        {"schema_registry_url": "http://[::1]:8081", "schema_registry_password": "p"},
        {"schema_registry_url": "https://registry.example", "schema_registry_password": "p"},
    ],
)
def test_what_goes_together_is_taken(flags: dict[str, Any]) -> None:
    load(flags=flags)


def test_a_key_is_the_certificates_and_its_password_is_right(authority: Authority) -> None:
    one, other = authority.client("one", password=KEY_PASSWORD), authority.client("other")
    given = {"kafka_security_protocol": "SSL", "kafka_client_cert_file": str(one.cert)}
    locked = {**given, "kafka_client_key_file": str(one.key)}
    load(flags={**locked, "kafka_client_key_password": KEY_PASSWORD})
    for wrong in (
        {**locked, "kafka_client_key_password": "hunter2hunter2"},
        locked,
        {**given, "kafka_client_key_file": str(other.key)},
        given,
    ):
        with pytest.raises(SettingsError, match=r"TLS to Kafka: certificate .*one\.crt") as refused:
            load(flags=wrong)
        assert "hunter2" not in str(refused.value)


# ---- secrets from files ---------------------------------------------------------------------------------------------


def test_a_secret_may_be_in_a_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    monkeypatch.setenv("STREAM_APP_KAFKA_PASSWORD_FILE", str(path))
    given = {**SASL, "kafka_username": "worker"}
    assert load(flags=given).kafka_password.get_secret_value() == "hunter2"
    (line,) = [line for line in explain(flags=given) if line.name == "kafka_password"]
    assert (line.value, line.source) == ("***", f"environment STREAM_APP_KAFKA_PASSWORD_FILE: {path}")


def test_or_the_settings_file_does_and_it_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("from-the-file")
    (tmp_path / "stream-app.toml").write_text(f'snapshot_key_file = "{tmp_path / "key"}"\n')
    monkeypatch.setenv("STREAM_APP_SNAPSHOT_KEY", "from-the-environment")
    assert load().snapshot_keys == [b"from-the-file"]
    assert load(flags={"snapshot_key": "from-a-flag"}).snapshot_keys == [b"from-a-flag"]


def test_the_same_secret_twice_in_one_place_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    monkeypatch.setenv("STREAM_APP_WEB_TOKEN", "hunter2hunter2hunter2")
    monkeypatch.setenv("STREAM_APP_WEB_TOKEN_FILE", str(tmp_path / "key"))
    with pytest.raises(SettingsError, match="got STREAM_APP_WEB_TOKEN and STREAM_APP_WEB_TOKEN_FILE, expected one"):
        load()
    monkeypatch.delenv("STREAM_APP_WEB_TOKEN_FILE")
    (tmp_path / "stream-app.toml").write_text('snapshot_key = "hunter2"\nsnapshot_key_file = "key"\n')
    with pytest.raises(SettingsError, match="got snapshot_key and snapshot_key_file, expected one"):
        load()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "No such file or directory"),
        (b"\n", "empty, expected one secret"),
        (b"hunter2\xff", "not UTF-8 text"),
        (b"hunter2" * 10_000, "more than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_and_not_quoted(
    contents: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if contents is not None:
        (tmp_path / "key").write_bytes(contents)
    monkeypatch.setenv("STREAM_APP_SNAPSHOT_KEY_FILE", "key")
    with pytest.raises(SettingsError) as refused:
        load()
    told = str(refused.value)
    assert told.startswith("setting snapshot_key (from environment STREAM_APP_SNAPSHOT_KEY_FILE): secret file key: ")
    assert said in told
    assert "hunter2" not in told


def test_only_secrets_are_read_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_APP_GROUP_ID_FILE", "name")
    with pytest.raises(SettingsError, match="environment STREAM_APP_GROUP_ID_FILE: unknown setting"):
        load()


def test_keys_of_snapshots_are_several_in_a_file_or_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("new\nold\n")
    monkeypatch.setenv("STREAM_APP_SNAPSHOT_KEY_FILE", str(tmp_path / "keys"))
    assert load().snapshot_keys == [b"new", b"old"]
    assert Settings(snapshot_key="new, old").snapshot_keys == [b"new", b"old"]

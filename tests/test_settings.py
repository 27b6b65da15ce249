"""Settings: priority, provenance, one clear line for what is wrong, and secrets that stay secret."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from stream_app.settings import DEVELOPMENT_KEY, Explained, Settings, SettingsError, explain, load

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def test_every_default_is_valid_and_says_its_unit_and_reason() -> None:
    assert load() == Settings()
    for line in explain():
        assert (line.source, bool(line.unit), bool(line.reason)) == ("default", True, True), line


def test_a_flag_beats_the_file_beats_the_environment_beats_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "shop.toml"
    monkeypatch.setenv("STREAM_APP_GRACE_MS", "1")
    monkeypatch.setenv("STREAM_APP_WEB_PORT", "1")
    monkeypatch.setenv("STREAM_APP_MODEL", "from-env")
    file.write_text("grace_ms = 2\nweb_port = 2\n")
    flags = {"grace_ms": "3", "web_port": None}

    settings = load(flags=flags, config=str(file))

    assert (settings.grace_ms, settings.web_port, settings.model, settings.base_rate) == (3, 2, "from-env", 0.03)
    lines = _by_name(flags=flags, config=str(file))
    assert lines["grace_ms"].source == "flag --grace-ms"
    assert lines["web_port"].source == f"file {file}"
    assert lines["model"].source == "environment STREAM_APP_MODEL"
    assert lines["base_rate"].source == "default"


def test_the_file_is_found_by_flag_then_environment_then_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stream-app.toml").write_text('model = "by-name"')
    (tmp_path / "env.toml").write_text('model = "by-env"')
    (tmp_path / "flag.toml").write_text('model = "by-flag"')
    assert load().model == "by-name"
    monkeypatch.setenv("STREAM_APP_CONFIG", "env.toml")
    assert load().model == "by-env"
    assert load(config="flag.toml").model == "by-flag"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"web_port": "70000"}, "setting web_port (from flag --web-port): got '70000': "),
        ({"web_port": "x"}, "setting web_port (from flag --web-port): got 'x': "),
        ({"topic_prefix": "no spaces"}, "setting topic_prefix (from flag --topic-prefix): got 'no spaces': "),
        ({"band_fence_min": "0.5"}, "got band_fence_min 0.5 and band_likely_min 0.4, expected the first below"),
        ({"kafka_bootstrap": "kafka"}, "got 'kafka': expected host:port"),
        ({"kafka_bootstrap": "kafka:1,:2"}, "got 'kafka:1,:2': expected host:port"),
        ({"kafka_bootstrap": "kafka:port"}, "got 'kafka:port': expected host:port"),
        ({"redis_url": "http://redis"}, "setting redis_url (from flag --redis-url): expected redis://"),
        ({"redis_url": "redis://host:port"}, "setting redis_url (from flag --redis-url): "),
        ({"log_level": "loud"}, "setting log_level (from flag --log-level): got 'loud': "),
        ({"nonsense": "1"}, "setting nonsense (from flag --nonsense): "),
    ],
)
def test_a_wrong_value_is_one_line_with_where_it_came_from(flags: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags=flags)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_value_of_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_APP_GRACE_MS", "-1")
    with pytest.raises(SettingsError, match=r"setting grace_ms \(from environment STREAM_APP_GRACE_MS\): got '-1'"):
        load()


@pytest.mark.parametrize("address", ["a:1", "a:1,b:2", "a:1, b:2", "[::1]:9092", "kafka-1.example.com:9092"])
def test_usual_bootstrap_addresses_are_accepted(address: str) -> None:
    assert load(flags={"kafka_bootstrap": address}).kafka_bootstrap == address


def test_an_unknown_name_in_the_environment_is_refused_because_it_would_be_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAM_APP_GRACE", "1")
    with pytest.raises(SettingsError, match="environment STREAM_APP_GRACE: unknown setting"):
        load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grace = 1", "shop.toml: unknown name 'grace'"),
        ("grace_ms = ", "shop.toml is not TOML"),
        (None, "shop.toml: No such file or directory; give another with --config"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "shop.toml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        load(config="shop.toml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@redis:6379/0",
        "redis://user:s@hunter2@redis:6379/0",
        "redis://redis:6379/0?password=hunter2",
        "rediss://:hunter2@redis:6379",
    ],
)
def test_a_password_is_never_shown_but_the_host_is(url: str) -> None:
    flags = {"redis_url": url, "snapshot_key": "hunter2"}
    lines = _by_name(flags=flags)
    assert "hunter2" not in str(lines)
    assert "hunter2" not in repr(load(flags=flags))
    assert "redis:6379" in lines["redis_url"].value
    assert lines["snapshot_key"].value == "***"


@pytest.mark.parametrize("url", ["hunter2@redis", "redis://user:hunter2/x@redis", "redis://:hunter2@redis:port"])
def test_a_wrong_secret_is_not_repeated_in_the_error(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags={"redis_url": url})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://user:hunter2@registry:8081", "https://hunter2@registry"])
def test_a_registry_has_its_password_apart_and_a_wrong_address_does_not_repeat_it(url: str) -> None:
    with pytest.raises(SettingsError, match="schema_registry_password") as refused:
        load(flags={"schema_registry_url": url})
    assert "hunter2" not in str(refused.value)
    lines = _by_name(flags={"schema_registry_url": "https://registry/path/", "schema_registry_password": "hunter2"})
    assert lines["schema_registry_url"].value == "https://registry/path"
    assert lines["schema_registry_password"].value == "***"


def test_the_development_key_is_said_to_be_one() -> None:
    assert _by_name()["snapshot_key"].value == "(development key)"
    assert load().snapshot_key.get_secret_value() == DEVELOPMENT_KEY


def _by_name(**sources: Any) -> dict[str, Explained]:
    return {line.name: line for line in explain(**sources)}


def test_a_workers_name_may_be_its_hosts() -> None:
    host = socket.gethostname()
    assert load(flags={"worker_id": "{hostname}"}).worker_id == host
    assert load(flags={"worker_id": "shop-{hostname}.1"}).worker_id == f"shop-{host}.1"
    assert load().worker_id == ""
    with pytest.raises(SettingsError, match=r"setting worker_id .* got '\{pid\}'"):
        load(flags={"worker_id": "{pid}"})

"""Who may send is told before Kafka is asked for: there is none here."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stream_app.collect.cli import collect_command
from stream_app.collect.senders import senders_of
from stream_app.settings import load

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(collect_command, ["--kafka-bootstrap", "127.0.0.1:1", *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--collect-host", "0.0.0.0"], "without a write key"),
        (["--collect-host", "::"], "without a write key"),
        (["--collect-write-keys", KEY], "write key 1 has no name"),
        (["--collect-write-keys", "shop=short"], "fewer than 16 characters"),
        (["--collect-write-keys-file", "missing"], "No such file"),
        (["--collect-origins", "shop.example"], "expected one like https://shop.example"),
        (["--pseudonym-keys-file", "missing"], "missing"),
    ],
)
def test_what_is_set_wrongly_is_one_line_and_code_2_and_no_key_is_in_it(arguments: list[str], told: str) -> None:
    refused = _run(*arguments)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert KEY not in refused.stderr


def test_on_loopback_no_key_is_needed_and_then_kafka_is() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        refused = _run("--collect-host", host)
        assert refused.exit_code == 1
        assert "127.0.0.1:1" in refused.stderr


def test_keys_come_from_the_environment_and_a_file_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# of the apps\napp={OTHER}\n")
    monkeypatch.setenv("STREAM_APP_COLLECT_WRITE_KEYS", f"shop={KEY}")
    monkeypatch.setenv("STREAM_APP_COLLECT_WRITE_KEYS_FILE", str(tmp_path / "keys"))
    keys = senders_of(load()).keys
    assert (keys.name_of(KEY), keys.name_of(OTHER)) == ("shop", "app")
    (tmp_path / "keys").write_text(f"shop={OTHER}")
    assert "two write keys are called 'shop'" in _run().stderr

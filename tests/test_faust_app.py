"""`faust -A stream_app.faust_app worker` is `stream-app run` under another name; neither writes to the directory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli import main
from stream_app.settings import ENV_PREFIX
from tests.support.fixtures import Names, Servers

_REPOSITORY = Path(__file__).parents[1]
_FAUST = (sys.executable, "-m", "faust", "-A", "stream_app.faust_app", "worker")
_OURS = (sys.executable, "-m", "stream_app")
#: Says, once the application has started, what only the process itself knows.
_INSIDE = """
import asyncio, gc, sys
from faust.cli.faust import cli
from stream_app.process import Supervised

async def tell(self, started=Supervised.on_start):
    await started(self)
    print("loop", type(asyncio.get_running_loop()).__module__, "gc", gc.get_threshold()[0], flush=True)

Supervised.on_start = tell
sys.argv[0] = "faust"
cli()
"""


@pytest.fixture
def environment(embedded_servers: Servers, names: Names) -> dict[str, str]:
    """Of a shop whose topics do not exist yet."""
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    ours = {
        "kafka_bootstrap": embedded_servers.bootstrap,
        "redis_url": embedded_servers.redis_url,
        "topic_prefix": names.topic_prefix,
        "group_id": names.group_id,
        "web_port": "0",
        "check_crcs": "false",
    }
    return {
        **clean,
        **{f"{ENV_PREFIX}{name.upper()}": value for name, value in ours.items()},
        "PYTHONPATH": str(_REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def topics(environment: dict[str, str]) -> None:
    """They do."""
    where = [
        "--kafka-bootstrap", environment["STREAM_APP_KAFKA_BOOTSTRAP"],
        "--topic-prefix", environment["STREAM_APP_TOPIC_PREFIX"],
    ]  # fmt: skip
    created = CliRunner().invoke(main, ["topics", "create", *where])
    assert created.exit_code == 0, created.output


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A directory that nothing may be written to; root could, so it is looked at afterwards as well."""
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def _until(process: subprocess.Popen[str], wanted: str) -> str:
    """Standard error until it says so."""
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    seen = ""
    assert process.stderr is not None
    for line in process.stderr:
        seen += line
        if wanted in line:
            watchdog.cancel()
            return seen
    watchdog.cancel()
    pytest.fail(f"it ended before it said {wanted!r}: {seen}")


def _start_and_stop(command: list[str], environment: dict[str, str], cwd: Path, wanted: str) -> tuple[str, str]:
    """What it wrote to standard output and standard error; SIGTERM must end it with code 0."""
    with subprocess.Popen(
        command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            seen = _until(process, wanted)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, seen + err
            return out, seen + err
        finally:
            process.kill()


@pytest.mark.usefixtures("topics")
def test_fausts_command_runs_the_services_as_run_does(environment: dict[str, str], empty: Path) -> None:
    command = [sys.executable, "-c", _INSIDE, *_FAUST[3:]]
    out, err = _start_and_stop(command, environment, empty, "state=ready")
    inside = re.findall(r"loop (\S+) gc (\d+)", out)
    assert inside == [("asyncio.unix_events", "200000")] * 2  # the worker and the trainer
    assert "http" not in out.replace("aiohttp", "")  # any free port: it is not known yet
    assert ":6066" not in out + err
    assert "\x1b" not in out + err
    assert "Traceback" not in err
    lines = err.splitlines()
    assert lines
    ours = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) stream_app ")
    assert all(ours.match(line) for line in lines), err


@pytest.mark.usefixtures("topics")
def test_it_answers_on_our_web_port_and_the_banner_names_it(environment: dict[str, str], empty: Path) -> None:
    port = _free_port()
    environment |= {f"{ENV_PREFIX}WEB_PORT": str(port)}
    with subprocess.Popen(
        [*_FAUST, "--web-port", "6099"],
        env=environment,
        cwd=empty,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            _until(process, "state=ready")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 200
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert f"http://127.0.0.1:{port} " in out
    assert "6099" not in out


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize(
    ("name", "wanted"), [("run", "state=ready"), pytest.param("trainer", "state=learning", marks=pytest.mark.long)]
)
def test_our_own_programs_write_plain_lines_and_no_files(
    name: str, wanted: str, environment: dict[str, str], empty: Path
) -> None:
    out, err = _start_and_stop([*_OURS, name], environment, empty, wanted)
    assert out == ""
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("setting", "value", "code", "line"),
    [
        ("kafka_bootstrap", "127.0.0.1:1", 1, r"Error: Kafka at 127\.0\.0\.1:1 does not answer .*"),
        ("web_port", "many", 2, r"Error: setting web_port .*got 'many'.*"),
        ("group_id", "a-group", 1, r"Error: (\d+) of \1 topics missing on .*run `stream-app topics create`"),
    ],
    ids=["Kafka away", "wrong setting", "no topics"],
)
def test_what_cannot_start_is_one_line_and_no_traceback(
    setting: str, value: str, code: int, line: str, environment: dict[str, str], empty: Path
) -> None:
    _refused({**environment, f"{ENV_PREFIX}{setting.upper()}": value}, empty, code, line)


@pytest.mark.usefixtures("topics")
def test_an_unknown_model_is_one_line_and_code_2(environment: dict[str, str], empty: Path) -> None:
    _refused({**environment, f"{ENV_PREFIX}MODEL": "oracle"}, empty, 2, "Error: setting model: got 'oracle', .*")


def test_help_needs_no_kafka(environment: dict[str, str], empty: Path) -> None:
    environment |= {f"{ENV_PREFIX}KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    shown = subprocess.run(
        [*_FAUST, "--help"], env=environment, cwd=empty, capture_output=True, timeout=90, check=False
    )
    assert shown.returncode == 0, shown.stderr


def _refused(environment: dict[str, str], cwd: Path, code: int, line: str) -> None:
    ended = subprocess.run(
        _FAUST, env=environment, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=90, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert re.fullmatch(line + "\n", ended.stderr), ended.stderr
    assert ended.stdout == ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

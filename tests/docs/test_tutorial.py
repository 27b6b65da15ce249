"""docs/tutorial.md, followed to the letter on a real Kafka and Redis: every file, every command, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from stream_app.backends.child_process import ChildProcess, free_port
from stream_app.cli import main
from stream_app.settings import load
from tests.deploy.role import answers
from tests.docs.shown import Command, File, matches, steps
from tests.support.fixtures import Names, Servers

FOLLOWED = list(steps(Path(__file__).parents[2] / "docs" / "tutorial.md"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
#: In seconds, for what the page says comes within seconds, or after half a minute: machines are busy.
PATIENCE_S = 240.0


class Reader:
    """Somebody who follows the page, with servers elsewhere than it says."""

    def __init__(self, directory: Path, here: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.directory, self._here, self._environment = directory, here, environment
        self._terminals = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._terminals.close()

    def follow(self, step: File | Command) -> None:
        """Do it; AssertionError where it does not come out as shown."""
        if isinstance(step, File):
            (self.directory / step.name).write_text(self._local(step.text))
        elif step.background is not None:
            self._open_terminal(step, self._local(step.background))
        elif step.until is not None:
            self._type_until(step, step.until)
        else:
            done = self._type(step)
            assert done.returncode == 0, f"{step.words}: {done.stdout}{done.stderr}"
            assert not step.printed or matches(step.printed, done.stdout), f"{step.words}: {done.stdout}"

    def _local(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def _type(self, step: Command) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", self._local(step.words)], cwd=self.directory, env=self._environment,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def _type_until(self, step: Command, expected: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(expected, (done := self._type(step)).stdout):
            assert time.monotonic() < deadline, f"{step.words}: {done.stdout}{done.stderr}"
            time.sleep(0.5)
        assert not step.printed or matches(step.printed, done.stdout), f"{step.words}: {done.stdout}"

    def _open_terminal(self, step: Command, ready: str) -> None:
        command = ["/usr/bin/env", "-C", str(self.directory), "/bin/sh", "-c", f"exec {self._local(step.words)}"]
        terminal = ChildProcess(step.words, command, env=self._environment, stop_timeout_s=30)
        self._terminals.callback(terminal.stop)
        terminal.start(lambda: not ready or answers(ready), timeout_s=PATIENCE_S)


@pytest.mark.usefixtures("no_settings_of_this_machine")
def test_what_needs_no_server_comes_out_as_shown(tmp_path: Path) -> None:
    files = {step.name: step.text for step in FOLLOWED if isinstance(step, File)}
    assert set(files) == {"stream-app.toml", "clicks.csv", "shop.toml", "policy.toml"}
    offline = [step for step in FOLLOWED if isinstance(step, Command) and " check " in step.words]
    assert len(offline) == 2
    with Reader(tmp_path, {}, {"PATH": PATH}) as reader:
        for step in (*(step for step in FOLLOWED if isinstance(step, File)), *offline):
            reader.follow(step)
    assert load(config=str(tmp_path / "stream-app.toml")).discount_policy == "policy.toml"


def test_every_command_is_one_and_its_flags_are_its_own() -> None:
    for step in FOLLOWED:
        if isinstance(step, Command) and step.words.startswith("stream-app "):
            command, context, words = main, click.Context(main), step.words.split()[1:]
            # `discounts --web-port 8089` names no subcommand: the group knows which one is meant.
            while isinstance(command, click.Group) and not words[0].startswith("-"):
                command = command.get_command(context, words.pop(0))
                assert command is not None, step.words
            if not isinstance(command, click.Group):
                command.make_parser(context).parse_args(words)


@pytest.mark.long
@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.timeout(900)
def test_who_follows_the_tutorial_gets_from_zero_to_a_discount(
    real_servers: Servers, names: Names, tmp_path: Path
) -> None:
    here = {
        "127.0.0.1:9094": real_servers.bootstrap,
        "redis://127.0.0.1:6379/0": real_servers.redis_url,
        "8088": str(free_port()),
        "8089": str(free_port()),
    }
    # The servers are shared with other tests.
    environment = {
        "PATH": PATH,
        "STREAM_APP_TOPIC_PREFIX": names.topic_prefix,
        "STREAM_APP_GROUP_ID": names.group_id,
        "STREAM_APP_WEB_PORT": here["8088"],
    }
    with Reader(tmp_path, here, environment) as reader:
        for step in FOLLOWED:
            reader.follow(step)


def test_what_is_shown_matches_what_was_printed_but_where_it_says_that_it_differs() -> None:
    assert matches("a … c\n", "a b c")
    assert not matches("a … c", "a b d")
    assert not matches("a\n", "a\nb\n")

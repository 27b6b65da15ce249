"""`stream-app demo` as a person starts it: it ends by itself or when asked, adds up, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.settings import ENV_PREFIX

_REPOSITORY = Path(__file__).parents[2]
#: Ctrl-C and `docker stop`; both are the same to it, and the second is tried on demand.
SIGNALS = [
    pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.long),
]  # fmt: skip
_WEB = re.compile(r"metrics at http://127\.0\.0\.1:(\d+)/metrics")


class Demo:
    """A running demo and what it has said."""

    def __init__(self, *arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream_app", "demo", "--web-port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**clean, "PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self.said: dict[str, str] = {"out": "", "err": ""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        #: seen while it ran: its children and every loopback port that it or they listened on
        self.children: set[int] = set()
        self.ports: set[int] = set()

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            self.said[name] += line
        stream.close()

    def wait_for(self, pattern: str, seconds: float = 60.0) -> None:
        """Until it has said so; meanwhile what belongs to it is noted."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.said["out"] + self.said["err"]):
            assert self.process.poll() is None, f"it ended before {pattern!r}: {self.said}"
            assert time.monotonic() < deadline, f"no {pattern!r} within {seconds} s: {self.said}"
            time.sleep(0.05)
        self.children |= _children(self.process.pid)
        for pid in {self.process.pid, *self.children}:
            self.ports |= _listening(pid)

    def end(self, seconds: float = 60.0) -> int:
        """Its exit code."""
        code = self.process.wait(timeout=seconds)
        for reader in self._readers:
            reader.join(timeout=5)
        return code

    def assert_nothing_left(self) -> None:
        assert self.children, "the embedded Valkey was not seen"
        assert len(self.ports) >= 3, "Kafka, Valkey and web were not all seen listening"
        for pid in self.children:
            assert not Path(f"/proc/{pid}").exists(), f"child {pid} lives on"
        for port in self.ports:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still open"


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def _children(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def _listening(pid: int) -> set[int]:
    """Ports that the process listens on, from the sockets it holds."""
    held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
            ports.add(int(fields[1].split(":")[1], 16))
    return ports


def _offers(port: str) -> Any:
    """What `/api/offers` has, once it has any: they are read when somebody asks."""
    deadline = time.monotonic() + 60.0
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/offers") as response:
            shown = json.load(response)
        assert shown["problem"] is None
        if shown["offers"]:
            return shown
        assert time.monotonic() < deadline, "the page has no offers"
        time.sleep(0.2)


def _consistent(facts: dict[str, Any]) -> None:
    """The summary's own arithmetic, on a clean stream."""
    assert facts["scores"] == facts["events_sent"]
    assert facts["rejected"] == {}
    assert facts["repeated"] == 0
    assert facts["sessions_opened"] >= facts["sessions_closed"] > 0
    assert sum(facts["labels"].values()) == facts["labels_sent"]
    written = sum(facts["examples"].values())
    # A label that came after its session's end corrects what was learned: with real clocks that is the case of some.
    assert facts["examples_learned"] + facts["examples_held"] == written + facts["corrections"]
    assert written <= facts["scores"]
    assert facts["quality_examples"] <= written
    assert facts["model_version"] > 0
    if facts["offers"] is not None:
        assert facts["offers"]["taken"] <= facts["offers"]["made"]


needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at processes and ports in /proc")


@needs_proc
def test_a_demo_of_3000_events_ends_by_itself_with_a_summary_that_adds_up(tmp_path: Path, demos: list[Demo]) -> None:
    # The user's own servers are no business of a demo's, not even where the address is malformed.
    theirs = {"STREAM_APP_KAFKA_BOOTSTRAP": "no address", "STREAM_APP_REDIS_URL": "http://no-redis"}
    demo = Demo("--events", "3000", "--no-tty", "--json", cwd=tmp_path, environment=theirs)
    demos.append(demo)
    demo.wait_for("events scored")
    port = _WEB.search(demo.said["err"])
    assert port is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics") as response:
        assert b"intent_events_total" in response.read()
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/readyz") as response:
        assert set(json.load(response)["components"]) == {"worker", "trainer"}
    assert demo.end() == 0, demo.said
    facts = json.loads(demo.said["out"][demo.said["out"].index("{") :])
    assert facts["events_sent"] == 3_000
    _consistent(facts)
    assert "Traceback" not in demo.said["err"]
    assert "WARNING" not in demo.said["err"]
    demo.assert_nothing_left()


@needs_proc
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_middle_ends_it_with_the_same_summary_and_code_0(
    number: signal.Signals, tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo("--rate", "500", "--no-tty", "--json", cwd=tmp_path)
    demos.append(demo)
    demo.wait_for(r"1,\d\d\d events scored")
    demo.process.send_signal(number)
    assert demo.end(15) == 0, demo.said
    facts = json.loads(demo.said["out"][demo.said["out"].index("{") :])
    assert facts["scores"] == facts["events_sent"] > 1_000
    assert "Traceback" not in demo.said["err"]
    demo.assert_nothing_left()


@needs_proc
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_starts_leaves_nothing_either(
    number: signal.Signals, tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo("--no-tty", cwd=tmp_path)
    demos.append(demo)
    demo.wait_for("starting: ")
    demo.process.send_signal(number)
    assert demo.end(15) == 0, demo.said
    assert "Traceback" not in demo.said["err"]
    demo.assert_nothing_left()


def test_a_file_is_replayed_with_nothing_lost_and_every_rejected_row_has_a_reason(
    tmp_path: Path, demos: list[Demo]
) -> None:
    rows = ["timestamp,visitorid,event,itemid,transactionid"]
    for n in range(400):
        event = "addtocart" if n % 9 == 0 else "view"
        rows.append(f"{1_433_221_332_117 + 60_000 * n},{n % 7},{event},{n % 5},")
    rows += ["1433245332117,8,transaction,3,77", "soon,1,view,1,", "1433245332118,1,gaze,1,"]
    history = tmp_path / "events.csv"
    history.write_text("\n".join(rows) + "\n")
    demo = Demo("--input", str(history), "--no-tty", cwd=tmp_path)
    demos.append(demo)
    assert demo.end() == 0, demo.said
    assert "events.csv is retailrocket: the header has timestamp, visitorid" in demo.said["err"]
    assert re.search(r"events sent +401\n", demo.said["out"])
    assert re.search(r"scores +401 in", demo.said["out"])
    rejected = re.search(r"repeated, rejected +0, (.*)\n", demo.said["out"])
    assert rejected is not None
    assert sum(int(part.split()[0]) for part in rejected[1].split(", ")) == 2


def test_into_a_pipe_it_writes_plain_text_and_into_its_directory_nothing(tmp_path: Path, demos: list[Demo]) -> None:
    tmp_path.chmod(0o500)
    demo = Demo("--events", "500", "--no-tty", cwd=tmp_path, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    demos.append(demo)
    assert demo.end() == 0, demo.said
    assert re.search(r"scores +500 in", demo.said["out"])
    assert re.search(r"for another terminal: export STREAM_APP_KAFKA_BOOTSTRAP=127\.0\.0\.1:\d+ ", demo.said["out"])
    for text in demo.said.values():
        assert not re.search(r"[^\n\x20-\x7e–]", text), text
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run_is_one_line_and_code_2(tmp_path: Path, demos: list[Demo]) -> None:
    for arguments, text in (
        (("--input", "missing.csv", "--format", "rees46"), "missing.csv"),
        (("--input", "missing.csv"), "missing.csv"),
        (("--format", "rees46"), "without --input"),
        (("--mapping", "mine.toml"), "without --input"),
        (("--events", "0"), "0 is not in the range"),
        (("--model", "oracle"), "oracle"),
        (("--discount-policy", "no.toml"), "no.toml"),
    ):
        demo = Demo(*arguments, cwd=tmp_path)
        demos.append(demo)
        assert demo.end() == 2, demo.said
        assert text in demo.said["err"]
        assert "Traceback" not in demo.said["err"]


@needs_proc
def test_the_shop_is_made_offers_by_a_process_of_its_own_that_ends_with_the_demo(
    tmp_path: Path, demos: list[Demo]
) -> None:
    # Everybody with a moment, whatever the score. A cold model tells of hardly any.
    policy = tmp_path / "policy.toml"
    policy.write_text(_POLICY)
    demo = Demo("--no-tty", "--json", "--discount-policy", str(policy), cwd=tmp_path)
    demos.append(demo)
    demo.wait_for(r"offers [1-9]\d* made, \d+ found nobody, [1-9]", seconds=240)
    (discounts,) = (pid for pid in demo.children if b"discounts" in Path(f"/proc/{pid}/cmdline").read_bytes())
    assert _listening(discounts) <= demo.ports
    port = _WEB.search(demo.said["err"])
    assert port is not None
    shown = _offers(port[1])
    assert {row["percent"] for row in shown["offers"]} == {10.0}
    # The shop's time is not the clock's: by its own the newest have not run out.
    assert shown["offers"][0]["expires_at"] > shown["now"]
    demo.process.send_signal(signal.SIGINT)
    assert demo.end(15) == 0, demo.said
    facts = json.loads(demo.said["out"][demo.said["out"].index("{") :])
    assert facts["offers"]["taken"] > 0
    assert "problem" not in facts["experiment"], facts["experiment"]
    arms = facts["experiment"]["arms"]
    assert arms["treatment"]["exposures"] >= facts["offers"]["made"] + facts["offers"]["found_nobody"]
    assert arms["holdout"]["exposures"] > 0
    assert list(tmp_path.iterdir()) == [policy]
    demo.assert_nothing_left()


_POLICY = """
format = 1
[experiment]
id = "all"
salt = "s"
holdout = 0.2
[moments]
clock = "age"
[levels]
percents = [10.0]
fixed = 10.0
[money]
currency = "EUR"
margin = 0.4
order_value = 40.0
[budget]
per_hour = 1e6
per_day = 1e6
"""

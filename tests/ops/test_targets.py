"""Processes on one host say themselves where they are scraped: a file while they run, none when they have ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_app.settings import Settings
from stream_app.targets import TargetFile


class _Web(NamedTuple):
    """Where a process would listen."""

    url: str


def _file(targets: Path, port: int, **settings: str) -> TargetFile:
    given = Settings(web_port=0, web_targets=str(targets), group_id="shop", **settings)  # type: ignore[arg-type]
    return TargetFile(given, _Web(f"http://127.0.0.1:{port}"), role="worker")


def _told(targets: Path) -> list[str]:
    """The targets of all files that Prometheus would read."""
    files = sorted(targets.glob("*.json"))
    return [target for file in files for entry in json.loads(file.read_text()) for target in entry["targets"]]


async def test_a_file_names_the_real_port_while_the_process_runs(tmp_path: Path) -> None:
    targets = tmp_path / "not" / "there yet"
    file = _file(targets, 41_001, worker_id="w1")
    await file.start()
    assert file.path.name == "shop-worker-w1.json"
    assert json.loads(file.path.read_text()) == [
        {"targets": ["127.0.0.1:41001"], "labels": {"group": "shop", "role": "worker"}}
    ]
    await file.stop()
    assert list(targets.iterdir()) == []


async def test_the_file_of_a_crash_is_replaced_by_the_next_start_of_its_name(tmp_path: Path) -> None:
    crashed, successor = (_file(tmp_path, port, worker_id="w1") for port in (41_001, 41_002))
    await crashed.start()
    await successor.start()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    # The one that was thought dead ends at last: the file is no longer its own.
    await crashed.stop()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    await successor.stop()
    assert _told(tmp_path) == []


async def test_processes_of_other_names_keep_out_of_each_others_way(tmp_path: Path) -> None:
    first, second = (_file(tmp_path, 41_000 + n, worker_id=f"w{n}") for n in (1, 2))
    await first.start()
    await second.start()
    assert _told(tmp_path) == ["127.0.0.1:41001", "127.0.0.1:41002"]
    await first.stop()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    await second.stop()


def _left_by(targets: Path, pid: int, port: int, *, host: str = "") -> Path:
    """The file of a process without a name."""
    path = targets / f"shop-worker-{host or socket.gethostname()}-pid{pid}.json"
    path.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": {}}]))
    return path


def _files(targets: Path) -> set[Path]:
    return set(targets.iterdir())


def _dead() -> int:
    """The process id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


async def test_the_file_of_a_nameless_process_that_crashed_is_removed_by_the_next_start_on_its_host(
    tmp_path: Path,
) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        answering = listening.getsockname()[1]
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            silent = bound.getsockname()[1]
        crashed = _left_by(tmp_path, _dead(), silent)
        damaged = _left_by(tmp_path, _dead(), silent)
        damaged.write_text("{")
        alive = _left_by(tmp_path, os.getppid(), silent)
        other_host = _left_by(tmp_path, _dead(), silent, host="elsewhere")
        reachable = _left_by(tmp_path, _dead(), answering)
        named = tmp_path / "shop-worker-w1.json"
        named.write_text("[]")
        file = _file(tmp_path, 41_001)
        await file.start()
        assert file.path.name == f"shop-worker-{socket.gethostname()}-pid{os.getpid()}.json"
        assert _files(tmp_path) == {alive, other_host, reachable, named, file.path}
        assert not crashed.exists()
        assert not damaged.exists()
        await file.stop()
    assert _files(tmp_path) == {alive, other_host, reachable, named}


async def test_a_directory_that_cannot_be_written_to_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = _file(tmp_path / "file", 41_001)
    with pytest.raises(OSError, match=r"target file .*cannot be written .*--web-targets"):
        await file.start()
    await file.stop()

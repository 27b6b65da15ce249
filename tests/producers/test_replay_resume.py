"""Taking a replay up again: after a stop, a failure or SIGKILL nothing is missing, and what is repeated has its id."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from producers import replay as replaying
from producers.cli import produce
from producers.formats import FORMATS
from producers.history_files import HistoryFile, files_in
from producers.memory_sink import MemorySink
from producers.replay import replay_files
from producers.replay_state import ReplayState, StateFile
from producers.sink import SinkError, partition_of
from producers.source import SourceError
from stream_app import topics
from stream_app.core.events import Event
from tests.producers.test_sink import read_topic
from tests.support.fixtures import Names, Servers

START_MS = 1_600_000_000_000
CANONICAL = FORMATS["canonical"]


def row(number: int, visitor: str) -> str:
    event = {
        "event_id": f"e{number}",
        "event_type": "view_item",
        "event_time": START_MS + number * 10,
        "visitor_id": visitor,
    }
    return json.dumps(event) + "\n"


def history(root: Path, count: int) -> list[HistoryFile]:
    """`count` events in three files that overlap: in order, out of order, and packed; a broken row in each twenty."""
    rows = [row(number, f"v{number % 31}") + ("{\n" if number % 20 == 7 else "") for number in range(count)]
    root.mkdir()
    mixed = rows[1::3]
    random.Random(1).shuffle(mixed)
    (root / "1.jsonl").write_text("".join(rows[0::3]))
    (root / "2.jsonl").write_text("".join(mixed))
    (root / "3.jsonl.gz").write_bytes(gzip.compress("".join(rows[2::3]).encode()))
    return [HistoryFile(file.path, file.name, CANONICAL) for file in files_in([root])]


class FailingSink(MemorySink):
    """Fails at the n-th event; what it was given before is in `records`, which successive ones share."""

    def __init__(self, before: MemorySink | None, *, fails_at: int | None) -> None:
        super().__init__()
        if before is not None:
            self.records = before.records
        self.left = fails_at

    async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise SinkError("not acknowledged")
        await super().send_event(event, due_ms=due_ms)

    def events(self) -> list[str]:
        found = [record for record in self.records if record.topic == topics.EVENTS]
        return [json.loads(record.value)["event_id"] for record in found]


@pytest.mark.parametrize("fails_after", [1, 7, 50])
async def test_each_run_goes_on_where_the_failed_one_had_noted_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_after: int
) -> None:
    monkeypatch.setattr(replaying, "SAVE_SECONDS", 0.0)  # before each event: all that was sent is noted
    files = history(tmp_path / "in", 120)
    kept = StateFile(tmp_path / "state")
    sink = FailingSink(None, fails_at=fails_after)
    for _ in range(119 // fails_after):
        with pytest.raises(SinkError):
            await replay_files(files, sink, kept=kept)
        sink = FailingSink(sink, fails_at=fails_after)
    summary = await replay_files(files, sink, kept=kept)
    assert sink.events() == [f"e{number}" for number in range(120)]
    assert summary.notes[0].startswith("taken up after")


async def test_what_was_not_noted_is_sent_again_with_its_ids(tmp_path: Path) -> None:
    files = history(tmp_path / "in", 120)
    kept = StateFile(tmp_path / "state")
    await replay_files(files, MemorySink(), kept=kept, limit=40)
    noted = kept.read()
    assert noted is not None
    failing = FailingSink(None, fails_at=30)
    with pytest.raises(SinkError):
        await replay_files(files, failing, kept=kept)  # in less than the second after which it would be noted
    sink = FailingSink(failing, fails_at=None)
    await replay_files(files, sink, kept=kept)
    begin = noted.sent
    assert sink.events() == [
        *(f"e{number}" for number in range(begin, begin + 30)),
        *(f"e{number}" for number in range(begin, 120)),
    ]


async def test_a_stop_repeats_nothing_and_the_records_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    files = history(tmp_path / "in", 200)
    kept = StateFile(tmp_path / "state")
    whole, parts = MemorySink(), MemorySink()
    await replay_files(files, whole)
    limits = (1, 30, 3, 77, None)
    summaries = [await replay_files(files, parts, kept=kept, limit=limit) for limit in limits]
    assert [(r.topic, r.key, r.value, r.headers) for r in parts.records] == [
        (r.topic, r.key, r.value, r.headers) for r in whole.records
    ]
    assert [summary.rows for summary in summaries] == [1, 30, 3, 77, 210 - 111]
    assert summaries[1].notes[0] == "taken up after 1 rows, 1 of them events, that earlier runs have sent"


async def test_what_is_sent_wholly_is_not_sent_again(tmp_path: Path) -> None:
    files = history(tmp_path / "in", 60)
    kept = StateFile(tmp_path / "state")
    await replay_files(files, MemorySink(), kept=kept)
    sink = MemorySink()
    summary = await replay_files(files, sink, kept=kept)
    assert (summary.rows, sink.records) == (0, [])
    assert summary.notes[0] == "earlier runs have sent all of it: 60 events"


async def test_a_file_that_was_sent_wholly_is_not_even_read(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / f"{name}.jsonl").write_text(row(number * 10, "v1") + row(number * 10 + 1, "v2"))
    files = [HistoryFile(tmp_path / f"{name}.jsonl", name, CANONICAL) for name in "ab"]
    kept = StateFile(tmp_path / "state")
    await replay_files(files, MemorySink(), kept=kept, limit=3)
    state = kept.read()
    assert state is not None
    assert [(file.done, file.finished) for file in state.files] == [(2, True), (1, False)]


async def test_rows_are_held_against_the_clock_of_the_first_run(
    tmp_path: Path,
) -> None:
    """A row too far ahead then is not too far ahead tomorrow: taken as an event, every row after it would shift."""

    class Clock(replaying.SystemClock):
        def __init__(self, now_ms: int) -> None:
            self.wall_ms = now_ms

        def now_ms(self) -> int:
            return self.wall_ms

    path = tmp_path / "f.jsonl"
    path.write_text(row(0, "a") + row(9_000_000, "b") + row(9_000_001, "c"))  # 25 h later
    files = [HistoryFile(path, "f", CANONICAL)]
    kept, sink = StateFile(tmp_path / "state"), MemorySink()
    await replay_files(files, sink, kept=kept, limit=1, clock=Clock(START_MS))
    summary = await replay_files(files, sink, kept=kept, clock=Clock(START_MS + 7 * 24 * 3_600_000))
    assert (summary.sent, summary.rejected) == (0, {"time_out_of_range": 2})


def changed(root: Path, state: Path) -> None:
    (root / "1.jsonl").write_bytes((root / "1.jsonl").read_bytes().replace(b'"e0"', b'"x0"'))


def longer(root: Path, state: Path) -> None:
    with (root / "1.jsonl").open("a") as file:
        file.write(row(9_999, "v1"))


def joined_by_another(root: Path, state: Path) -> None:
    (root / "4.jsonl").write_text(row(9_999, "v1"))


def gone(root: Path, state: Path) -> None:
    (root / "2.jsonl").unlink()


def no_state(root: Path, state: Path) -> None:
    state.write_text('{"rows": 7}')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (changed, "state: got 1.jsonl .* expected 1.jsonl .* unchanged: the number of rows sent means other rows now"),
        (longer, "state: got 1.jsonl .* expected 1.jsonl .* unchanged"),
        (joined_by_another, "state: got 4.jsonl, which is new, expected the files it was begun with"),
        (gone, "state: got 3.jsonl.gz .* expected 2.jsonl"),
        (no_state, "state: got something else than the state of a replay"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_is_not_as_it_was_is_refused_before_anything_is_sent(tmp_path: Path, spoil: Any, words: str) -> None:
    files = history(tmp_path / "in", 60)
    kept = StateFile(tmp_path / "state")
    await replay_files(files, MemorySink(), kept=kept, limit=10)
    spoil(tmp_path / "in", tmp_path / "state")
    files = [HistoryFile(file.path, file.name, CANONICAL) for file in files_in([tmp_path / "in"])]
    sink = MemorySink()
    with pytest.raises(SourceError, match=words):
        await replay_files(files, sink, kept=kept)
    assert sink.records == []


async def test_other_options_are_refused(tmp_path: Path) -> None:
    files = history(tmp_path / "in", 60)
    kept = StateFile(tmp_path / "state")
    await replay_files(files, MemorySink(), kept=kept, limit=10, same={"the door": "no key"})
    with pytest.raises(SourceError, match="got the door k1, expected no key, with which it was begun"):
        await replay_files(files, MemorySink(), kept=kept, same={"the door": "k1"})


async def test_nothing_is_noted_before_it_is_acknowledged(tmp_path: Path) -> None:
    """The sink holds acknowledgements back until it is flushed: the state must not be ahead of them."""
    files = history(tmp_path / "in", 400)
    path = tmp_path / "state"

    class Held(MemorySink):
        arrived = 0
        saved: list[tuple[int, int]]

        async def send_event(self, event: Event, *, due_ms: int | None = None) -> None:
            self._look()
            await super().send_event(event, due_ms=due_ms)

        async def flush(self) -> None:
            self._look()
            await asyncio.sleep(0)
            self.arrived = len(self.records)

        def _look(self) -> None:
            if path.exists():
                state = StateFile(path).read()
                assert state is not None
                assert sum(file.done for file in state.files) <= self.arrived

    sink = Held()
    await replay_files(files, sink, kept=StateFile(path), speed=4.0)  # 4 s of events in 1 s
    state = StateFile(path).read()
    assert state is not None
    assert sum(file.done for file in state.files) == len(sink.records) == 420


def test_a_write_that_fails_half_way_leaves_the_former_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = StateFile(tmp_path / "state")
    kept.write(ReplayState(now_ms=1, same={}, files=[], sent=5))

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("producers.replay_state.os.fsync", fail)
    with pytest.raises(SourceError, match=r"state.new: No space left on device"):
        kept.write(ReplayState(now_ms=1, same={}, files=[], sent=6))
    state = kept.read()
    assert state is not None
    assert state.sent == 5


async def test_killed_again_and_again_it_loses_nothing_and_repeats_only_what_it_had_not_noted(
    tmp_path: Path, embedded_servers: Servers, names: Names
) -> None:
    count = 6_000
    history(tmp_path / "in", count)
    state_path = tmp_path / "state"
    command = [
        sys.executable, "-c", "from producers.cli import produce; produce()", "replay", str(tmp_path / "in"),
        "--resume", str(state_path), "--speed", "6", "--json",  # a minute of events in ten seconds
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    ]  # fmt: skip
    draw = random.Random(5)
    noted: list[int] = []  # at each kill, how many events the state knew to have arrived
    for _ in range(4):
        before = _sent(state_path)
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        while _sent(state_path) == before and process.returncode is None:  # noqa: ASYNC110  another process is looked at
            await asyncio.sleep(0.02)
        await asyncio.sleep(draw.random() * 0.8)
        process.kill()
        await process.wait()
        noted.append(_sent(state_path))
    assert noted == sorted(set(noted))  # each run came further
    assert noted[-1] < count, "all was sent before the last kill: nothing was tested"
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL)
    summary, _ = await process.communicate()
    assert process.returncode == 0
    records = await read_topic(embedded_servers.bootstrap, f"{names.topic_prefix}{topics.EVENTS}")
    seen: dict[str, list[int]] = {}
    copies: Counter[int] = Counter()
    for record in records:
        event = json.loads(record.value)
        number = int(event["event_id"][1:])
        assert record.partition == partition_of((record.key or b""), 4)
        if not copies[number]:
            seen.setdefault(event["visitor_id"], []).append(number)
        copies[number] += 1
    assert set(copies) == set(range(count))
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    for number, times in copies.items():
        assert times <= 1 + sum(number >= known for known in noted), number
    assert json.loads(summary)["sent"] == count - noted[-1]


def _sent(path: Path) -> int:
    state = StateFile(path).read()
    return state.sent if state is not None else 0


def test_a_changed_file_is_one_line_and_code_2(tmp_path: Path, embedded_servers: Servers, names: Names) -> None:
    history(tmp_path / "in", 60)
    arguments = [
        "replay", str(tmp_path / "in"), "--resume", str(tmp_path / "state"), "--limit", "10", "--json",
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    ]  # fmt: skip
    assert CliRunner().invoke(produce, arguments).exit_code == 0
    longer(tmp_path / "in", tmp_path / "state")
    refused = CliRunner().invoke(produce, arguments)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"Error: {tmp_path / 'state'}: got 1.jsonl (canonical, ")
    assert len(refused.stderr.splitlines()) == 1

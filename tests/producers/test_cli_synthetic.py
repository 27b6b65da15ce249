"""`produce synthetic` as a person meets it: the truth beside the stream, what can be asked for, errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from producers.cli import produce
from producers.synthetic.witness import TruthFile, TruthFileError, TruthRecord
from tests.support.fixtures import Names, Servers

EVERYTHING = (
    "--drift-days", 1, "--change-at", 1500, "--sale", "2025-01-01..2025-01-02", "--bots", 0.02, "--labels", 0.3,
    "--unlabelled", "2025-01-01T00:05..2025-01-01T00:20", "--no-backlog",
)  # fmt: skip
NOISE = ("--duplicates", 0.1, "--late", 0.1, "--broken", 0.1)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(produce, ["synthetic", *(str(argument) for argument in arguments)])


def truth_of(path: Path, servers: Servers, names: Names, *arguments: object) -> tuple[list[dict[str, object]], int]:
    """The records written, and the events sent."""
    result = invoke(
        "--rate", "max", "--events", 3000, "--json", "--truth", path, *arguments,
        "--kafka-bootstrap", servers.bootstrap, "--topic-prefix", names.topic_prefix,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in path.read_text().splitlines()], json.loads(result.stdout)["sent"]


def test_the_truth_of_each_event_is_written_beside_the_stream(
    tmp_path: Path, embedded_servers: Servers, names: Names
) -> None:
    truth, sent = truth_of(tmp_path / "truth.jsonl", embedded_servers, names)
    assert sent == len(truth) == len({record["event_id"] for record in truth}) == 3000
    assert all(list(record) == ["event_id", "event_time", "session_id", "p"] for record in truth)
    assert all(0 <= float(str(record["p"])) < 1 for record in truth)
    assert len({record["p"] for record in truth}) > 2000


def test_the_same_seed_writes_the_same_truth_with_all_there_is_and_noise_does_not_touch_it(
    tmp_path: Path, embedded_servers: Servers, names: Names
) -> None:
    clean, _ = truth_of(tmp_path / "clean.jsonl", embedded_servers, names, *EVERYTHING)
    noisy, sent = truth_of(tmp_path / "noisy.jsonl", embedded_servers, names, *EVERYTHING, *NOISE)
    # Of 3,000 deliveries some are repeats, so fewer events happened; each has the very same truth, in the same order.
    assert sent == 3000
    assert 2500 < len(noisy) < 3000
    assert noisy == clean[: len(noisy)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--change-at", "soon"], "expected a time such as 2025-01-03T12:00, or a number of events"),
        (["--change-at", "0"], "expected a time such as"),
        (["--sale", "2025-01-02"], "expected FROM..TO such as"),
        (["--sale", "2025-01-02..2025-01-01"], "expected FROM..TO such as"),
        (["--unlabelled", "a..b"], "expected FROM..TO such as"),
        (["--bots", "2"], "2.0 is not in the range"),
        (["--answer-offers", "--truth", "t.jsonl"], "--truth is of a shop that makes no offers"),
        (["--answer-offers", "--rate", "max"], "--answer-offers needs a --rate"),
        (["--truth", "/nowhere/at/all.jsonl"], "/nowhere/at/all.jsonl: No such file or directory"),
    ],
)
def test_a_wrong_wish_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_truth_that_cannot_be_written_is_one_line() -> None:
    def fill() -> None:
        with TruthFile(Path("/dev/full")) as file:
            for number in range(10_000):
                file.tell(TruthRecord(f"e{number}", number, None, 0.5))

    with pytest.raises(TruthFileError, match="/dev/full: No space left on device"):
        fill()

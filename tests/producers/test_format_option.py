"""`--format` and `--mapping`: the same everywhere, for all files if they are given, else each file is looked at."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from producers.cli import produce
from producers.format_option import chosen_files
from producers.formats import FORMATS
from producers.source_error import SourceError
from stream_app.cli import main

OURS = b'{"event_id":"e","event_type":"view_item","event_time":1769884205250,"visitor_id":"v"}\n'
RETAILROCKET = b"timestamp,visitorid,event,itemid,transactionid\n1433193132535,7,view,1,\n"
MAPPING = 'event_type = "event_type"\nevent_time = "event_time"\nvisitor_id = "visitor_id"\n'


def files(tmp_path: Path, **contents: bytes) -> list[Path]:
    """Files by name, `__` for the point before what it is."""
    paths = [tmp_path / name.replace("__", ".") for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def test_without_options_each_file_is_looked_at_and_each_format_said_once(tmp_path: Path) -> None:
    paths = files(tmp_path, a__jsonl=OURS, b__csv=RETAILROCKET, c__jsonl=OURS + OURS)
    chosen = chosen_files(paths, None, None)
    assert [(file.path, file.name, file.format.name) for file in chosen.files] == [
        (paths[0], "a.jsonl", "canonical"),
        (paths[1], "b.csv", "retailrocket"),
        (paths[2], "c.jsonl", "canonical"),
    ]
    assert chosen.found == [
        "a.jsonl and 1 more are canonical: 1 of 1 records have event_id, event_type, event_time, visitor_id",
        "b.csv is retailrocket: the header has timestamp, visitorid, event, itemid, transactionid",
    ]


def test_what_was_found_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen_files(files(tmp_path, b__csv=RETAILROCKET), None, None).say()
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("b.csv is retailrocket: ")


def test_options_speak_for_all_files_and_nothing_has_to_be_said(tmp_path: Path) -> None:
    paths = files(tmp_path, a__jsonl=OURS, b__csv=RETAILROCKET, empty__jsonl=b"")
    mapping = tmp_path / "mine.toml"
    mapping.write_text(MAPPING)
    for format_name, mapping_file, expected in (("segment", None, "segment"), (None, mapping, "mine.toml")):
        chosen = chosen_files(paths, format_name, mapping_file)
        assert [file.format.name for file in chosen.files] == [expected] * 3
        assert chosen.found == []


def test_a_directory_stands_for_its_files_and_a_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    inside = files(tmp_path / "day", part__jsonl=OURS, _SUCCESS=b"")
    chosen = chosen_files([tmp_path / "day", inside[0]], None, None)
    assert [(file.path, file.name) for file in chosen.files] == [(inside[0], "part.jsonl")]


def test_a_file_of_no_known_format_is_named_with_what_to_do(tmp_path: Path) -> None:
    paths = files(tmp_path, a__jsonl=OURS, b__csv=b"nr,what\n1,view\n")
    with pytest.raises(SourceError, match=r"b\.csv: the header has none .* say --format, or --mapping"):
        chosen_files(paths, None, None)
    both = OURS.rstrip()[:-1] + b',"type":"track","anonymousId":"a","event":"Product Viewed"}'
    with pytest.raises(SourceError, match=r"say --format canonical or --format segment"):
        chosen_files(files(tmp_path, both__jsonl=both), None, None)


def test_both_options_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="got --format and --mapping, expected one of them"):
        chosen_files(files(tmp_path, a__jsonl=OURS), "canonical", tmp_path / "mine.toml")


def test_every_command_that_reads_files_has_the_same_two_options() -> None:
    context = click.Context(main)
    told: dict[str, list[tuple[object, object]]] = {}
    for group in (main, produce):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None, name
            options = {option.name: option for option in command.params if isinstance(option, click.Option)}
            if "format_name" in options:
                told[name] = [(options[one].opts, options[one].help) for one in ("format_name", "mapping")]
    assert {"check", "replay", "sessions", "report", "evaluate", "demo"} <= set(told)
    # A topic may be of Avro, too.
    (names, about), (mapping, instead) = told.pop("ingest")
    assert [(names, str(about).partition("; topics only; ")[2]), (mapping, instead)] == [
        told["check"][0],
        (["--mapping"], str(told["check"][1][1]).replace("of --format:", "of --format, or with --format avro:")),
    ]
    assert all(one == told["check"] for one in told.values()), told
    assert [names for names, _ in told["check"]] == [["--format"], ["--mapping"]]
    assert all(name in str(told["check"][0][1]) for name in FORMATS)

"""docs/evaluation.md: every table's command is one that the program takes, and its tables are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from stream_app.cli_evaluate import evaluate_command
from stream_app.evaluation.question import parse_models
from stream_app.evaluation.tables import Table, to_markdown

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
_BLOCKS = re.findall(r"<!-- tables ([\w ]+): stream-app evaluate (.*?) -->\n(.*?)<!-- end -->", _DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("command", sorted({command for _, command, _ in _BLOCKS}))
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    with click.Context(evaluate_command) as context:
        options, _, _ = evaluate_command.make_parser(context).parse_args(shlex.split(command))
    assert options["format_name"] in ("rees46", "retailrocket")
    online, _ = parse_models(options.get("models", "newton"))
    assert online[0] == "newton"
    for file in options["files"]:
        assert file.startswith("../shared/data/")


def test_every_block_holds_as_many_tables_as_it_says() -> None:
    assert len(_BLOCKS) > 8
    for keys, command, content in _BLOCKS:
        assert content.count("| ---") >= len(keys.split()), command


def test_the_document_holds_no_row_of_the_data() -> None:
    # Sessions and visitors of these files have ids like UUIDs or long numbers; none may be told.
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|\bv?5\d{8}\b", _DOCUMENT)


def test_a_table_as_markdown() -> None:
    table = Table("key", "a title", ("model", "ROC AUC"), [["a|b", "0.7"], ["c", "–"]])
    assert to_markdown(table) == (
        "*a title*\n\n| model | ROC AUC |\n| --- | ---: |\n| a\\|b | 0.7 |\n| c | – |"
    )  # fmt: skip

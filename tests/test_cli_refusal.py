"""What was asked wrongly is one line without the usage, and code 2; anything else is not taken for it."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from stream_app.cli_refusal import AskedWronglyError, refusing


@click.command()
@click.argument("what")
def command(what: str) -> None:
    with refusing(LookupError, OSError):
        raise {"missing": KeyError, "denied": PermissionError, "broken": ValueError}[what](f"got {what}")


def test_an_error_that_is_meant_ends_the_command_in_one_line_with_code_2() -> None:
    for what, said in (("missing", "'got missing'"), ("denied", "got denied")):
        result = CliRunner().invoke(command, [what])
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {said}\n")


def test_another_error_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="got broken"):
        CliRunner().invoke(command, ["broken"], catch_exceptions=False)


def test_the_traceback_does_not_show_what_it_was_made_of() -> None:
    with pytest.raises(AskedWronglyError) as raised, refusing(OSError):
        raise OSError("no")
    assert raised.value.__suppress_context__

"""What was asked wrongly: `Error: …` in one line, and the exit code that click has for a wrong command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


class AskedWronglyError(click.ClickException):
    """A file, a setting or a name is not what it should be: to ask again helps only if something else is asked.

    Unlike click.UsageError it does not repeat the usage: options were understood, what they name is wrong.
    """

    exit_code = 2


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """End the command with the text of such an error, which has to be one line that says what to do.

    Raises
    ------
    AskedWronglyError
        Instead of any of `kinds`.
    """
    try:
        yield
    except kinds as error:
        raise AskedWronglyError(str(error)) from None

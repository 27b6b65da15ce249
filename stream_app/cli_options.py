"""Command-line flags made from the settings, one per field, so that no flag is written down twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stream_app.cli_refusal import refusing
from stream_app.settings import DEFAULT_CONFIG, ENV_PREFIX, Explained, Settings, SettingsError, explain, load

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Sources(NamedTuple):
    """What the command line said about settings: the flags by field name (None: not given) and the TOML file."""

    flags: dict[str, Any]
    config: str | None

    def load(self) -> Settings:
        """The settings; a wrong one ends the command with one line and code 2."""
        with refusing(SettingsError):
            return load(flags=self.flags, config=self.config)

    def explain(self) -> list[Explained]:
        """Each setting with its source; a wrong one ends the command with one line and code 2."""
        with refusing(SettingsError):
            return explain(flags=self.flags, config=self.config)


def with_sources(*, only: Collection[str] | None = None) -> Callable[[_Command], _Command]:
    """Give a command `--config` and one flag per setting; it is called with `sources`.

    `only` limits the flags to the fields named (KeyError for an unknown one): a producer needs no session gap. The
    environment and the file still set all of them.
    """
    names = list(Settings.model_fields) if only is None else list(only)

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def wrapped(*args: Any, config: str | None, **options: Any) -> Any:
            flags = {name: options.pop(name) for name in names}
            return command(*args, sources=Sources(flags, config), **options)

        decorated: Any = wrapped
        for name in reversed(names):
            decorated = _flag(name, Settings.model_fields[name])(decorated)
        return click.option(  # type: ignore[no-any-return]
            "--config",
            metavar="FILE",
            help=f"TOML file of settings [default: {ENV_PREFIX}CONFIG, then {DEFAULT_CONFIG} where it exists]",
        )(decorated)

    return decorate


def with_settings(*, only: Collection[str] | None = None) -> Callable[[_Command], _Command]:
    """Give a command `--config` and one flag per setting (or `only` those); it is called with `settings`."""

    def decorate(command: _Command) -> _Command:
        @with_sources(only=only)
        @functools.wraps(command)
        def wrapped(*args: Any, sources: Sources, **options: Any) -> Any:
            return command(*args, settings=sources.load(), **options)

        return wrapped  # type: ignore[return-value]

    return decorate


def _flag(name: str, field: FieldInfo) -> Callable[[Any], Any]:
    """One option. Its value stays text: `load` checks it like any other source, with one kind of message."""
    unit = str(field.json_schema_extra["unit"]) if isinstance(field.json_schema_extra, dict) else "text"
    text = field.description or ""
    if isinstance(field.default, SecretStr):
        text += f"; better through {ENV_PREFIX}{name.upper()}: flags show in the process list"
    else:
        text += f" [default: {field.default if field.default != '' else 'none'}]"
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    metavar = "|".join(choices) if choices else unit
    return click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)

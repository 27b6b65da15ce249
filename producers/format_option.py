"""`--format` and `--mapping`, of every command that reads files, and what files they then are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from producers.detection import detect_file
from producers.formats import FORMATS, Format
from producers.history_files import HistoryFile, files_in
from producers.mapping_file import read_mapping
from producers.source_error import SourceError

_C = TypeVar("_C", bound=Callable[..., Any])

#: `--format` of records that name a schema of a registry.
AVRO: Final = "avro"
AVRO_DESCRIPTION: Final = "Avro with a schema registry around any of the others, or what --mapping says; topics only"

_HELP: Final = "; ".join(f"{name}: {format.description}" for name, format in sorted(FORMATS.items())) + "."


def format_options(command: _C) -> _C:
    """Give the command `format_name` and `mapping`, for `chosen_format` or `chosen_files`."""
    return _options(command, sorted(FORMATS), _HELP, "Instead of --format")


def topic_format_options(command: _C) -> _C:
    """The same with `AVRO` among the names: what it takes to read that is there for topics only."""
    names, about = [AVRO, *sorted(FORMATS)], f"{AVRO}: {AVRO_DESCRIPTION}; {_HELP}"
    return _options(command, names, about, f"Instead of --format, or with --format {AVRO}")


def _options(command: _C, names: Sequence[str], about: str, mapping: str) -> _C:
    command = click.option(
        "--mapping",
        type=click.Path(path_type=Path),
        metavar="TOML",
        help=f"{mapping}: a file that says where the fields of your own format are (docs/formats.md).",
    )(command)
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(names),
        help=f"{about} [default: told from the file's beginning]",
    )(command)


def chosen_format(path: Path, format_name: str | None, mapping: Path | None) -> tuple[Format, str]:
    """The format that the options say, or that the file looks like, and in words how we know.

    Raises
    ------
    SourceError
        If the file or the mapping cannot be read, or no format, or more than one, fits.
    click.UsageError
        If both options are given.
    """
    return said_format(format_name, mapping) or _as_it_looks(path)


class ChosenFiles(NamedTuple):
    """Files, and in words which formats were found and why: a line for each; none if the options say the format."""

    files: list[HistoryFile]
    found: list[str]

    def say(self) -> None:
        """Print what was found, to stderr: stdout may be a program's."""
        for line in self.found:
            click.echo(line, err=True)


def chosen_files(paths: Sequence[Path], format_name: str | None, mapping: Path | None) -> ChosenFiles:
    """The files that are named, and those below the directories that are, each with its format.

    The options speak for all of them. Without, each file is looked at by itself: a shop that has changed its tracker
    has files of two formats, and by the first one's every row of the others would be rejected.

    Raises
    ------
    SourceError
        If a file or the mapping cannot be read, or of a file no format, or more than one, fits.
    click.UsageError
        If both options are given.
    """
    said = said_format(format_name, mapping)
    found = files_in(paths)
    if said is not None:
        return ChosenFiles([HistoryFile(file.path, file.name, said[0]) for file in found], [])
    looks = [_as_it_looks(file.path) for file in found]
    files = [HistoryFile(file.path, file.name, format) for file, (format, _) in zip(found, looks, strict=True)]
    return ChosenFiles(files, _in_words(files, [why for _, why in looks]))


def said_format(format_name: str | None, mapping: Path | None) -> tuple[Format, str] | None:
    """The format that the options say, and in words how we know; None if they say none.

    Raises
    ------
    SourceError
        If the mapping cannot be read.
    click.UsageError
        If both options are given.
    """
    if mapping is not None and format_name is not None:
        raise click.UsageError("got --format and --mapping, expected one of them")
    if mapping is not None:
        return read_mapping(mapping), f"as {mapping} says"
    return (FORMATS[format_name], "as --format says") if format_name is not None else None


def _as_it_looks(path: Path) -> tuple[Format, str]:
    found = detect_file(path)
    if found.format is not None:
        return found.format, found.why
    raise SourceError(f"{path}: {found.why}; {found.advice}")


def _in_words(files: Sequence[HistoryFile], whys: Sequence[str]) -> list[str]:
    """One line for each format, with the first file's reason: a directory may have a thousand parts."""
    places: dict[str, list[int]] = {}
    for place, file in enumerate(files):
        places.setdefault(file.format.name, []).append(place)
    lines = []
    for name, (first, *more) in places.items():
        who = f"{files[first].name} and {len(more)} more are" if more else f"{files[first].name} is"
        lines.append(f"{who} {name}: {whys[first]}")
    return lines

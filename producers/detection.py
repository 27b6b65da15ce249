"""Which format a file has, from its first records, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple

from producers.array_rows import ArrayRows
from producers.delimited import header_names
from producers.formats import FORMATS, Format, json_object, marks_missing
from producers.packed import first_bytes, is_parquet, unpacked
from producers.parquet_rows import ParquetRows
from producers.rows import LineRows, Rows
from producers.source_error import SourceError
from stream_app.core.codec import Rejected

#: Records looked at: a file of several kinds of records shows most of them by then.
RECORDS_LOOKED_AT: Final = 100

#: A format is taken if so many of the records have its marks: single broken ones do not make a file unknown.
_SHARE_MIN: Final = 0.5


class Detection(NamedTuple):
    """The format, if it is certain, all that fit, and what was seen in words."""

    format: Format | None
    candidates: tuple[str, ...]
    why: str

    @property
    def advice(self) -> str:
        """Which options help where the format is not certain."""
        names = " or ".join(f"--format {name}" for name in self.candidates)
        return f"say {names or '--format, or --mapping'} (docs/formats.md)"


def detect_file(path: Path) -> Detection:
    """Look at the beginning of a file.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    try:
        disk = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    with disk:
        return detect_stream(disk, path)


def detect_stream(disk: IO[bytes], path: Path) -> Detection:
    """Look at the beginning of a file that has just been opened.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    try:
        if is_parquet(disk):
            return detect_columns(ParquetRows(disk, path, only_text=False).names, "the table")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    stream = unpacked(disk, path)
    begin = first_bytes(stream, path)
    if not begin:
        return Detection(None, (), "the file is empty")
    rows: Rows
    if begin.startswith(b"["):
        rows = ArrayRows(stream, disk, path)
    else:
        rows = LineRows(stream, disk, path)
        if not begin.startswith(b"{"):
            return _detect_text(rows)
    return detect(raw for _, raw in islice(rows, RECORDS_LOOKED_AT))


def detect(values: Iterable[bytes], *, which: str = "first") -> Detection:
    """Look at records that are JSON objects; `which` ones they are, in words, of all that there are."""
    seen, broken = 0, 0
    fitting: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for raw in values:
        seen += 1
        record = json_object(raw)
        if isinstance(record, Rejected):
            broken += 1
            continue
        names.update(record.keys())
        fitting.update(format.name for format in FORMATS.values() if not marks_missing(format, record))
    if seen == broken:
        return Detection(None, (), f"none of {seen} records is a JSON object")
    enough = [name for name, count in fitting.most_common() if count >= _SHARE_MIN * (seen - broken)]
    common = [name for name, count in names.items() if count >= _SHARE_MIN * (seen - broken)]
    told = f"the {which} {seen} records" if seen > 1 else "the only record"
    return _decided(enough, common, told, counts=f"{fitting[enough[0]]} of {seen} records" if enough else "")


def detect_columns(names: Sequence[str], where: str) -> Detection:
    """Look at a header's columns."""
    fitting = [format.name for format in FORMATS.values() if format.is_tabular and not marks_missing(format, names)]
    # Nested columns, as of a Parquet file, hold what no text can.
    if where == "the table":
        fitting = [format.name for format in FORMATS.values() if not marks_missing(format, names)]
    return _decided(fitting, names, where, counts=where)


def _detect_text(rows: LineRows) -> Detection:
    line = rows.take_line() or b""
    fields = line.count(b"\t") + 1
    for format in FORMATS.values():
        if fields == len(format.fixed_columns):
            return Detection(
                format, (format.name,), f"its lines have {fields} fields with tabs between, as {format.name}"
            )
    return detect_columns(header_names(line)[0], "the header")


def _decided(fitting: Sequence[str], names: Sequence[str], where: str, *, counts: str) -> Detection:
    if len(fitting) == 1:
        format = FORMATS[fitting[0]]
        return Detection(
            format,
            tuple(fitting),
            f"{counts} has {_told(format)}" if counts == where else f"{counts} have {_told(format)}",
        )
    if fitting:
        return Detection(None, tuple(fitting), f"{where} may be {' or '.join(fitting)}")
    closest = min(FORMATS.values(), key=lambda format: len(marks_missing(format, names)) / len(format.marks))
    lacks = marks_missing(closest, names)
    got = ", ".join(names)[:200] or "no names"
    near = f"; closest is {closest.name}, but there is no {', '.join(lacks)}" if len(lacks) < len(closest.marks) else ""
    verb = "have" if where.endswith("records") else "has"
    return Detection(None, (), f"{where} {verb} none of the known formats: got {got}{near}")


def _told(format: Format) -> str:
    return ", ".join(" or ".join(group) for group in format.marks)

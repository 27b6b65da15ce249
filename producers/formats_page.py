"""The tables of docs/formats.md, from the mappings themselves: `python -m producers.formats_page` writes them there.

What stands between the two marks is made here; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from producers.adapters import cloudevents, rees46, retailrocket
from producers.adapters.table import PER_ITEM, Table
from producers.adapters.table import Path as Place
from producers.formats import FORMATS
from producers.mapping_file import SETTINGS
from stream_app.core.events import EVENT_TYPES, Event

BEGIN: Final = "<!-- made by python -m producers.formats_page -->"
END: Final = "<!-- end of what is made -->"

PAGE: Final = Path(__file__).parent.parent / "docs" / "formats.md"

#: Of the formats that are rows of text, what their modules say: field → column.
_ROWS: Final[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]] = {
    rees46.NAME: (rees46.FIELDS, rees46.EVENT_TYPES),
    retailrocket.NAME: (retailrocket.FIELDS, retailrocket.EVENT_TYPES),
}


def tables() -> str:
    """All tables, as Markdown."""
    lines = ["| format | is | told by |", "| --- | --- | --- |"]
    for format in FORMATS.values():
        marks = ", ".join(" or ".join(f"`{name}`" for name in group) for group in format.marks)
        lines.append(f"| `{format.name}` | {format.description} | {marks} |")
    lines.append("")
    for name, format in FORMATS.items():
        if format.table is not None:
            lines += [
                f"### `{name}`",
                "",
                *_fields(format.table),
                "",
                *_types(format.table.types, format.table.is_open),
                "",
            ]
        elif name in _ROWS:
            fields, types = _ROWS[name]
            lines += [f"### `{name}`", "", "| field | column |", "| --- | --- |"]
            lines += [f"| `{field}` | {column} |" for field, column in fields.items()]
            lines += ["", *_types(types, is_open=False), ""]
    lines += [f"### `{cloudevents.NAME}`", "", "| field of an event of ours inside | attribute |", "| --- | --- |"]
    lines += [f"| `{field}` | `{attribute}` |" for attribute, field in cloudevents.FIELDS.items()]
    lines += ["", "### Keys of a mapping file", "", "| key | is |", "| --- | --- |"]
    lines.append(f"| {', '.join(f'`{field}`' for field in Event.__struct_fields__)} | a place, or a list of places |")
    lines += [f"| `{key}` | {told} |" for key, told in SETTINGS.items()]
    return "\n".join(lines)


def page_with(text: str) -> str:
    """A page with its tables made anew.

    Raises
    ------
    ValueError
        If the marks are not in it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"got a page without {BEGIN} and {END}, expected both")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _fields(table: Table) -> Iterator[str]:
    yield "| field | in the record | in an item |"
    yield "| --- | --- | --- |"
    times = " or ".join(f"`{'.'.join(time.path)}` ({time.form})" for time in table.times)
    items = f", of the list {_places(table.items_at)}" if table.items_at else ""
    for field in Event.__struct_fields__:
        if field == "event_type":
            yield f"| `{field}` | {_places(table.type_at)} | |"
        elif field == "event_time":
            yield f"| `{field}` | {times} | |"
        elif field == "event_id" and field not in table.fields:
            yield f"| `{field}` | a hash of the record | |"
        elif field == "bot" and table.user_agents:
            flag = f"{_places(table.fields[field])}, or " if field in table.fields else ""
            yield f"| `{field}` | {flag}a declared robot's {_places(table.user_agents)} | |"
        elif field in table.fields or field in table.item_fields:
            record, item = (_places(places.get(field, ())) for places in (table.fields, table.item_fields))
            total = f"of a single item {_places(table.total_at)}" if field == "price" else ""
            yield f"| `{field}` | {record or total} | {item}{items if item and field == 'item_id' else ''} |"


def _types(types: Mapping[str, str], is_open: bool) -> Iterator[str]:
    yield "| event type | theirs |"
    yield "| --- | --- |"
    for ours in EVENT_TYPES:
        theirs = [name for name, named in types.items() if named == ours]
        if theirs:
            yield f"| `{ours}`{', one for each item' if ours in PER_ITEM else ''} | {', '.join(theirs)} |"
    yield f"| {'ignored' if is_open else 'rejected'} | all others |"


def _places(places: Sequence[Place]) -> str:
    return " or ".join(f"`{'.'.join(path)}`" for path in places)


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

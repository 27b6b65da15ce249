"""The reference of policy files, made from the types that check them: what a key takes, and what its table is for.

python -m stream_app.discounts.policy_reference > docs/discounts-policy.md
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from stream_app.discounts.core import criteria
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_schema import KEYS
from stream_app.discounts.core.situation import NUMBERS, TEXTS

_IN_AN_EDITOR: Final = """\
## In an editor

The same for programs is [discount-policy.schema.json](schemas/discount-policy.schema.json), JSON Schema (2020-12);
`stream-app schemas --out schemas` writes that of the version that is installed. With a first line such as

    #:schema ./schemas/discount-policy.schema.json

an editor whose TOML support is Taplo's (in VS Code: Even Better TOML) completes keys and names, says what each is for,
and marks what is unknown, missing or out of bounds while one writes; `taplo check policy.toml` says the same on a
command line. What keys say about each other is not in there: `stream-app discounts check` has the last word."""

_WIDTH: Final = 120
_BOUNDS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def documentation() -> str:
    """`docs/discounts-policy.md`."""
    lines = [
        "# The policy file, key by key",
        "",
        "Made from the types that check it by `python -m stream_app.discounts.policy_reference`; a test compares them.",
        "A key that nobody knows is an error, and so is a value out of its bounds: the file is used as a whole or not",
        "at all. `stream-app discounts check FILE` says what a policy does. Times are seconds, money is in",
        "`money.currency`, percents are off the list price.",
        "",
        *_IN_AN_EDITOR.split("\n"),
    ]
    for path, kind in _tables(types.type_info(Policy), ""):
        lines += ["", f"## {f'[{path}]' if path else 'The file itself'}", "", *_about(kind.cls), ""]
        lines += ["| key | says | takes | without it |", "| --- | --- | --- | --- |"]
        lines += [_row(field, KEYS[kind.cls.__name__][field.encode_name]) for field in kind.fields]
    lines += ["", "## `eligible`: conditions", "", *_quoted(inspect.getdoc(criteria) or "")]
    for heading, known in (("Numbers", NUMBERS), ("Texts", TEXTS)):
        lines += ["", f"### {heading}", "", "| name | unit | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {named.unit} | {named.meaning} |" for name, named in known.items()]
    return "\n".join(lines) + "\n"


def _tables(kind: types.Type, path: str) -> Iterator[tuple[str, types.StructType]]:
    """Every table with its path; conditions have words of their own."""
    if not isinstance(kind, types.StructType) or kind.cls is criteria.Criterion:
        return
    yield path, kind
    for field in kind.fields:
        name = f"{path}.{field.encode_name}" if path else field.encode_name
        inner = field.type
        if isinstance(inner, types.VarTupleType):
            inner = inner.item_type
        if isinstance(inner, types.Metadata):
            inner = inner.type
        yield from _tables(inner, name)


def _about(cls: type) -> list[str]:
    paragraphs = (inspect.getdoc(cls) or "").split("\n\n")
    return "\n\n".join(textwrap.fill(each.replace("\n", " "), _WIDTH) for each in paragraphs).split("\n")


def _quoted(text: str) -> list[str]:
    first, _, rest = text.partition("\n\n")
    return [first, "", *rest.split("\n")]


def _row(field: types.Field, says: str) -> str:
    if field.required:
        default = "refused"
    elif field.default is not msgspec.NODEFAULT:
        default = _shown(field.default)
    else:
        default = "none"
    return f"| `{field.encode_name}` | {says} | {_takes(field.type)} | {default} |"


def _shown(value: Any) -> str:
    if isinstance(value, criteria.Criterion):
        return "everybody"
    if isinstance(value, msgspec.Struct):
        usual = type(value)()
        names = [name for name in value.__struct_fields__ if getattr(value, name) != getattr(usual, name)]
        said = [f"{name} = {_plain(getattr(value, name))}" for name in names]
        return f"`{', '.join(said)}`" if said else "what its own keys say"
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value is None else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else f"{value:.12g}"


def _takes(kind: types.Type) -> str:
    if isinstance(kind, types.Metadata):
        return _takes(kind.type)
    if isinstance(kind, types.UnionType):
        return " or ".join(_takes(each) for each in kind.types if not isinstance(each, types.NoneType))
    if isinstance(kind, types.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, types.VarTupleType):
        return f"a list of: {_takes(kind.item_type)}"
    if isinstance(kind, types.DictType):
        return f"a table by category: {_takes(kind.value_type)}"
    if isinstance(kind, types.StructType):
        return "conditions" if kind.cls is criteria.Criterion else "a table"
    if isinstance(kind, types.BoolType):
        return "true or false"
    if isinstance(kind, types.FloatType | types.IntType):
        bounds = [f"{sign} {getattr(kind, name):.12g}" for name, sign in _BOUNDS if getattr(kind, name) is not None]
        name = "a number" if isinstance(kind, types.FloatType) else "a whole number"
        return f"{name} {', '.join(bounds)}".strip()
    return "a text"


if __name__ == "__main__":
    print(documentation(), end="")

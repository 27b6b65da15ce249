"""docs/configuration.md, made from the settings: `python -m stream_app.settings_page > docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stream_app.settings import ENV_PREFIX, Settings

#: The first setting of each section, in the order in which `Settings` has them.
_SECTIONS: Final = {
    "kafka_bootstrap": "Kafka",
    "redis_url": "Redis",
    "session_gap_ms": "Sessions",
    "batch_records_max": "Batches and memory",
    "quiet_ms": "Moments",
    "discount_policy": "Discounts",
    "model": "Scores and learning",
    "pseudonym_key": "The door: what of an event comes in",
    "schema_registry_url": "Avro",
    "collect_host": "Collecting over HTTP",
    "web_host": "The web port",
    "log_level": "Logs and traces",
}

_BEGINNING: Final = f"""# Settings

<!-- Made by `python -m stream_app.settings_page > docs/configuration.md`; a test compares. -->

Each setting `x_y` may be given, in rising priority, by its default, by the environment (`{ENV_PREFIX}X_Y`), by a TOML
file (`x_y = …`; `--config FILE`, `{ENV_PREFIX}CONFIG`, or `stream-app.toml` where the program is started), or by a
flag (`--x-y`).
A wrong value or an unknown name stops the program with one line that says what was got and what was expected.
`stream-app settings` shows the values in force and where each came from, secrets masked.

A secret may be in a file instead, as Docker, Kubernetes and systemd hand them out: `{ENV_PREFIX}X_Y_FILE`, or
`x_y_file` in the TOML file, names it. Times end with `_ms` and are whole milliseconds.
"""


_HEAD: Final = "| setting | default | unit | bounds | why it is there |\n| --- | --- | --- | --- | --- |"


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join((_BEGINNING, *_tables()))


def _tables() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            yield f"\n## {_SECTIONS[name]}\n\n{_HEAD}"
        cells = (f"`{name}`", _default(field), _unit(field), _bounds(field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    """What it may be: names, or the numbers between which it lies."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    found = {}
    for rule in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if hasattr(rule, name):
                found[name] = f"{sign} {_number(getattr(rule, name))}"
    return ", ".join(found.values())


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    print(page(), end="")

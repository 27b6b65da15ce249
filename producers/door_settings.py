"""The door of a command, from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from producers.door import Door, DoorSettings
from producers.pseudonym_keys import PseudonymKeys, key_in, read_keys
from producers.source_error import SourceError
from stream_app.settings import Settings

#: For `with_settings(only=…)`.
DOOR_SETTINGS: Final = ("pseudonym_key", "pseudonym_keys_file", "kept_parameters", "personal_fields")
KEY_SETTINGS: Final = DOOR_SETTINGS[:2]


def door_of(settings: Settings) -> Door:
    """The door that the settings describe. Raises SourceError if the keys cannot be read."""
    parameters = tuple(name.strip() for name in settings.kept_parameters.split(",") if name.strip())
    return Door(DoorSettings(keys_of(settings), parameters, masks=settings.personal_fields == "masked"))


def keys_of(settings: Settings) -> PseudonymKeys | None:
    """The keys of visitors' pseudonyms; None where ids stay as they are. Raises SourceError as above."""
    single = settings.pseudonym_key.get_secret_value()
    if single and settings.pseudonym_keys_file:
        raise SourceError("got pseudonym_key and pseudonym_keys_file, expected at most one of them")
    if settings.pseudonym_keys_file:
        return read_keys(Path(settings.pseudonym_keys_file))
    return key_in(single) if single else None

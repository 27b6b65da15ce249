"""Who may send, from the settings: write keys and origins. Told before anything is started, or waited for."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NamedTuple

from stream_app.collect.core.origins import Origins
from stream_app.collect.core.write_keys import WriteKeys, WriteKeysError, read_keys
from stream_app.settings import Settings, SettingsError


class Senders(NamedTuple):
    """The write keys, and the pages that may send."""

    keys: WriteKeys
    origins: Origins


def senders_of(settings: Settings) -> Senders:
    """Read them.

    Raises
    ------
    SettingsError
        If write keys or origins cannot be used, or the collector would be open to everybody beyond this machine.
    """
    keys = _write_keys(settings)
    if not keys and not _is_loopback(settings.collect_host):
        raise SettingsError(
            f"setting collect_host: got {settings.collect_host!r} without a write key, expected one: anybody could "
            "write events; set STREAM_APP_COLLECT_WRITE_KEYS=NAME=KEY"
        )
    return Senders(keys, _origins(settings))


def _write_keys(settings: Settings) -> WriteKeys:
    try:
        keys = read_keys(settings.collect_write_keys.get_secret_value())
        if settings.collect_write_keys_file:
            of_file = read_keys(Path(settings.collect_write_keys_file).read_text(encoding="utf-8"))
            twice = sorted(keys.keys() & of_file.keys())
            if twice:
                raise WriteKeysError(f"two write keys are called {twice[0]!r}: give each a name of its own")
            keys |= of_file
    except WriteKeysError as error:
        raise SettingsError(f"setting collect_write_keys: {error}") from None
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"setting collect_write_keys_file: {error}") from None
    return WriteKeys(keys)


def _origins(settings: Settings) -> Origins:
    try:
        return Origins(settings.collect_origins)
    except ValueError as error:
        raise SettingsError(f"setting collect_origins: {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Write keys: who may send. Only their hashes are kept, and all of them are compared, in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from stream_app.collect.core.refusal import RefusalError

#: Shorter keys can be tried out: 16 characters of hexadecimal digits are 64 bits.
KEY_LENGTH_MIN: Final = 16

#: What senders are told apart by, in logs; keys themselves are in none.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

#: In queries, where beacons and GA4 have to put it.
QUERY_NAMES: Final = ("write_key", "api_secret")


class WriteKeysError(ValueError):
    """Write keys that cannot be used; the text says which one, by its place or name, and never quotes a key."""


class WriteKeys:
    """The keys by name. With none of them, everybody may send, under the name `anybody`."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = {name: _digest(key) for name, key in keys.items()}

    def __len__(self) -> int:
        return len(self._digests)

    def name_of(self, given: str | None) -> str:
        """Whose key it is. Raises RefusalError (401) for none and for an unknown one."""
        if not self._digests:
            return "anybody"
        digest = _digest(given or "")
        found = ""
        for name, known in self._digests.items():  # to the end, whatever is found: time tells nothing
            if hmac.compare_digest(digest, known):
                found = name
        if found and given:
            return found
        raise RefusalError(
            401,
            "unauthorized",
            got="a write key that is not known" if given else "no write key",
            expected="one, as Authorization: Bearer KEY, or as query parameter write_key",
            do="ask whoever runs the collector for one",
        )


def read_keys(text: str) -> dict[str, str]:
    """Read `NAME=KEY`, separated by commas or line ends; `#` begins a comment line.

    Raises
    ------
    WriteKeysError
        If one has no name or is too short, or two have one name.
    """
    keys: dict[str, str] = {}
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    for place, entry in enumerate((part.strip() for line in lines for part in line.split(",")), start=1):
        if not entry:
            continue
        name, separator, key = entry.partition("=")
        if not separator or not _NAME.fullmatch(name.strip()):
            raise WriteKeysError(f"write key {place} has no name: expected NAME=KEY, a name of letters, digits, . _ -")
        if len(key.strip()) < KEY_LENGTH_MIN:
            raise WriteKeysError(
                f"write key {name.strip()!r} has fewer than {KEY_LENGTH_MIN} characters: make one with "
                "`openssl rand -hex 16`"
            )
        if name.strip() in keys:
            raise WriteKeysError(f"two write keys are called {name.strip()!r}: give each a name of its own")
        keys[name.strip()] = key.strip()
    return keys


def key_given(authorization: str, query: Mapping[str, str]) -> str | None:
    """The key that a request brings beside its body: as bearer token, as user of Basic, or in its query."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            return ""  # something was given, and it is no key
    return next((query[name] for name in QUERY_NAMES if query.get(name)), None)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()

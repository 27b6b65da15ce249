"""The keys under which visitors' ids become pseudonyms: which one is in force when, and where they are read from.

A pseudonym is `KEY_ID.XXXXXXXXXXXXXXXXXXXXXX`: the key's name, and the first 128 bits of HMAC-SHA-256 (RFC 2104, RFC
4868 truncates it likewise) in URL-safe base64. Without the key nobody can tell whose it is, nor try all addresses there
are; 128 bits are enough that two visitors never share one by chance (one in 10^20 for ten billion visitors).

The key of an event is the one in force at the *event's* time, not at the present. So a new key is handed to all doors
before it begins, and late events, late labels and replays of last month come to the pseudonym that they had then.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from producers.source_error import SourceError

#: As long as the hash: a longer key is no better, a shorter one can be tried out (RFC 2104, section 3).
SECRET_BYTES_MIN: Final = 32

#: Of the hash; see above.
_KEPT_BYTES: Final = 16

_KEY_ID: Final = re.compile(r"[a-z0-9-]{1,16}", re.ASCII)

#: What is hashed begins with one of these, so that a session and a visitor of one name have nothing in common.
_VISITOR, _SESSION, _CHECK = b"visitor\0", b"session\0", b"check\0"


class PseudonymKey:
    """One key. Its secret is in no text of it."""

    __slots__ = ("_prefix", "_secret", "key_id", "since_ms")

    def __init__(self, key_id: str, secret: bytes, *, since_ms: int = 0) -> None:
        if not _KEY_ID.fullmatch(key_id):
            raise SourceError(f"got the key id {key_id[:40]!r}, expected 1 to 16 of a-z, 0-9 and -")
        if len(secret) < SECRET_BYTES_MIN:
            raise SourceError(
                f"key {key_id}: got a secret of {len(secret)} bytes, expected at least {SECRET_BYTES_MIN}; make one "
                "with `openssl rand -base64 32`"
            )
        self.key_id = key_id
        self.since_ms = since_ms
        self._secret = secret
        self._prefix = f"{key_id}."

    def __repr__(self) -> str:
        return f"PseudonymKey({self.key_id!r}, since_ms={self.since_ms})"

    def visitor(self, visitor_id: str) -> str:
        """The pseudonym of a visitor."""
        return self._prefix + self._hashed(_VISITOR, visitor_id)

    def session(self, session_id: str) -> str:
        """The pseudonym of a session, whose id may contain the visitor's."""
        return self._prefix + self._hashed(_SESSION, session_id)

    @property
    def check(self) -> str:
        """Tells this key from another one of its name, and says nothing of the secret."""
        return self._prefix + self._hashed(_CHECK, str(self.since_ms))[:8]

    def _hashed(self, kind: bytes, text: str) -> str:
        hashed = hmac.digest(self._secret, kind + text.encode(errors="surrogatepass"), "sha256")[:_KEPT_BYTES]
        return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


class PseudonymKeys:
    """All keys, each in force from its own time until the next one's.

    Raises
    ------
    SourceError
        If there is none, two have one name or begin together, or none is in force from the beginning.
    """

    def __init__(self, keys: Sequence[PseudonymKey]) -> None:
        self._keys = sorted(keys, key=lambda key: key.since_ms)
        self._since = [key.since_ms for key in self._keys]
        if len({key.key_id for key in keys}) < len(keys) or len(set(self._since)) < len(keys):
            raise SourceError("got two keys with one id, or that begin together, expected them to differ in both")
        if not keys or self._since[0]:
            raise SourceError("got no key without `since`, expected one: it is in force until the others begin")

    def at(self, time_ms: int) -> PseudonymKey:
        """The key in force at an event's time, ms since the epoch."""
        return self._keys[max(0, bisect_right(self._since, time_ms) - 1)]

    def names_of(self, visitor_id: str) -> list[str]:
        """All pseudonyms that a visitor has had, or may yet get, the oldest key's first."""
        return [key.visitor(visitor_id) for key in self._keys]

    @property
    def check(self) -> str:
        """Tells these keys from others, and says nothing of the secrets."""
        return " ".join(key.check for key in self._keys)


def read_keys(path: Path) -> PseudonymKeys:
    """Read a TOML file of `[[key]]` tables, each with `id`, `secret` (base64) and, but for the first, `since`.

        [[key]]
        id = "2026a"
        secret = "…"                      # openssl rand -base64 32

        [[key]]
        id = "2026b"
        since = 2026-07-01T03:00:00Z      # from this event time on
        secret = "…"

    Raises
    ------
    SourceError
        If it cannot be read, or is not such a file; the text never has anything of a secret.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("key")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # Their own texts quote the file.
        raise SourceError(f"{path}: got something else than TOML, expected tables [[key]] with id and secret") from None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SourceError(f"{path}: got no tables [[key]], expected at least one, with id and secret")
    try:
        return PseudonymKeys([_key(table) for table in tables])
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None


def key_in(text: str) -> PseudonymKeys:
    """Read `ID:SECRET`, the secret in base64: what fits in an environment variable. Raises SourceError."""
    key_id, _, secret = text.partition(":")
    return PseudonymKeys([_key({"id": key_id, "secret": secret})])


def _key(table: Mapping[str, Any]) -> PseudonymKey:
    key_id, secret, since = table.get("id"), table.get("secret"), table.get("since")
    unknown = set(table) - {"id", "secret", "since"}
    if not isinstance(key_id, str) or not isinstance(secret, str) or unknown:
        raise SourceError(
            f"got a key with {', '.join(sorted(table)) or 'nothing'}, expected id and secret, both texts, perhaps since"
        )
    if since is not None and not isinstance(since, datetime):
        raise SourceError(f"key {key_id[:40]}: got since {since!r}, expected a time such as 2026-07-01T03:00:00Z")
    try:
        text = secret.strip().rstrip("=").replace("-", "+").replace("_", "/")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SourceError(
            f"key {key_id[:40]}: got a secret that is not base64; make one with `openssl rand -base64 32`"
        ) from None
    since_ms = 0
    if since is not None:
        since_ms = int((since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp() * 1000)
    return PseudonymKey(key_id, raw, since_ms=since_ms)

"""What visitors are called where people look: by a short salted hash, or by their ids where the shop allows that."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

#: Bytes of the hash: two of ten thousand open sessions share a name once in twenty thousand pages.
_HASH_BYTES: Final = 5
_HASHED: Final = re.compile(rf"[0-9a-f]{{{2 * _HASH_BYTES}}}")


class VisitorNames:
    """Names for visitors. Whoever does not know `key` cannot find out whether a name is that of an id."""

    def __init__(self, key: bytes, *, show_ids: bool) -> None:
        self._key = blake2b(key, person=b"visitor names", digest_size=32).digest()
        self.show_ids = show_ids

    def name(self, visitor_id: str) -> str:
        """What the visitor is called: ten hexadecimal digits, or the id itself."""
        if self.show_ids:
            return visitor_id
        return blake2b(visitor_id.encode(), key=self._key, digest_size=_HASH_BYTES).hexdigest()

    def is_name(self, text: str) -> bool:
        """Whether a visitor could be called that."""
        return bool(text) if self.show_ids else _HASHED.fullmatch(text) is not None

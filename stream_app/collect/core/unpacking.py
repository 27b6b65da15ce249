"""A body as it was before it was packed: gzip, with a bound on what comes out."""

from __future__ import annotations

import zlib
from typing import Final

from stream_app.collect.core.refusal import RefusalError

#: Content-Encoding → whether the body is packed. Anything else is refused.
ENCODINGS: Final = {"": False, "identity": False, "gzip": True}

#: zlib's way to say: a gzip header, and a window of any size.
_GZIP_WINDOW: Final = 31


def is_packed(encoding: str) -> bool:
    """Whether a body of this Content-Encoding is packed. Raises RefusalError (415)."""
    packed = ENCODINGS.get(encoding.strip().lower())
    if packed is None:
        raise RefusalError(
            415, "unsupported", got=f"Content-Encoding {encoding[:40]!a}", expected="gzip, or none", do="send it so"
        )
    return packed


def unpacked(data: bytes, *, most: int) -> bytes:
    """Unpack gzip. No more than `most` bytes and one are ever made, whatever the data claims.

    Raises
    ------
    RefusalError
        413 if there are more, 400 if it is not gzip, is cut off, or has something behind it.
    """
    inflating = zlib.decompressobj(_GZIP_WINDOW)
    try:
        body = inflating.decompress(data, most + 1)
    except zlib.error as error:
        raise _broken(str(error)) from None
    if len(body) > most:
        raise too_large(most, "after unpacking")
    if not inflating.eof:
        raise _broken("it is cut off")
    if inflating.unused_data:
        raise _broken("something follows it")
    return body


def too_large(most: int, when: str) -> RefusalError:
    """The refusal of a body with more than `most` bytes."""
    return RefusalError(
        413, "too_large", got=f"more than {most} bytes {when}", expected="at most that", do="send fewer events at once"
    )


def _broken(why: str) -> RefusalError:
    return RefusalError(400, "broken", got=f"a body that is not gzip ({why})", expected="one gzip stream", do="mend it")

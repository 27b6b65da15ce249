"""What a server answers over HTTP, as far as it is to be believed."""

from __future__ import annotations

import aiohttp


async def bounded_body(content: aiohttp.StreamReader, most: int) -> bytes:
    """The body, or its first `most` bytes. A single read gives what has come so far, and answers are longer."""
    body = b""
    while (left := most - len(body)) and (more := await content.read(left)):
        body += more
    return body

"""The page's own files, out of the package: read once, answered with an ETag, so that a reload costs a few bytes."""

from __future__ import annotations

from hashlib import blake2b
from importlib import resources
from typing import Final, NamedTuple

from aiohttp import web

from stream_app.web.answers import PAGE_HEADERS, ProblemError

_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}


class _File(NamedTuple):
    data: bytes
    content_type: str
    etag: str


class StaticFiles:
    """All files of `web/static/`, in memory (100 kB); no path of a request ever reaches the file system."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        for entry in resources.files("stream_app.web").joinpath("static").iterdir():
            kind = entry.name.rpartition(".")[2]
            if kind in _TYPES:
                data = entry.read_bytes()
                self._files[entry.name] = _File(data, _TYPES[kind], blake2b(data, digest_size=8).hexdigest())

    def answer(self, request: web.Request, name: str) -> web.Response:
        """The file, or 304 where the browser has it. Raises ProblemError for a name that is none of ours."""
        file = self._files.get(name)
        if file is None:
            raise ProblemError(404, got=f"/static/{name[:60]}", expected="a file of the page", do="begin at /")
        headers = {**PAGE_HEADERS, "Cache-Control": "no-cache", "ETag": f'"{file.etag}"'}
        if f'"{file.etag}"' in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=file.data, content_type=file.content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response

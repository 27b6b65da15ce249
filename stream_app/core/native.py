"""The compiled twin of the inner loop, where it is built (`native/`); None where it is not."""

from __future__ import annotations

from typing import Any, Final

try:
    import stream_app_native as _native
except ImportError:
    _native = None

#: The module `stream_app_native`, or None.
native: Final[Any] = _native


def engine(name: str) -> Any | None:
    """The module that the setting `engine` asks for, None for Python.

    Raises
    ------
    ImportError
        If it is asked for by name, and not built.
    """
    if name == "python" or (name == "auto" and native is None):
        return None
    if native is None:
        raise ImportError("got engine `compiled`, but it is not built: `pip install ./native` (needs Rust), or `auto`")
    return native

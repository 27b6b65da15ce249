"""The compiled twin of the inner loop, where it is built (`native/`); None where it is not, or is another version's."""

from __future__ import annotations

from typing import Any, Final

from stream_app import __version__

try:
    import stream_app_native as _native
except ImportError:
    _native = None

#: The version of a module that is not ours to use: it would fold as that version did. None if there is none.
OTHER_VERSION: Final[str | None] = _native.__version__ if _native and _native.__version__ != __version__ else None

#: The module `stream_app_native`, or None.
native: Final[Any] = _native if OTHER_VERSION is None else None


def engine(name: str) -> Any | None:
    """The module that the setting `engine` asks for, None for Python.

    Raises
    ------
    ImportError
        If it is asked for by name, and not built; or if it is not asked not to be used, and is another version's.
    """
    if name == "python":
        return None
    if OTHER_VERSION is not None:
        raise ImportError(
            f"got the compiled engine of version {OTHER_VERSION}, expected {__version__}: `pip install ./native` again "
            "(needs Rust), or engine `python`"
        )
    if native is None and name == "compiled":
        raise ImportError("got engine `compiled`, but it is not built: `pip install ./native` (needs Rust), or `auto`")
    return native

"""Computing beside the event loop, where it takes long enough to be worth the way to a thread and back.

A batch of thousands takes a tenth of a second. On the event loop every acknowledgement, every poll and every write to
Redis of the other partitions would wait for it, several times a batch. The compiled engine holds no lock of Python's
while it reads, folds, writes and compresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

#: Records from which on a batch is large: it is computed beside the event loop, and is published alone (`together.py`).
LARGE: Final = 256

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def beside(records: int, compute: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `compute`, in a thread if there are many records. Who is cancelled meanwhile still waits for its end.

    So whoever cancelled may use again what is computed with.
    """
    if records < LARGE:
        return compute(*args, **kwargs)
    computing = asyncio.get_running_loop().run_in_executor(None, partial(compute, *args, **kwargs))
    try:
        return await asyncio.shield(computing)
    except asyncio.CancelledError:
        await asyncio.wait({computing})
        raise

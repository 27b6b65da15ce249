"""Whether the process is alive and whether it is ready, asked of each component at the moment of the question.

A component registers what it can say of itself; nothing is remembered here, so an answer is never stale. Alive false
means: restart this process. Ready false means: give it no work and count it out, but let it be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Whether, and a few words for a person: `(False, "partition 3 is restoring, 40 s")`.
Answer: TypeAlias = tuple[bool, str]
Check: TypeAlias = Callable[[], Answer]
#: Whether all is well, and each component's answer as JSON values.
Report: TypeAlias = tuple[bool, dict[str, dict[str, bool | str]]]


class Health:
    """The components' own words, by name."""

    def __init__(self) -> None:
        self._ready: dict[str, Check] = {}
        self._alive: dict[str, Check] = {}

    def register(self, name: str, *, ready: Check, alive: Check | None = None) -> None:
        """Ask `ready` for readiness and, if given, `alive` for liveness; ValueError for a name that is taken."""
        if name in self._ready:
            raise ValueError(f"a component {name!r} is registered already")
        self._ready[name] = ready
        if alive is not None:
            self._alive[name] = alive

    def alive(self) -> Report:
        """Alive unless a component says it is stuck; that somebody answers is most of it."""
        return _ask(self._alive)

    def ready(self) -> Report:
        """Ready when every component is; not before the first one has registered."""
        fine, words = _ask(self._ready)
        return fine and bool(words), words


def _ask(checks: dict[str, Check]) -> Report:
    words: dict[str, dict[str, bool | str]] = {}
    for name, check in checks.items():
        try:
            fine, text = check()
        except Exception as error:  # a component that cannot even answer is not well; the others still are asked
            fine, text = False, f"could not be asked: {type(error).__name__}: {error}"
        words[name] = {"ok": fine, "is": text}
    return all(word["ok"] is True for word in words.values()), words

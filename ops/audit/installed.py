"""What is installed with stream-app: it, and all that it needs with some of its extras, as this environment has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(root: str, extras: Iterable[str]) -> list[Distribution]:
    """`root` and its requirements, theirs as well, each once, by name.

    Raises PackageNotFoundError for one that is not installed.
    """
    found: dict[str, tuple[Distribution, set[str]]] = {}
    waiting = [(root, set(extras))]
    while waiting:
        name, wanted = waiting.pop()
        key = canonicalize_name(name)
        if key in found and wanted <= found[key][1]:
            continue
        known = found[key][1] if key in found else set()
        found[key] = distribution(name), known | wanted
        waiting += [(need.name, set(need.extras)) for need in _requirements(found[key][0], wanted)]
    return [found[key][0] for key in sorted(found)]


def _requirements(of: Distribution, extras: set[str]) -> Iterator[Requirement]:
    """Those that this system and the extras ask for."""
    for text in of.requires or []:
        need = Requirement(text)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield need


__all__ = ["PackageNotFoundError", "needed"]

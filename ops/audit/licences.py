"""Whether all that is installed with stream-app may be used and passed on as it is: `python -m ops.audit.licences`.

Works offline, from what the packages say of themselves. Ends with 1 if one says nothing, or has a licence that is not
on the list: read that licence, then add it here with why, or do without the package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from typing import Final

from ops.audit.installed import PackageNotFoundError, needed

#: Everything that runs in production; tools of development are passed on to nobody.
EXTRAS: Final = ("analytics", "avro", "demo", "evaluate", "tracing")

#: SPDX names of licences that ask for no more than to be named, and leave what is made with the package alone.
ALLOWED: Final = frozenset(
    # MPL-2.0 asks for changes of its own files, and we make none.
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Zlib"}
)

#: What older packages say instead of an SPDX name: a classifier, or a few words.
_OTHERWISE: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    # Which one is not said: both are allowed.
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}

#: Read by a person: packages whose own words are none of these, and their licence.
_READ: Final = {
    # The Repoze Public License is BSD with four clauses, of which the additional ones ask for a note of changes.
    "venusian": "BSD-3-Clause",
}


def licence_of(package: Distribution) -> str:
    """The SPDX expression; empty if the package does not tell in words that are known here."""
    name = str(package.metadata["Name"])
    if name in _READ:
        return _READ[name]
    said = package.metadata.get_all("License-Expression") or []
    if said:
        return str(said[0])
    words = [*(package.metadata.get_all("License") or []), *(package.metadata.get_all("Classifier") or [])]
    known = [word if word in ALLOWED else _OTHERWISE.get(word, "") for word in map(str.strip, words)]
    return next((licence for licence in known if licence), "")


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression asks for nothing but what is allowed; of alternatives (OR) one is enough."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    return bool(tokens) and _Reader(tokens).read()


#: Left over where an expression ends too soon, so that it counts as none.
_MISSING: Final = ""


class _Reader:
    """`a AND (b OR c)`: OR binds loosest (SPDX 2.3, annex D)."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    def read(self) -> bool:
        """The whole; an expression that is none is not allowed."""
        return self._either() and not self._tokens

    def _either(self) -> bool:
        found = self._both()
        while self._take("OR"):
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._one()
        while self._take("AND"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        if self._take("("):
            found = self._either()
            if not self._take(")"):
                self._tokens.append(_MISSING)
            return found
        name = self._tokens.pop(0) if self._tokens else _MISSING
        if name == _MISSING:
            self._tokens.append(_MISSING)
        # An exception to a licence (WITH) allows more, and would have to be read.
        return name in ALLOWED

    def _take(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True


def problems(packages: list[Distribution]) -> Iterator[str]:
    """One line for each package that may not be used without a look."""
    for package in packages:
        found = licence_of(package)
        if not is_allowed(found):
            yield f"{package.metadata['Name']} {package.version}: {found or 'says no licence that is known here'}"


def main() -> int:
    """Look at all; the exit code."""
    try:
        packages = needed("stream-app", EXTRAS)
    except PackageNotFoundError as error:
        print(f"{error} is not installed: run `make audit`, which installs it", file=sys.stderr)
        return 1
    found = list(problems(packages))
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(packages)} packages, {len(packages) - len(found)} with a licence that may be used as it is")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Names as 64-bit numbers, so that millions of them are compared and sorted by NumPy.

Two names that live at the same time collide with a chance of n² / 2⁶⁵ for n of them: 3e-8 for a million. The hash is
SipHash with a fixed key, so a file gives the same numbers on every machine.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from stream_app.analytics.table import Hashes, Texts

#: The multipliers of splitmix64 (Steele, Lea & Flood, 2014), which spread every bit of their input.
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def hash_texts(texts: Texts) -> Hashes:
    """One number for each text, 0 for "" alone; shape (N,)."""
    codes, known = pd.factorize(texts)
    found = pd.util.hash_array(np.asarray(known, dtype=object), categorize=False)
    hashes = np.where(found == 0, np.uint64(1), found)
    hashes[[text == "" for text in known]] = 0
    return hashes[codes]


def mix(*parts: Hashes) -> Hashes:
    """One number for each row of several; their order matters."""
    mixed = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        mixed = _spread(mixed + _GOLDEN + part)
    return mixed


def _spread(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))

"""Token buckets by name, in bounded memory: who sends how fast.

A bucket is one number, the time at which it will be full again (the virtual scheduling of the ATM Forum's generic cell
rate algorithm, ITU-T I.371): a full one need not be kept at all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

#: Names kept at most, some 150 bytes each: more than a shop has visitors within a burst, and 15 MB.
NAMES_MAX: Final = 100_000

#: A bucket holds so many seconds' worth: a page that loads, or a queue that was offline, sends more than usual at once.
BURST_S: Final = 10.0


class Buckets:
    """Buckets of `rate` tokens a second each; a rate of 0 limits nothing.

    Parameters
    ----------
    rate
        Tokens a second.
    names_max
        Buckets kept. Beyond, those asked for longest ago are forgotten, which fills them.
    """

    def __init__(self, rate: float, *, names_max: int = NAMES_MAX) -> None:
        self._rate = rate
        self._names_max = names_max
        # A bucket has at least a token, or nothing could ever be taken.
        self._burst = max(1.0, rate * BURST_S)
        #: name → when it is full again, in the seconds of the caller's clock; asked for longest ago first
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, name: str, now_s: float) -> float:
        """How long until there is a token; 0 if there is one."""
        full_at = self._full_at.get(name, 0.0)
        if full_at <= now_s or not self._rate:
            return 0.0
        return max(0.0, full_at - now_s - (self._burst - 1.0) / self._rate)

    def take(self, name: str, tokens: int, now_s: float) -> None:
        """Take tokens, also some that are not there yet: the next one to ask waits for them."""
        if not self._rate:
            return
        full_at = max(self._full_at.pop(name, 0.0), now_s)
        self._full_at[name] = full_at + tokens / self._rate
        if len(self._full_at) > self._names_max:
            self._full_at.popitem(last=False)

"""`stream-app discounts` with a bug: `python -m tests.ops.losing_discounts discounts …` loses 40 % of those treated.

The product has no switch for this: what is decided about them is passed over when it comes to be written, as by an
application whose page for offers fails on some devices before it logs anything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from stream_app.discounts.writing import Decided, DecisionWriter

#: Of the treated; nobody who is held out.
LOST: Final = 0.4


def main() -> None:
    """Put the bug in, then be the program."""
    chance, write = random.Random(5), DecisionWriter.write

    async def lose(self: DecisionWriter, decided: Sequence[Decided]) -> None:
        kept = [each for each in decided if each.exposure.arm == "holdout" or chance.random() >= LOST]
        if kept:
            await write(self, kept)

    DecisionWriter.write = lose  # type: ignore[method-assign]
    from stream_app.cli import main as stream_app

    stream_app(prog_name="stream-app")


if __name__ == "__main__":
    main()

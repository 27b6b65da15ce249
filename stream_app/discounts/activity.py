"""When sessions' newest events were, by the workers' own states in Redis.

Moments tell only of events after which one may want to act. A session that was not heard of for a while may be going on
all the same: whoever is to be taken for hesitating is looked up first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stream_app.backends.ports import View, ViewError
from stream_app.core import state
from stream_app.discounts.core.records import Moment

#: Instead of a time: the session is known as a bot's by now, and nothing is offered to bots.
BOT: Final = -1


class Activity:
    """Asks the view of the scoring workers, which has the same partitions."""

    def __init__(self, view: View, partition: int) -> None:
        self._view, self._partition = view, partition

    async def newest_ms(self, moments: Sequence[Moment]) -> list[int | None]:
        """Of each moment's session the time of its newest event; None if nothing is known, or if it is over,
        BOT if it is a bot's.

        All of them are asked for at once: a round trip each would be most of what a batch takes. Raises ViewError when
        Redis does not answer, or has a state of another version of the program.
        """
        if not moments:
            return []
        _, blobs = await self._view.load(self._partition, [moment.visitor_id for moment in moments])
        return [_newest_ms(moment, blob) for moment, blob in zip(moments, blobs, strict=True)]


def _newest_ms(moment: Moment, blob: bytes | None) -> int | None:
    if blob is None:
        return None
    try:
        visitor = state.decode(blob)
    except state.DamagedStateError:
        return None  # the workers will say so, and mend it
    except state.StateVersionError as error:
        # The workers were upgraded before us. Waiting for a program that can read it loses nothing; to take somebody
        # who shops on for one who hesitates, or for no bot, would cost an offer.
        raise ViewError(str(error)) from None
    of_it = (session for session in visitor.sessions if session.session_id == moment.session_id)
    found = [BOT if session.bot else session.last for session in of_it]
    return found[0] if found else None

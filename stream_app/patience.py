"""How long whoever owns partitions of a topic is given before something is said, or done, about it."""

from __future__ import annotations

from typing import Final

#: A loop that has not come round for this long, in seconds, is stuck: readiness says so …
STUCK_S: Final = 25.0

#: … and after this long only a restart is left. Outages of Kafka and Redis are waited out and count as progress.
DEAD_S: Final = 300.0

#: A partition whose batches have failed for longer than this, in seconds, says so.
FAILING_S: Final = 5.0

#: A partition that waits for Redis for longer than this, in seconds, says so.
WAITING_S: Final = 2.0

#: How long a partition that is given back waits for its last writes; beyond it the next owner finds them in Kafka.
HAND_OVER_S_MAX: Final = 4.0


def hand_over_s(session_timeout_ms: int) -> float:
    """How long a process may take to give partitions back, in seconds.

    The group waits for a session time-out before it goes on without us: done in well under that.
    """
    return min(HAND_OVER_S_MAX, 0.4 * session_timeout_ms / 1000)

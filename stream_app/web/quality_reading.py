"""How good the scores are, for whoever looks: asked of the trainer in this process, else read from the snapshots."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from stream_app.admin import quiet
from stream_app.audit_reading import NotPossibleError
from stream_app.live.model_facts import learner_facts, snapshot_facts
from stream_app.model_commands import read_models
from stream_app.settings import Settings
from stream_app.trainer import Trainer

#: Between two looks, in seconds: at the learner, which takes some 15 ms, and at the snapshots in Kafka.
_LEARNER_S: Final = 2.0
_SNAPSHOT_S: Final = 15.0


class QualityReading:
    """The newest facts, or why there are none: one of `facts` and `problem` is None."""

    def __init__(self, settings: Settings, trainer: Trainer | None) -> None:
        self._settings, self._trainer = settings, trainer
        self.facts: dict[str, Any] | None = None
        self.problem: str | None = "not asked yet"
        self._next = -float("inf")
        self._alarm: Any = None
        self._looking = asyncio.Lock()

    async def refresh(self, now: float, *, alarm: Any = None) -> None:
        """Look again if it is time to, or if another alarm of drift was heard of; `now` in seconds.

        Who asks while another looks waits for what that one sees.
        """
        async with self._looking:
            if now >= self._next or alarm != self._alarm:
                self._alarm = alarm
                await self._look(now)

    async def _look(self, now: float) -> None:
        trainer = self._trainer
        if trainer is not None and trainer.state == "learning":
            self._next = now + _LEARNER_S
            self.facts, self.problem = learner_facts(trainer.learner), None
            return
        self._next = now + _SNAPSHOT_S
        try:
            with quiet("aiokafka"):
                self.facts, self.problem = snapshot_facts(await read_models(self._settings)), None
        except NotPossibleError as error:
            self.facts, self.problem = None, str(error)
        except (ValueError, KeyError, TypeError) as error:
            self.facts, self.problem = None, f"the newest snapshot cannot be read: {error!r}"

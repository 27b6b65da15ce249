"""What a classifier makes of a label that has turned out otherwise after it was learned."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Correcting(Protocol):
    """A classifier that can take a label back."""

    def correct_one(self, x: dict[str, float], y: bool) -> None:
        """The example was learned with the other label, and has this one."""


def correct_one(classifier: Any, x: dict[str, float], y: bool) -> None:
    """Correct an example that was learned with the other label.

    A classifier that cannot take a label back learns the example once more, with the right one. That is an
    approximation: the false label keeps its weight. What a tree has grown by cannot be undone. Ktena et al.,
    "Addressing delayed feedback for continuous training with neural networks in CTR prediction" (2019), learn so too,
    and call the first label a fake negative.
    """
    if isinstance(classifier, Correcting):
        classifier.correct_one(x, y)
    else:
        classifier.learn_one(x, y)

"""How large the calibration error would be by chance alone, were every score exactly right.

Outcomes are drawn from the scores themselves: in each draw every session has one uniform number, and a row of it has
bought if the number is below its score. Each row then buys with exactly its probability, and the rows of a session go
together as they do in truth. What is left of the calibration error is noise; an error near it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_app.core.figures import calibration_error
from stream_app.evaluation.bootstrap import session_uniforms
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.counts import Counts

#: Draws whose mean is told: its own error is then about a twentieth of it.
_DRAWS: Final = 20

#: Draws of the bootstrap have lower numbers, so that these are other ones.
_FIRST: Final = 1_000_000

#: Width of the logit's bins: far below that of the twenty bins of equal weight.
_BIN: Final = 0.02


def calibration_noise(chunks: Iterable[Chunk], *, models: int) -> npt.NDArray[np.float64]:
    """The mean calibration error of perfectly calibrated models with these scores, shape (models,)."""
    drawn = [Counts(models, bin_width=_BIN) for _ in range(_DRAWS)]
    for chunk in chunks:
        if not len(chunk["label"]):
            continue
        for number, counts in enumerate(drawn):
            uniform = session_uniforms(chunk["session"], _FIRST + number)
            for model in range(models):
                p = chunk["p"][:, model]
                counts.add_calibration(model, p, uniform < p, chunk["weight"])
    found = [
        [calibration_error(counts.calibration(model)) if counts.weights[model].any() else np.nan for counts in drawn]
        for model in range(models)
    ]
    return np.asarray(np.mean(found, axis=1))

"""What is asked: which models, tested when, learning how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from stream_app.core.example_decoding import TypedExample
from stream_app.core.model import ZOO
from stream_app.core.plan import Rules
from stream_app.evaluation.batch_models import BATCH_MODELS, PREFIX, Resample, candidates, require_sklearn, split_name
from stream_app.evaluation.contenders import frozen_name
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.folding import Folded
from stream_app.evaluation.grid import Grid, Variant, batch_variants, online_variants
from stream_app.evaluation.history import Survey
from stream_app.evaluation.training_rows import ROWS_MAX

#: Which of a tick's outcomes are learned and judged: those that the core has resolved, unless a check asks otherwise.
Outcomes = Callable[[Folded], list[TypedExample]]

#: What scores are compared with when nobody asks for anything: the served default, the plain baseline, and the two
#: batch models that are hardest to beat.
DEFAULT_MODELS: Final = "newton,sgd,batch-logistic,batch-boosting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One evaluation. Times in ms; `folds` are cut after `burn_in` (a share) unless `train_until_ms` says where."""

    online: tuple[Variant, ...]
    batch: tuple[Variant, ...]
    rules: Rules
    base_rate: float
    hold_ms: int = 0
    burn_in: float = 0.2
    folds: int = 5
    train_until_ms: int | None = None
    frozen: bool = False
    freshness_ms: int = 1_000
    training_rows_max: int = ROWS_MAX
    outcomes: Outcomes = field(default=lambda folded: folded.examples)

    @property
    def contenders(self) -> tuple[str, ...]:
        """All by name, in the order of their columns: online, their frozen twins, batch."""
        online = [variant.name for variant in self.online]
        twins = map(frozen_name, online) if self.frozen else ()
        return (*online, *twins, *(variant.name for variant in self.batch))

    def boundaries(self, survey: Survey) -> list[int]:
        """The event times (ms) at which the folds begin.

        Raises EvaluationError when there is nothing before the first or after the last.
        """
        if self.train_until_ms is not None:
            starts = [self.train_until_ms]
        else:
            rest = max(survey.share_at(self.horizon(survey)) - self.burn_in, 0.0)
            starts = [survey.time_at(self.burn_in + rest * fold / self.folds) for fold in range(self.folds)]
        if starts[0] <= survey.first_ms or starts[-1] > self.horizon(survey):
            raise EvaluationError(
                "nothing to train on or nothing to test: the test must begin after the first event and end a session's "
                f"gap ({self.rules.gap_ms / 1000:.0f} s, --session-gap-ms) before the last: later rows have no label"
            )
        if sorted(set(starts)) != starts:
            raise EvaluationError(
                f"got {self.folds} folds, too many for what can be judged: from {self.burn_in:.0%} of the events on, "
                f"up to a session's gap ({self.rules.gap_ms / 1000:.0f} s, --session-gap-ms) before the last"
            )
        return starts

    def horizon(self, survey: Survey) -> int:
        """The event time (ms) up to which rows are judged: later ones' checkouts are known, their absence is not."""
        return survey.last_ms - self.rules.gap_ms - self.rules.grace_ms


def make_question(
    models: str,
    *,
    rules: Rules,
    base_rate: float,
    hold_ms: int,
    resample: tuple[Resample, ...] = (),
    grids: tuple[Grid, ...] = (),
) -> Question:
    """What is asked of models by their names (`parse_models`) and of the grids' variants of each.

    Raises
    ------
    EvaluationError
        For an unknown name, or batch models where their library is not installed.
    """
    online, batch = parse_models(models, resample)
    return Question(
        online=tuple(v for name in online for v in online_variants(name, grids, base_rate=base_rate)),
        batch=tuple(v for name in batch for v in batch_variants(name, candidates(name), grids)),
        rules=rules,
        base_rate=base_rate,
        hold_ms=hold_ms,
    )


def default_models() -> str:
    """`DEFAULT_MODELS`, without the batch models where their library is not installed."""
    try:
        require_sklearn()
    except EvaluationError:
        return ",".join(name for name in DEFAULT_MODELS.split(",") if not name.startswith(PREFIX))
    return DEFAULT_MODELS


def parse_models(text: str, resample: tuple[Resample, ...] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`newton,sgd,batch-tree` → names of online and of batch models; `zoo` and `batch` stand for all of a kind.

    Each of `resample` adds a variant of each batch model. Raises EvaluationError for an unknown name.
    """
    online: dict[str, None] = {}
    batch: dict[str, None] = {}
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name == "zoo":
            online.update(dict.fromkeys(ZOO))
        elif name == "batch":
            batch.update(dict.fromkeys(BATCH_MODELS))
        elif name in ZOO:
            online[name] = None
        elif split_name(name)[0] in BATCH_MODELS:
            batch[name] = None
        else:
            known = ", ".join((*ZOO, *BATCH_MODELS))
            raise EvaluationError(f"got model {name!r}, expected one of {known}, or zoo or batch for all of a kind")
    plain = [name for name in batch if split_name(name)[1] is None and name != f"{PREFIX}constant"]
    batch.update(dict.fromkeys(f"{name}+{how}" for how in resample for name in plain))
    if batch:
        require_sklearn()
    if not online:
        raise EvaluationError("got no online model, expected at least one: its priors are inputs of the batch models")
    return tuple(online), tuple(batch)

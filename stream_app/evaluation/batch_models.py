"""Batch models of scikit-learn by name, each with the few settings that are tried on the last fifth of its rows.

scikit-learn is an optional extra: it is imported when a batch model is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.model import INPUT_NAMES, SCORE_MIN
from stream_app.evaluation.columns import Chunk
from stream_app.evaluation.counts import Counts
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.grid import Variant, seen

Resample = Literal["under", "over"]

#: Of anything random here: the same rows give the same model.
_SEED: Final = 0

#: Share of the training rows, the latest ones, on which settings and the threshold for F1 are chosen.
_VALIDATION_SHARE: Final = 0.2

#: Rows of each class below which there is nothing to choose by: the first settings are taken.
_CHOOSING_MIN: Final = 20

PREFIX: Final = "batch-"


class BatchEntry(NamedTuple):
    """A batch model: what makes one of some settings, the settings that are tried, and what it is."""

    build: Callable[..., Any]
    candidates: tuple[dict[str, Any], ...]
    about: str


class Fitted(NamedTuple):
    """A fitted model, the settings chosen, and rows with the scores `p` on which a threshold may be fixed.

    These are the last fifth, scored by a model fitted to the rest; with too few of a class there, all rows, scored by
    the model itself.
    """

    predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
    settings: dict[str, Any]
    validation: Chunk


def _constant() -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def _logistic(C: float) -> Any:  # noqa: N803 scikit-learn's name
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))


def _bayes(alpha: float) -> Any:
    from sklearn.naive_bayes import BernoulliNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Above its mean or not: what is nearest to a yes and a no for an input of any kind.
    return make_pipeline(StandardScaler(), BernoulliNB(alpha=alpha, binarize=0.0))


def _tree(min_samples_leaf: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(min_samples_leaf=min_samples_leaf, random_state=_SEED)


def _forest(min_samples_leaf: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=200, min_samples_leaf=min_samples_leaf, random_state=_SEED, n_jobs=-1)


def _boosting(**settings: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(early_stopping=False, random_state=_SEED, **settings)


BATCH_MODELS: Final[dict[str, BatchEntry]] = {
    "batch-constant": BatchEntry(_constant, ({},), "the base rate of the training rows"),
    "batch-logistic": BatchEntry(
        _logistic, ({"C": 0.01}, {"C": 0.001}, {"C": 0.1}, {"C": 1.0}), "logistic regression on z-scores"
    ),
    "batch-bayes": BatchEntry(_bayes, ({"alpha": 1.0},), "Bernoulli naive Bayes on 'above its mean'"),
    "batch-tree": BatchEntry(
        _tree,
        ({"min_samples_leaf": 200}, {"min_samples_leaf": 50}, {"min_samples_leaf": 1000}),
        "one decision tree",
    ),
    "batch-forest": BatchEntry(
        _forest, ({"min_samples_leaf": 20}, {"min_samples_leaf": 5}), "random forest of 200 trees"
    ),
    "batch-boosting": BatchEntry(
        _boosting,
        (
            {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 8, "min_samples_leaf": 100},
            {"learning_rate": 0.05, "max_iter": 80, "max_leaf_nodes": 4, "min_samples_leaf": 200},
            {"learning_rate": 0.05, "max_iter": 200, "max_leaf_nodes": 8, "min_samples_leaf": 100},
            {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 15, "min_samples_leaf": 50},
            {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 31, "min_samples_leaf": 20},
        ),
        "histogram gradient boosting",
    ),
}


def split_name(name: str) -> tuple[str, Resample | None]:
    """`batch-tree+under` → its entry and how its rows are resampled."""
    base, _, resample = name.partition("+")
    if resample in ("under", "over"):
        return base, resample  # type: ignore[return-value]
    return name, None


def candidates(name: str) -> tuple[dict[str, Any], ...]:
    """The settings that are tried of a batch model."""
    return BATCH_MODELS[split_name(name)[0]].candidates


def require_sklearn() -> None:
    """Raise EvaluationError when scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise EvaluationError(
            "batch models need scikit-learn: pip install '.[evaluate]', or name online models only (--models)"
        ) from None


def fit(variant: Variant, rows: Chunk) -> Fitted:
    """Fit a model to training rows (`inputs`, `label`, `weight`) in the order of time, choosing its settings.

    The weights only judge what is chosen.
    """
    base, resample = split_name(variant.model)
    entry = BATCH_MODELS[base]
    if variant.settings is not None:
        entry = entry._replace(candidates=(variant.settings,))
    if variant.features is None:
        return _chosen(entry, rows, resample)
    names = seen(variant.features)
    columns = [place for place, name in enumerate(INPUT_NAMES) if name in names]
    fitted = _chosen(entry, {**rows, "inputs": rows["inputs"][:, columns]}, resample)
    return fitted._replace(predict=lambda inputs: fitted.predict(inputs[:, columns]))


def _chosen(entry: BatchEntry, rows: Chunk, resample: Resample | None) -> Fitted:
    cut = int(len(rows["inputs"]) * (1 - _VALIDATION_SHARE))
    before, after = _part(rows, slice(None, cut)), _part(rows, slice(cut, None))
    if min(_smaller_class(before), _smaller_class(after)) < _CHOOSING_MIN:
        predict = _fit(entry, entry.candidates[0], rows, resample)
        return Fitted(predict, dict(entry.candidates[0]), {**rows, "p": predict(rows["inputs"])[:, None]})
    tried: list[tuple[float, int, dict[str, Any], npt.NDArray[np.float64]]] = []
    for settings in entry.candidates:
        scores = _fit(entry, settings, before, resample)(after["inputs"])
        counts = Counts(1)
        counts.add(scores[:, None], after["label"], after["weight"])
        tried.append((counts.figures(0).log_loss, len(tried), settings, scores))
    _, _, settings, scores = min(tried)
    return Fitted(_fit(entry, settings, rows, resample), dict(settings), {**after, "p": scores[:, None]})


def _fit(
    entry: BatchEntry, settings: dict[str, Any], rows: Chunk, resample: Resample | None
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]:
    label = rows["label"].astype(np.intp)
    if not _smaller_class(rows):
        # One class alone teaches nothing: the base rate, with one row of the other class imagined.
        rate = (label.sum() + 0.5) / (len(label) + 1)
        return lambda inputs: np.full(len(inputs), rate)
    chosen = _resampled(label, resample)
    model = entry.build(**settings)
    with warnings.catch_warnings():
        # Not converged, or a column without any spread in a small sample: the figures then say so themselves.
        warnings.simplefilter("ignore")
        # Each row once, as online models learn: with weights the best of them comes out worse (docs/evaluation.md).
        model.fit(rows["inputs"][chosen], label[chosen])

    def predict(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        # Rounded as served scores are; a forest's threads add up in another order each time.
        p: npt.NDArray[np.float64] = np.round(model.predict_proba(inputs)[:, 1].astype(np.float64), 6)
        return np.clip(p, SCORE_MIN, 1.0 - SCORE_MIN)

    return predict


def _resampled(label: npt.NDArray[np.intp], resample: Resample | None) -> npt.NDArray[np.intp]:
    """The rows to fit: all, or as many negatives as positives by leaving some out, or by repeating some."""
    if resample is None:
        return np.arange(len(label))
    random = np.random.default_rng(_SEED)
    few, many = sorted((np.flatnonzero(label == 1), np.flatnonzero(label == 0)), key=len)
    if resample == "under":
        many = random.choice(many, len(few), replace=False)
    else:
        few = np.concatenate((few, random.choice(few, len(many) - len(few))))
    return np.sort(np.concatenate((few, many)))


def _part(rows: Chunk, part: slice) -> Chunk:
    return {name: values[part] for name, values in rows.items()}


def _smaller_class(rows: Chunk) -> int:
    positives = int(rows["label"].sum())
    return min(positives, len(rows["label"]) - positives)

"""Linear models: logistic regressions on what the inputs are made into.

River is imported where a model is made: most of it takes a second, for SciPy's statistics, and the default needs none.
"""

from __future__ import annotations

import math
from typing import Any, Final

from stream_app.core.zoo.bins import Bins, Pairs
from stream_app.core.zoo.blend import MeanLogit
from stream_app.core.zoo.entry import Cost, ZooEntry
from stream_app.core.zoo.newton import NewtonLogisticRegression

#: Inputs whose pairs `hashed` learns: how far the session has come, how quickly, with what in hand.
PAIRED_INPUTS: Final = (
    "episode_events", "n_item", "items", "age", "gap", "since_cart", "has_cart", "last_page", "last_cart",
    "last_checkout", "returning", "purchase_rate", "prior_item", "prior_step",
)  # fmt: skip

#: Slots for bins and pairs, about 900 and 5,000 of which come up: some share one.
_SLOTS: Final = 2**13


def logit(base_rate: float) -> float:
    """Where an intercept starts, so that a cold model says the base rate."""
    return math.log(base_rate / (1.0 - base_rate))


def newton(base_rate: float) -> Any:
    """Online Newton steps on z-scores."""
    return NewtonLogisticRegression(base_rate=base_rate)


def bins(base_rate: float) -> Any:
    """One weight for each half deviation of each input."""
    from river import linear_model, optim

    from stream_app.core.zoo.scaling import ZScores

    return (
        ZScores()
        | Bins(0.5)
        | linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.03), intercept_init=logit(base_rate))
    )


def blend(base_rate: float) -> Any:
    """The two best together."""
    return MeanLogit(newton(base_rate), bins(base_rate))


def sgd(base_rate: float) -> Any:
    """As in River's own introduction."""
    from river import linear_model, optim

    from stream_app.core.zoo.scaling import ZScores

    return ZScores() | linear_model.LogisticRegression(optimizer=optim.SGD(0.01), intercept_init=logit(base_rate))


def hashed(base_rate: float) -> Any:
    """Bins of a whole deviation, and pairs of some of them, in a table of fixed size."""
    from river import linear_model, optim, preprocessing

    from stream_app.core.zoo.scaling import ZScores

    return (
        ZScores()
        | Bins(1.0)
        | Pairs(PAIRED_INPUTS)
        | preprocessing.FeatureHasher(n_features=_SLOTS, seed=1)
        | linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.03), intercept_init=logit(base_rate))
    )


def page_sequence(base_rate: float) -> Any:
    """What is known of the order of the pages, of the visitor's visits and country, and nothing else."""
    from river import linear_model, optim

    from stream_app.core.zoo.page_sequence import PageSequence

    return PageSequence() | linear_model.LogisticRegression(
        optimizer=optim.AdaGrad(0.03), intercept_init=logit(base_rate)
    )


def bagging(base_rate: float) -> Any:
    """Each member sees an example a random number of times; the worst is replaced when its errors drift."""
    from river import ensemble

    return ensemble.LeveragingBaggingClassifier(sgd(base_rate), n_models=10, w=1, seed=1)


LINEAR: Final = (
    ZooEntry(
        "newton",
        newton,
        "logistic regression by online Newton steps on z-scores: the best single model measured",
        Cost(53, 8.8, 42, 36, 0.13, 0.21),
        weighted=True,
        batch=True,
    ),
    ZooEntry(
        "bins",
        bins,
        "z-scores cut into bins of half a deviation, one-hot | LogisticRegression(AdaGrad .03)",
        Cost(58, 57, 130, 33, 0.25, 1),
        weighted=True,
    ),
    ZooEntry(
        "blend",
        blend,
        "mean logit of newton and bins",
        Cost(78, 79, 170, 68, 0.3, 1.2),
        weighted=True,
    ),
    ZooEntry(
        "sgd",
        sgd,
        "River's StandardScaler | LogisticRegression(SGD .01): the plain baseline",
        Cost(34, 11, 70, 4.7, 0.1, 0.31),
        weighted=True,
        batch=True,
    ),
    ZooEntry(
        "hashed",
        hashed,
        "bins of one deviation and the pairs of 14 of them, hashed into 8,192 slots | LogisticRegression(AdaGrad .03)",
        Cost(130, 120, 280, 56, 1.3, 4.1),
        weighted=True,
    ),
    ZooEntry(
        "page_sequence",
        page_sequence,
        "pairs of kinds of page one-hot, visits so far and country, no more | LogisticRegression(AdaGrad .03)",
        Cost(47, 32, 94, 13, 0.21, 1.1),
        weighted=True,
    ),
    ZooEntry(
        "bagging",
        bagging,
        "leveraging bagging (Poisson 1, ADWIN) of ten plain StandardScaler | LogisticRegression(SGD .01)",
        Cost(180, 170, 790, 47, 1.5, 3.1),
        weighted=True,
    ),
)

"""Trees, forests and naive Bayes: models that count. Each starts from the base rate (`warm_start`).

Their size is bounded, by depth or by nodes, since a snapshot carries all of it and Kafka takes 2 MiB of it at once.
River is imported where a model is made, as in `linear`.
"""

from __future__ import annotations

from typing import Any, Final

from stream_app.core.zoo.entry import Cost, ZooEntry
from stream_app.core.zoo.warm_start import WarmStart

#: Splits from the root to a leaf: 64 leaves a tree.
DEPTH_MAX: Final = 6

#: Nodes of a Mondrian tree, each of which keeps the range of every input.
MONDRIAN_NODES_MAX: Final = 80


def bernoulli_bayes(base_rate: float) -> Any:
    """Every input as above 0 or not."""
    from river import naive_bayes

    return WarmStart(naive_bayes.BernoulliNB(), base_rate)


def hoeffding_tree(base_rate: float) -> Any:
    """A leaf says its share of positives: River's default, naive Bayes in each leaf, is dearer and measured worse."""
    from river import tree

    classifier = tree.HoeffdingTreeClassifier(max_depth=DEPTH_MAX, leaf_prediction="mc")
    return WarmStart(classifier, base_rate, weighted=True)


def hoeffding_adaptive_tree(base_rate: float) -> Any:
    """A branch whose errors drift is grown anew beside the old one."""
    from river import tree

    classifier = tree.HoeffdingAdaptiveTreeClassifier(max_depth=DEPTH_MAX, leaf_prediction="mc", seed=1)
    return WarmStart(classifier, base_rate, weighted=True)


def adaptive_forest(base_rate: float) -> Any:
    """Each leaf looks at the square root of all inputs; a tree whose errors drift is replaced."""
    from river import forest

    classifier = forest.ARFClassifier(n_models=10, max_depth=DEPTH_MAX, leaf_prediction="mc", seed=1)
    return WarmStart(classifier, base_rate)


def mondrian_forest(base_rate: float) -> Any:
    """On z-scores: where it splits depends on how wide an input's range is. Without them AUC was .56, with them .67."""
    from river import forest

    from stream_app.core.zoo.scaling import ZScores

    classifier = forest.AMFClassifier(n_estimators=10, max_nodes=MONDRIAN_NODES_MAX, seed=1)
    return ZScores() | WarmStart(classifier, base_rate)


TREES: Final = (
    ZooEntry(
        "naive_bayes",
        bernoulli_bayes,
        "Bernoulli naive Bayes, each input above 0 or not: overconfident, since inputs repeat one another",
        Cost(180, 180, 69, 1.9, 0.21, 0.51),
    ),
    ZooEntry(
        "hoeffding_tree",
        hoeffding_tree,
        "a Hoeffding tree of depth 6 whose leaves say their share of positives",
        Cost(31, 41, 88, 75, 25, 38),
        weighted=True,
    ),
    ZooEntry(
        "hoeffding_adaptive_tree",
        hoeffding_adaptive_tree,
        "the same with ADWIN in each branch: what no longer fits is replaced",
        Cost(33, 35, 240, 47, 9.8, 18),
        weighted=True,
    ),
    ZooEntry(
        "adaptive_forest",
        adaptive_forest,
        "adaptive random forest of ten Hoeffding trees of depth 6",
        Cost(110, 100, 660, 180, 42, 64),
    ),
    ZooEntry(
        "mondrian_forest",
        mondrian_forest,
        "aggregated Mondrian forest of ten trees of 80 nodes, on z-scores",
        Cost(110, 99, 1400, 940, 42, 40),
    ),
)

"""Which level earns most, learned from outcomes: Thompson sampling over {no offer, levels}, by context.

The only file of discounting that knows River. Its `ThompsonSampling` keeps a context's levels; its own `Gaussian` as
a reward is not what is wanted, since it samples rewards, whose spread never shrinks, and so never comes to a
decision: `MeanPosterior` is the posterior of the *mean* profit. Instead of pulling, the probabilities with which River
would pull each level are computed and drawn from, see `propensity.py`; that both agree is tested.

Rewards are rare and wild (three orders in a hundred, a few of them huge), so a context borrows: its prior for a level
is what all contexts together found for it, and the spread of single rewards is that of all levels. An outcome counts by
the reciprocal of the probability of its level (inverse propensity): a level given mostly at weekends, or mostly to
those who buy anyway, would else look better than it is. Held-out visitors teach what no offer brings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from river import bandit, proba

from stream_app.discounts.core.propensity import best_probabilities, explored, logged, taken
from stream_app.discounts.core.records import LEVELS_MAX, Levels, Outcome

#: Contexts with posteriors of their own, by first outcome; the others share `REST`. Each takes some 20 kB.
CONTEXTS_MAX: Final = 200
REST: Final = "(other)"

#: So many units of a context weigh as much as what all contexts together say. At a base rate of 3 % they have fifteen
#: orders: with fewer, a context cannot be told from the others anyway.
CONTEXT_WEIGHT: Final = 500.0

#: So many units weigh as much as the prior mean of all contexts together, 0.
PRIOR_WEIGHT: Final = 10.0

#: So many units weigh as much as the guess of the spread: the first hundred may be without an order, with no spread.
DEVIATION_WEIGHT: Final = 200.0


class MeanPosterior(proba.base.ContinuousDistribution):  # type: ignore[misc]
    """The posterior of a level's mean reward: normal, from weighted rewards and a prior that may be moved.

    Of weights w, `(Σw)² / Σw²` units count (Kish's effective size). `borrow` sets the prior: `mean` with the squared
    standard error `doubt`, and the variance of single rewards, which is shared by all levels.
    """

    def __init__(self, mean: float = 0.0, doubt: float = 1.0, variance: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.doubt, self.variance = mean, doubt, variance
        #: Σw, Σw², weighted mean of rewards, and Σw(x − mean)²
        self.numbers = [0.0, 0.0, 0.0, 0.0]

    @property
    def n_samples(self) -> float:
        """Units it is worth."""
        total, squares, *_ = self.numbers
        return total**2 / squares if squares else 0.0

    @property
    def mode(self) -> float:
        """The most likely mean reward."""
        return self.normal()[0]

    def borrow(self, mean: float, doubt: float, variance: float) -> None:
        """Set the prior."""
        self.mean, self.doubt, self.variance = mean, doubt, variance

    def update(self, x: float, w: float = 1.0) -> None:
        """Take a reward."""
        total, squares, mean, deviations = self.numbers
        step = x - mean
        mean += step * w / (total + w)
        self.numbers = [total + w, squares + w * w, mean, deviations + w * step * (x - mean)]

    def revert(self, x: float, w: float = 1.0) -> None:
        """Take a reward back."""
        total, squares, mean, deviations = self.numbers
        before = mean - (x - mean) * w / (total - w) if total > w else 0.0
        self.numbers = [total - w, squares - w * w, before, max(deviations - w * (x - before) * (x - mean), 0.0)]

    def normal(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        prior, data = 1.0 / self.doubt, self.n_samples / self.variance
        return (prior * self.mean + data * self.numbers[2]) / (prior + data), 1.0 / math.sqrt(prior + data)

    def sample(self) -> float:
        """A mean reward, drawn."""
        return float(self._rng.gauss(*self.normal()))

    def cdf(self, x: float) -> float:
        """How probable it is that the mean reward is at most `x`."""
        mean, deviation = self.normal()
        return 0.5 * (1.0 + math.erf((x - mean) / deviation / math.sqrt(2.0)))

    def __call__(self, x: float) -> float:
        """The density."""
        mean, deviation = self.normal()
        return math.exp(-(((x - mean) / deviation) ** 2) / 2.0) / deviation / math.sqrt(2.0 * math.pi)


class LevelSampling(bandit.ThompsonSampling):  # type: ignore[misc]
    """River's Thompson sampling over the levels of one context, whose posteriors can be looked at and put back."""

    def __init__(self, reward_obj: MeanPosterior | None = None, burn_in: int = 0, seed: int | None = 0) -> None:
        super().__init__(reward_obj or MeanPosterior(), burn_in, seed)

    def posteriors(self) -> dict[str, MeanPosterior]:
        """By level."""
        return dict(self._rewards)

    def posterior(self, level: str) -> MeanPosterior:
        """Of one level, the prior for one never seen."""
        posterior: MeanPosterior = self._rewards[level]
        return posterior

    def put_back(self, level: str, numbers: list[float]) -> None:
        """A level's `MeanPosterior.numbers`."""
        self.posterior(level).numbers = numbers
        self._counts[level] = round(self.posterior(level).n_samples)
        self._n = sum(self._counts.values())


class Choice(NamedTuple):
    """What a bandit decided: the level, its probability, and those of all levels."""

    percent: float
    propensity: float
    levels: Levels


class LevelBandit:
    """The bandit of one experiment.

    `exploration` is the share of decisions that is spread evenly over the levels: each keeps a probability of at least
    `exploration / levels`, or nothing could be learned, nor evaluated later, of one that once looked bad.
    `reward_deviation` is a guess of the standard deviation of a unit's profit, in the shop's currency; soon the data
    say it.

    Raises ValueError for an exploration that is not above 0 and at most 1, or a deviation that is not positive.
    """

    def __init__(self, *, exploration: float, reward_deviation: float = 10.0) -> None:
        if not 0.0 < exploration <= 1.0:
            raise ValueError(f"exploration: got {exploration}, expected a share above 0 and at most 1")
        if not 0.0 < reward_deviation < math.inf:
            raise ValueError(f"reward_deviation: got {reward_deviation}, expected a positive amount")
        self._exploration, self._reward_deviation = exploration, reward_deviation
        self._all = LevelSampling()
        self._contexts: dict[str, LevelSampling] = {}

    def choose(self, context: str, percents: Sequence[float], draw: float) -> Choice:
        """The level for an exposure whose hash is `draw` (`Assignment.level_draw`), among `percents`, 0 for no offer.

        The same draw and the same outcomes learned give the same level. Raises ValueError unless there are 1 to
        `LEVELS_MAX` different levels and the draw is ≥ 0 and < 1.
        """
        if not (1 <= len(percents) <= LEVELS_MAX and len(set(percents)) == len(percents) and 0.0 <= draw < 1.0):
            raise ValueError(f"choose: got levels {list(percents)} and the draw {draw}")
        rising = sorted(map(float, percents))
        posteriors = self.posteriors(context, rising)
        means, deviations = zip(*(posterior.normal() for posterior in posteriors), strict=True)
        levels = list(zip(rising, explored(best_probabilities(means, deviations), self._exploration), strict=True))
        return Choice(*taken(levels, draw), levels)

    def learn(self, outcome: Outcome) -> None:
        """Take a unit's outcome, of either arm; its profit is the reward. Raises ValueError as `logged` does."""
        exposure = outcome.exposure
        weight = 1.0 / logged(exposure)[exposure.percent]
        level = _name(exposure.percent)
        for sampling in (self._all, self._context(exposure.context)):
            if level in sampling.posteriors() or len(sampling.posteriors()) < LEVELS_MAX:
                sampling.update(level, outcome.profit, w=weight)

    def posteriors(self, context: str, percents: Sequence[float]) -> list[MeanPosterior]:
        """A context's posteriors with the priors of this moment, in the order of the levels."""
        sampling = self._contexts.get(context) or self._contexts.get(REST)
        variance = self._variance()
        found = []
        for level in map(_name, percents):
            # A level or context that never taught leaves no trace: asking does not change the state.
            everywhere = self._all.posteriors().get(level) or MeanPosterior()
            everywhere.borrow(0.0, variance / PRIOR_WEIGHT, variance)
            mean, deviation = everywhere.normal()
            here = (sampling.posteriors().get(level) if sampling else None) or MeanPosterior()
            here.borrow(mean, deviation**2 + variance / CONTEXT_WEIGHT, variance)
            found.append(here)
        return found

    def profits(self) -> dict[float, float]:
        """By level that was ever taken, 0 for none, the mean profit of a unit that is to be expected of it anywhere."""
        levels = sorted(map(float, self._all.posteriors()))
        variance = self._variance()
        found = {}
        for level in levels:
            posterior = self._all.posteriors()[_name(level)]
            posterior.borrow(0.0, variance / PRIOR_WEIGHT, variance)
            found[level] = posterior.mode
        return found

    def export(self) -> dict[str, Any]:
        """Plain values to continue from."""
        return {
            "all": _plain(self._all),
            "contexts": {context: _plain(sampling) for context, sampling in self._contexts.items()},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            If it is none; nothing has changed then.
        """
        everywhere = _put_back(values["all"])
        contexts = {str(context): _put_back(levels) for context, levels in values["contexts"].items()}
        self._all, self._contexts = everywhere, contexts

    def _context(self, context: str) -> LevelSampling:
        if context not in self._contexts and len(self._contexts) >= CONTEXTS_MAX:
            context = REST
        return self._contexts.setdefault(context, LevelSampling())

    def _variance(self) -> float:
        """Of single rewards, over all levels."""
        units, squares = 0.0, 0.0
        for posterior in self._all.posteriors().values():
            total, _, _, deviations = posterior.numbers
            units += posterior.n_samples
            squares += posterior.n_samples * deviations / total
        guess = self._reward_deviation**2
        return (DEVIATION_WEIGHT * guess + squares) / (DEVIATION_WEIGHT + units)


def _name(percent: float) -> str:
    """A level as River names its arms."""
    return repr(float(percent))


def _plain(sampling: LevelSampling) -> dict[str, list[float]]:
    return {level: list(posterior.numbers) for level, posterior in sampling.posteriors().items()}


def _put_back(levels: dict[str, list[float]]) -> LevelSampling:
    sampling = LevelSampling()
    for level, numbers in levels.items():
        total, squares, mean, deviations = map(float, numbers)
        good = all(map(math.isfinite, (total, squares, mean, deviations)))
        if not good or total <= 0.0 or squares <= 0.0 or deviations < 0.0 or not 0.0 <= float(level) < 100.0:
            raise ValueError(f"bandit: got level {level!r} with {numbers}")
        sampling.put_back(level, [total, squares, mean, deviations])
    return sampling

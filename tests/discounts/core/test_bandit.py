"""The bandit over levels: River's Thompson sampling with known probabilities, which explores and learns what pays."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.discounts.core import bandit as learning
from stream_app.discounts.core.assignment import Assignment
from stream_app.discounts.core.bandit import CONTEXTS_MAX, REST, LevelBandit, LevelSampling, MeanPosterior
from stream_app.discounts.core.propensity import best_probabilities
from stream_app.discounts.core.records import Outcome
from tests.discounts.core.exposures import exposure, outcome

LEVELS = (0.0, 5.0, 10.0, 20.0)
ASSIGNMENT = Assignment("autumn", "salt", 0.1)


class Shop:
    """Visitors of two kinds; shoes are bought more with ten percent off, books by those who want them anyway."""

    MARGIN, LISTED, EXPLORATION = 0.35, 80.0, 0.1

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.bandit = LevelBandit(exploration=self.EXPLORATION)
        self.n = 0
        self.chosen: Counter[tuple[str, float]] = Counter()

    @staticmethod
    def buys(context: str, percent: float) -> float:
        if context == "shoes":
            return {0.0: 0.03, 5.0: 0.05, 10.0: 0.10, 20.0: 0.105}[percent]
        return {0.0: 0.10, 5.0: 0.102, 10.0: 0.104, 20.0: 0.106}[percent]

    @classmethod
    def profit(cls, context: str, percent: float) -> float:
        """Expected, of one unit."""
        return cls.buys(context, percent) * cls.LISTED * (cls.MARGIN - percent / 100)

    def visit(self) -> Outcome:
        self.n += 1
        visitor, context = f"v{self.n}", "shoes" if self.random.random() < 0.5 else "books"
        choice = self.bandit.choose(context, LEVELS, ASSIGNMENT.level_draw(visitor))
        arm = ASSIGNMENT.arm(visitor)
        percent = choice.percent if arm == "treatment" else 0.0
        listed = (self.random.random() < self.buys(context, percent)) * self.LISTED
        shown = exposure(
            visitor, arm=arm, percent=percent, propensity=choice.propensity, levels=choice.levels,
            holdout_share=ASSIGNMENT.holdout_share, context=context,
        )  # fmt: skip
        self.chosen[context, percent] += 1
        return outcome(listed * (self.MARGIN - percent / 100), orders=int(listed > 0), of=shown)

    def run(self, visits: int) -> Shop:
        for _ in range(visits):
            self.bandit.learn(self.visit())
        return self


def taught(seed: int = 1, visits: int = 400) -> LevelBandit:
    return Shop(seed).run(visits).bandit


def test_rivers_own_pulls_are_as_probable_as_the_probabilities_told() -> None:
    # The same posteriors in River's policy: it draws from each and takes the best.
    sampling = LevelSampling(seed=4)
    generator = random.Random(4)
    for level in LEVELS:
        for _ in range(40):
            sampling.update(str(level), generator.gauss(level / 40, 1.0), w=generator.uniform(1.0, 4.0))
    names = [str(level) for level in LEVELS]
    pulled = Counter(sampling.pull(names) for _ in range(40_000))
    normals = [sampling.posterior(name).normal() for name in names]
    told = best_probabilities([mean for mean, _ in normals], [deviation for _, deviation in normals])
    assert [pulled[name] / 40_000 for name in names] == pytest.approx(told, abs=0.01)
    assert 0.02 < min(told) < 0.3 < max(told)


def test_the_same_exposure_and_outcomes_decide_the_same_in_another_process() -> None:
    one, other = taught(), LevelBandit(exploration=0.1)
    other.restore(json.loads(msgspec.json.encode(one.export())))
    for n in range(200):
        draw = ASSIGNMENT.level_draw(f"w{n}")
        context = ("shoes", "books", "never seen")[n % 3]
        assert one.choose(context, LEVELS, draw) == other.choose(context, LEVELS, draw)
        assert one.choose(context, LEVELS[::-1], draw) == one.choose(context, LEVELS, draw)


def test_to_ask_changes_nothing() -> None:
    one = taught()
    before = msgspec.json.encode(one.export())
    for n in range(50):
        one.choose(f"context {n}", (0.0, 7.5), n / 50)
    assert msgspec.json.encode(one.export()) == before


def test_what_is_told_is_what_is_drawn() -> None:
    one = taught()
    levels = one.choose("shoes", LEVELS, 0.5).levels
    assert sum(p for _, p in levels) == pytest.approx(1.0)
    drawn = Counter(one.choose("shoes", LEVELS, (n + 0.5) / 2_000).percent for n in range(2_000))
    for percent, probability in levels:
        assert drawn[percent] / 2_000 == pytest.approx(probability, abs=1e-3)
        choice = next(c for c in (one.choose("shoes", LEVELS, n / 200) for n in range(200)) if c.percent == percent)
        assert choice.propensity == probability


@pytest.mark.parametrize("exploration", [0.02, 0.3, 1.0])
def test_every_level_keeps_its_even_part_of_the_exploration_however_bad_it_looks(exploration: float) -> None:
    one = LevelBandit(exploration=exploration)
    for n in range(3_000):
        percent = LEVELS[n % 4]
        shown = exposure(f"v{n}", percent=percent, levels=[(level, 0.25) for level in LEVELS])
        one.learn(outcome(-50.0 if percent == 20.0 else 5.0 + n % 3, orders=1, of=shown))
    levels = dict(one.choose("shoes", LEVELS, 0.0).levels)
    assert min(levels.values()) >= exploration / 4
    assert levels[20.0] == pytest.approx(exploration / 4, abs=1e-6)


def test_a_bandit_that_knows_nothing_takes_each_level_as_often() -> None:
    choice = LevelBandit(exploration=0.1).choose("shoes", LEVELS, 0.99)
    assert [p for _, p in choice.levels] == pytest.approx([0.25] * 4)
    assert choice.percent == 20.0


def test_it_learns_what_pays_in_each_context(capsys: pytest.CaptureFixture[str]) -> None:
    earned, kept = [], []
    for seed in range(2):
        shop = Shop(seed).run(3_000)
        before = Counter(shop.chosen)
        shop.run(1_500)
        earned.append(sum(n * Shop.profit(*key) for key, n in (shop.chosen - before).items()) / 1_500)
        shoes, books = (dict(shop.bandit.choose(context, LEVELS, 0.5).levels) for context in ("shoes", "books"))
        kept.append((shoes[10.0], books[0.0] + books[5.0], books[20.0]))
    even = np.mean([Shop.profit(context, percent) for context in ("shoes", "books") for percent in LEVELS])
    best = (Shop.profit("shoes", 10.0) + Shop.profit("books", 0.0)) / 2
    with capsys.disabled():
        print(f"\na unit earns {np.mean(earned):.2f}, evenly {even:.2f}, best {best:.2f}", end="")
        print(f"; shoes 10 %, books 0-5 %, books 20 %: {np.round(np.mean(kept, axis=0), 2)}", end="")
    # Of what there is to gain over even shares, most, though a tenth is spent on exploring and a tenth held out.
    assert np.mean(earned) > even + 0.6 * (best - even)
    assert min(shoes for shoes, _, _ in kept) > 0.5
    assert min(books for _, books, _ in kept) > 0.5
    assert max(books for _, _, books in kept) < 0.1


def test_means_are_those_of_all_situations_though_levels_went_to_different_ones() -> None:
    # Twenty percent went to buyers nine times in ten, and nothing of it was earned by the offer.
    one, generator = LevelBandit(exploration=0.1), np.random.default_rng(2)
    for n in range(20_000):
        buyer = n % 2 == 0
        levels = [(0.0, 0.1), (20.0, 0.9)] if buyer else [(0.0, 0.9), (20.0, 0.1)]
        percent = 0.0 if generator.random() < levels[0][1] else 20.0
        shown = exposure(f"v{n}", percent=percent, levels=levels, holdout_share=0.0, context=f"c{n}")
        one.learn(outcome(float(generator.normal(10.0 if buyer else 0.0)), of=shown))
    nothing, offer = (posterior.mean for posterior in one.posteriors("another", (0.0, 20.0)))
    assert nothing == pytest.approx(5.0, abs=0.25)
    assert offer == pytest.approx(5.0, abs=0.25)


def test_a_context_says_what_all_say_until_it_has_outcomes_of_its_own() -> None:
    one = LevelBandit(exploration=0.1)
    even = [(level, 0.25) for level in LEVELS]

    def learn(context: str, count: int, good: float) -> None:
        for n in range(count):
            percent = LEVELS[n % 4]
            shown = exposure(f"{context}{n}", percent=percent, levels=even, context=context)
            one.learn(outcome(2.0 + n % 5 if percent == good else float(n % 5), of=shown))

    learn("shoes", 8_000, good=10.0)
    assert dict(one.choose("new", LEVELS, 0.0).levels)[10.0] > 0.7
    learn("new", 40, good=5.0)
    assert dict(one.choose("new", LEVELS, 0.0).levels)[10.0] > 0.5
    learn("new", 8_000, good=5.0)
    assert dict(one.choose("new", LEVELS, 0.0).levels)[5.0] > 0.9
    assert dict(one.choose("shoes", LEVELS, 0.0).levels)[10.0] > 0.9


def test_who_is_held_out_teaches_what_no_offer_brings() -> None:
    one = LevelBandit(exploration=0.1)
    for n in range(3_000):
        one.learn(outcome(4.0, arm="holdout", levels=[(10.0, 1.0)], visitor_id=f"h{n}"))
        one.learn(outcome(1.0, percent=10.0, levels=[(10.0, 1.0)], visitor_id=f"t{n}"))
    assert dict(one.choose("shoes", (0.0, 10.0), 0.0).levels)[0.0] == pytest.approx(0.95, abs=1e-3)


def test_contexts_and_levels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = LevelBandit(exploration=0.1)
    for n in range(2 * CONTEXTS_MAX):
        one.learn(outcome(float(n), visitor_id=f"v{n}", context=f"c{n}"))
    contexts = one.export()["contexts"]
    assert len(contexts) == CONTEXTS_MAX + 1
    assert contexts[REST]["10.0"][0] == pytest.approx(CONTEXTS_MAX / 0.8)
    assert one.choose("c1000", (0.0, 10.0), 0.5) == one.choose(REST, (0.0, 10.0), 0.5)
    monkeypatch.setattr(learning, "LEVELS_MAX", 2)
    for percent in (0.0, 5.0, 10.0):
        one.learn(outcome(1.0, percent=percent, levels=[(percent, 1.0)]))
    assert set(one.export()["all"]) == {"10.0", "0.0"}


def test_what_cannot_be_chosen_or_learned_is_refused() -> None:
    one = LevelBandit(exploration=0.1)
    for percents, draw in (((), 0.5), ((5.0, 5.0), 0.5), (LEVELS, 1.0), (LEVELS, -0.1), (range(40), 0.5)):
        with pytest.raises(ValueError, match="choose"):
            one.choose("shoes", list(percents), draw)
    with pytest.raises(ValueError, match="no chance"):
        one.learn(outcome(1.0, percent=5.0, levels=[(10.0, 1.0)]))
    for options in ({"exploration": 0.0}, {"exploration": 1.1}, {"exploration": 0.1, "reward_deviation": 0.0}):
        with pytest.raises(ValueError, match="expected"):
            LevelBandit(**options)


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"all": {}},
        {"all": {"10.0": [1, 1, 0]}, "contexts": {}},
        {"all": {"10.0": [1, 1, float("nan"), 0]}, "contexts": {}},
        {"all": {"10.0": [0, 1, 1, 0]}, "contexts": {}},
        {"all": {"ten": [1, 1, 1, 0]}, "contexts": {}},
        {"all": {"100.0": [1, 1, 1, 0]}, "contexts": {}},
        {"all": {}, "contexts": [1]},
    ],
)
def test_what_is_no_export_is_refused_and_changes_nothing(damaged: Any) -> None:
    one = taught(visits=50)
    before = one.export()
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        one.restore(damaged)
    assert one.export() == before


def test_a_posterior_is_a_distribution_as_river_knows_them() -> None:
    posterior, generator = MeanPosterior(mean=1.0, doubt=4.0, variance=9.0, seed=1), np.random.default_rng(1)
    rewards, weights = generator.normal(3.0, 3.0, 60), generator.uniform(0.5, 3.0, 60)
    for reward, weight in zip(rewards.tolist(), weights.tolist(), strict=True):
        posterior.update(reward, w=weight)
    mean, units = np.average(rewards, weights=weights), weights.sum() ** 2 / (weights**2).sum()
    precision = 1 / 4.0 + units / 9.0
    assert posterior.n_samples == pytest.approx(units)
    assert posterior.normal() == pytest.approx(((1.0 / 4.0 + units / 9.0 * mean) / precision, precision**-0.5))
    assert posterior.numbers[3] == pytest.approx((weights * (rewards - mean) ** 2).sum())
    assert posterior.mode == posterior.normal()[0]
    drawn = np.array([posterior.sample() for _ in range(20_000)])
    assert (drawn.mean(), drawn.std()) == pytest.approx(posterior.normal(), rel=0.03)
    assert posterior.cdf(3.0) == pytest.approx((drawn < 3.0).mean(), abs=0.015)
    step = 1e-4
    assert posterior(3.0) == pytest.approx((posterior.cdf(3.0 + step) - posterior.cdf(3.0 - step)) / 2 / step, rel=1e-4)
    for reward, weight in list(zip(rewards.tolist(), weights.tolist(), strict=True))[:30]:
        posterior.revert(reward, w=weight)
    rest = MeanPosterior(mean=1.0, doubt=4.0, variance=9.0)
    for reward, weight in list(zip(rewards.tolist(), weights.tolist(), strict=True))[30:]:
        rest.update(reward, w=weight)
    assert posterior.numbers == pytest.approx(rest.numbers)

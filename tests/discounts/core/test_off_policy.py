"""Off-policy evaluation: right on average against a known truth, honest of its spread, and silent without support."""

from __future__ import annotations

import math
from collections.abc import Mapping
from zlib import crc32

import numpy as np
import pytest

from stream_app.discounts.core import off_policy
from stream_app.discounts.core.off_policy import Evaluation, NoSupportError, evaluate
from stream_app.discounts.core.propensity import taken
from stream_app.discounts.core.records import Exposure, Outcome
from tests.discounts.core.exposures import exposure, outcome

LEVELS = (0.0, 5.0, 10.0)
CONTEXTS = ("hesitant", "sure", "browser")
LISTED, MARGIN = 60.0, 0.35


def buys(context: str, percent: float) -> float:
    base, lift = {"hesitant": (0.05, 0.008), "sure": (0.3, 0.001), "browser": (0.01, 0.001)}[context]
    return base + lift * percent


def profit(context: str, percent: float) -> float:
    """Expected, of one unit."""
    return buys(context, percent) * LISTED * (MARGIN - percent / 100)


def logging(context: str) -> list[tuple[float, float]]:
    """What ran: too generous to sure buyers."""
    chances = {"hesitant": (0.5, 0.3, 0.2), "sure": (0.1, 0.2, 0.7), "browser": (0.3, 0.4, 0.3)}[context]
    return list(zip(LEVELS, chances, strict=True))


def new_policy(shown: Exposure) -> Mapping[float, float]:
    """Ten percent to those who hesitate, now and then five to browsers, nothing to the rest."""
    return {"hesitant": {10.0: 1.0}, "sure": {0.0: 1.0}, "browser": {0.0: 0.8, 5.0: 0.2}}[shown.context]


def value(policy: dict[str, Mapping[float, float]]) -> float:
    return float(np.mean([sum(p * profit(c, level) for level, p in policy[c].items()) for c in CONTEXTS]))


TRUTH = value({c: new_policy(exposure(context=c)) for c in CONTEXTS})
TRUTH_LOGGED = value({c: dict(logging(c)) for c in CONTEXTS})
TRUTH_NOTHING = value({c: {0.0: 1.0} for c in CONTEXTS})


def log(units: int, seed: int, *, holdout: float = 0.15, levels: tuple[float, ...] = LEVELS) -> list[Outcome]:
    random = np.random.default_rng(seed)
    found = []
    for n in range(units):
        context = CONTEXTS[random.integers(3)]
        chances = [(level, p) for level, p in logging(context) if level in levels]
        chances = [(level, p / sum(q for _, q in chances)) for level, p in chances]
        held_out = random.random() < holdout
        percent = 0.0 if held_out else taken(chances, random.random())[0]
        listed = (random.random() < buys(context, percent)) * LISTED * random.exponential()
        shown = exposure(
            f"v{seed}-{n}", context=context, arm="holdout" if held_out else "treatment", percent=percent,
            levels=chances, propensity=1.0 if held_out else dict(chances)[percent], holdout_share=holdout,
        )  # fmt: skip
        found.append(outcome(float(listed * (MARGIN - percent / 100)), orders=int(listed > 0), of=shown))
    return found


@pytest.fixture(scope="module")
def evaluations() -> list[Evaluation]:
    return [evaluate(log(1_500, seed), new_policy) for seed in range(70)]


def test_on_average_every_estimate_is_the_truth(
    evaluations: list[Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    truths = {
        "ips": TRUTH, "snips": TRUTH, "doubly_robust": TRUTH, "logged": TRUTH_LOGGED, "gain": TRUTH - TRUTH_LOGGED,
        "uplift": TRUTH - TRUTH_NOTHING,
    }  # fmt: skip
    for name, truth in truths.items():
        values = np.array([getattr(one, name).value for one in evaluations])
        intervals = np.array([getattr(one, name).interval for one in evaluations])
        covered = float(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean())
        error = values.std(ddof=1) / math.sqrt(len(values))
        with capsys.disabled():
            print(
                f"\n{name}: truth {truth:.3f}, mean {values.mean():.3f} ± {error:.3f}, "
                f"spread {values.std():.3f}, covered {covered:.0%}",
                end="",
            )
        assert abs(values.mean() - truth) < 3.5 * error
        assert covered >= 0.87


def test_the_doubly_robust_estimate_and_gains_from_the_same_rows_are_closer_than_plain_weighting(
    evaluations: list[Evaluation],
) -> None:
    spread = {name: np.std([getattr(one, name).value for one in evaluations]) for name in ("ips", "doubly_robust")}
    assert spread["doubly_robust"] < spread["ips"]
    for one in evaluations:
        assert 0 < one.effective < one.units == 1_500
        assert one.clipped == 0.0


def test_to_evaluate_what_ran_is_to_take_the_mean_of_its_treatment() -> None:
    rows = log(4_000, 1)
    found = evaluate(rows, lambda shown: dict(shown.levels))
    treated = np.mean([o.profit for o in rows if o.exposure.arm == "treatment"])
    assert found.gain.value == 0.0
    assert found.snips.value == pytest.approx(treated, abs=0.15)
    assert found.snips.interval.low < treated < found.snips.interval.high


def test_where_the_log_had_no_chance_the_answer_is_refused_with_what_is_missing() -> None:
    rows = log(300, 2, levels=(0.0, 5.0))
    hesitant = sum(o.exposure.context == "hesitant" for o in rows)
    with pytest.raises(NoSupportError, match=rf"10 % in {hesitant}\b.*no chance") as refused:
        evaluate(rows, new_policy)
    assert refused.value.levels == {10.0: hesitant}
    # A policy of nothing needs a chance of nothing: the holdout's is enough, and without one it is refused.
    always = log(300, 3, levels=(10.0,))
    assert evaluate(always, lambda _: {0.0: 1.0}).uplift is not None
    without = log(300, 3, levels=(10.0,), holdout=0.0)
    with pytest.raises(NoSupportError, match="0 % in 300"):
        evaluate(without, lambda _: {0.0: 1.0})
    assert evaluate(without, lambda _: {10.0: 1.0}).uplift is None


def test_weights_are_cut_aloud_and_an_even_exploration_needs_no_cut() -> None:
    rows = log(3_000, 4)
    whole, cut = evaluate(rows, new_policy), evaluate(rows, new_policy, weight_max=2.0)
    assert (whole.clipped, whole.weight_largest) == (0.0, pytest.approx(1 / (0.85 * 0.2)))
    assert cut.clipped > 0.02
    assert cut.weight_largest == whole.weight_largest
    assert cut.ips.value < whole.ips.value


def test_no_row_has_a_part_in_the_prediction_that_corrects_it() -> None:
    # One half of the visitors earns 8 each, the other nothing: each half is told to expect what the other one had.
    levels = [(0.0, 0.5), (10.0, 0.5)]
    rows = []
    for n in range(400):
        half = crc32(f"v{n}".encode()) & 1
        rows.append(outcome(8.0 * half, visitor_id=f"v{n}", percent=10.0 * (n // 2 % 2), levels=levels))
    found = off_policy._rows(rows, lambda one: one.profit)
    for row, predicted in zip(rows, found.predicted, strict=True):
        assert predicted == pytest.approx({0.0: 8.0 - row.profit, 10.0: 8.0 - row.profit})


def test_another_reward_is_evaluated_alike() -> None:
    found = evaluate(log(12_000, 5), new_policy, reward=lambda one: float(one.converted))
    expected = np.mean([sum(p * buys(c, x) for x, p in new_policy(exposure(context=c)).items()) for c in CONTEXTS])
    assert found.doubly_robust.value == pytest.approx(expected, abs=0.02)


def test_where_nobody_got_what_the_policy_gives_nothing_is_known() -> None:
    rows = [outcome(1.0, visitor_id=f"v{n}", percent=10.0, levels=[(5.0, 0.01), (10.0, 0.99)]) for n in range(20)]
    found = evaluate(rows, lambda _: {5.0: 1.0})
    assert found.effective == 0.0
    assert math.isnan(found.snips.value)
    assert found.snips.interval == (-math.inf, math.inf)


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        evaluate([outcome()], new_policy)
    with pytest.raises(ValueError, match="sum of 1"):
        evaluate(log(10, 1), lambda _: {0.0: 0.5})
    with pytest.raises(ValueError, match="no chance"):
        evaluate([outcome(percent=5.0, levels=[(10.0, 1.0)])] * 2, lambda _: {10.0: 1.0})

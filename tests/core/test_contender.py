"""When a challenger takes over: for a gain that is no chance, large enough to matter, and seen for long enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from stream_app.core.contender import (
    BETTER_SHARE,
    BETTER_Z,
    WARM_NEGATIVES_MIN,
    WARM_POSITIVES_MIN,
    WINDOW_FILLED,
    Contender,
)
from stream_app.core.model import IntentModel, NonFiniteError
from tests.core.examples import BASE, example, rows_of

WINDOW = 4_000
Forecast = Callable[[float], float]


def contender(name: str = "newton", *, window: int = WINDOW) -> Contender:
    """One that has learned enough to be believed."""
    made = Contender(IntentModel(name, base_rate=BASE), window=window)
    made.positives, made.negatives = WARM_POSITIVES_MIN, WARM_NEGATIVES_MIN
    return made


def compare(
    champion: Contender, challenger: Contender, forecasts: tuple[Forecast, Forecast], *, rows: int, seed: int
) -> Iterator[int]:
    """Episodes of one to eight rows; both say what their forecast makes of the truth. Gives the rows so far."""
    random = np.random.default_rng(seed)
    done = 0
    while done < rows:
        truth = float(random.normal(-2.5, 1.0))
        label = int(random.random() < 1 / (1 + math.exp(-truth)))
        size = int(random.integers(1, 9))
        for one, forecast in zip((champion, challenger), forecasts, strict=True):
            said = forecast(truth)
            one.raw = one.p = [1 / (1 + math.exp(-said))] * size
        for one in (champion, challenger):
            one.observe(label, [1.0] * size, champion)
        done += size
        yield done


def blurred(by: float, *, seed: int) -> Forecast:
    random = np.random.default_rng(seed)
    return lambda truth: truth + float(random.normal(0.0, by))


def ever(
    champion: Contender, challenger: Contender, forecasts: tuple[Forecast, Forecast], *, rows: int, seed: int
) -> int:
    """After how many rows it would have taken over; 0 if never. Asked after every episode, as the learner does."""
    for done in compare(champion, challenger, forecasts, rows=rows, seed=seed):
        if challenger.beats_champion(champion):
            return done
    return 0


@pytest.mark.parametrize("seed", range(5))
def test_one_that_is_truly_better_takes_over_and_not_before_half_the_window_is_filled(seed: int) -> None:
    found = ever(contender(), contender("sgd"), (blurred(1.2, seed=seed), blurred(0.0, seed=0)), rows=30_000, seed=seed)
    # Half of a fading window of n is filled after n · ln 2 rows.
    assert math.log(2) * WINDOW - 8 <= found < 10_000


@pytest.mark.parametrize("seed", range(12))
def test_one_that_is_as_good_never_does_however_often_it_is_asked(seed: int) -> None:
    # Over five windows, some 8,000 looks: chance alone is below three standard errors nearly always.
    forecasts = blurred(0.5, seed=2 * seed), blurred(0.5, seed=2 * seed + 1)
    assert ever(contender(), contender("sgd"), forecasts, rows=5 * WINDOW, seed=seed) == 0


@pytest.mark.parametrize("seed", range(3))
def test_one_that_is_worse_never_does(seed: int) -> None:
    forecasts = blurred(0.0, seed=0), blurred(0.5, seed=seed)
    assert ever(contender(), contender("sgd"), forecasts, rows=5 * WINDOW, seed=seed) == 0


def test_a_gain_too_small_to_matter_changes_nothing_however_certain_it_is() -> None:
    # Always better by a hair: thousands of standard errors, far below half a percent of log-loss.
    champion, challenger = contender(), contender("sgd")
    for _ in compare(champion, challenger, (lambda u: u + 0.05, lambda u: u), rows=20_000, seed=1):
        assert not challenger.beats_champion(champion)
    standing = challenger.standing()
    assert abs(standing.difference) < BETTER_SHARE * champion.standing().log_loss
    assert standing.examples > WINDOW_FILLED * WINDOW


def test_a_cold_one_never_takes_over() -> None:
    champion, challenger = contender(), contender("sgd")
    challenger.positives -= 1
    assert not ever(champion, challenger, (blurred(1.5, seed=1), blurred(0.0, seed=0)), rows=8_000, seed=1)
    assert challenger.standing().z < -BETTER_Z
    challenger.positives += 1
    assert challenger.beats_champion(champion)


def test_against_another_champion_the_comparison_begins_anew() -> None:
    champion, challenger = contender(), contender("sgd")
    for _ in compare(champion, challenger, (blurred(1.0, seed=1), blurred(0.0, seed=0)), rows=8_000, seed=1):
        pass
    assert challenger.beats_champion(champion)
    loss = challenger.standing().log_loss
    challenger.compare_anew()
    assert not challenger.beats_champion(champion)
    assert (challenger.standing().difference, challenger.standing().z) == (0.0, 0.0)
    # Its own log-loss over the window is no comparison: it stays.
    assert challenger.standing().log_loss == loss


def test_the_standing_is_log_loss_per_event_and_the_difference_to_the_champion() -> None:
    # p .5 and .2 against q .25 and .4, bought, weights 1 and 3
    champion, challenger = contender(), contender("sgd")
    champion.p, champion.raw = [0.25, 0.4], [0.25, 0.4]
    challenger.p, challenger.raw = [0.5, 0.2], [0.5, 0.2]
    for one in (champion, challenger):
        one.observe(1, [1.0, 3.0], champion)
    mine = -(math.log(0.5) + 3 * math.log(0.2)) / 4
    theirs = -(math.log(0.25) + 3 * math.log(0.4)) / 4
    assert challenger.standing()[:4] == ("sgd", 2.0, pytest.approx(mine), pytest.approx(mine - theirs))
    assert champion.standing()[:5] == ("newton", 2.0, pytest.approx(theirs), 0.0, 0.0)


def test_a_frozen_one_learns_no_more_and_says_what_it_said() -> None:
    one = Contender(IntentModel("newton", base_rate=BASE), window=WINDOW)
    rows = rows_of(one.model.priors, [example(n, label=n % 2) for n in range(40)])
    for n in range(20):
        one.learn(rows.only(n), n % 2, closed=1, event_ids=["e"])
    one.predict(rows)
    said, learned = one.p, (one.updates, one.positives, one.negatives)
    assert learned == (20, 10, 10)
    one.frozen = "too large"
    for n in range(20, 40):
        one.learn(rows.only(n), n % 2, closed=1, event_ids=["e"])
    one.predict(rows)
    assert (one.p, (one.updates, one.positives, one.negatives)) == (said, learned)
    again = Contender(IntentModel("newton", base_rate=BASE), window=WINDOW)
    again.restore(one.export())
    assert again.frozen == "too large"
    one.frozen = ""
    one.learn(rows.only(20), 0, closed=0, event_ids=["e"])
    one.predict(rows)
    assert one.p != said
    assert (one.updates, one.positives, one.negatives) == (21, 10, 10)


def test_it_continues_bit_for_bit_and_refuses_what_it_did_not_export() -> None:
    champion, one = contender(), contender("sgd")
    for _ in compare(champion, one, (blurred(1.0, seed=1), blurred(0.0, seed=0)), rows=500, seed=1):
        pass
    good = one.export()
    again = Contender(IntentModel("sgd", base_rate=BASE), window=WINDOW)
    again.restore(good)
    assert again.standing() == one.standing()
    assert again.warm
    for damage in (
        {"learned": [1, 2]},
        {"learned": None},
        {"own": [1.0]},
        {"against": None},
        {"against": ["x"] * 5},
        {"classifier": champion.export()["classifier"]},
        {"classifier": None},
    ):
        with pytest.raises((ValueError, TypeError)):
            again.restore({**good, **damage})
        assert again.standing() == one.standing()
        assert (again.updates, again.positives) == (one.updates, one.positives)
    for name in good:
        with pytest.raises((ValueError, KeyError)):
            again.restore({key: value for key, value in good.items() if key != name})


def test_one_whose_classifier_fails_to_predict_says_half_and_is_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    one = contender("sgd")

    def fail(x: dict[str, float]) -> dict[bool, float]:
        raise OverflowError("math range error")

    monkeypatch.setattr(one.model.classifier, "predict_proba_one", fail)
    one.predict(rows_of(one.model.priors, [example(0), example(1)]))
    assert one.raw == [0.5, 0.5]
    with pytest.raises(NonFiniteError, match="model sgd: predicting: OverflowError"):
        one.export()

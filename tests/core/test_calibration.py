"""The calibrator mends what is off by a line in the logit, and keeps its hands off what is not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.core.calibration import Calibrator, logit, loss


class Episode(NamedTuple):
    """Rows of a session: what is true of each, the outcome, and what each stands for."""

    truth: npt.NDArray[np.float64]
    label: int
    weights: list[float]


def stream(count: int, *, seed: int) -> list[Episode]:
    """Episodes of three rows that resemble one another, bought by some 8 %; the scores are the truth, as logits."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        mean = random.normal(-3.0, 1.2)
        label = int(random.random() < 1 / (1 + math.exp(-mean)))
        found.append(Episode(np.full(3, mean), label, [1.0, 1.0, 2.0]))
    return found


def p_of(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))


class Run(NamedTuple):
    """What came of a stream: log-loss per weight of the later half, as it was and as it was served."""

    calibrator: Calibrator
    raw: float
    served: float
    truth: float


def run(episodes: list[Episode], *, slope: float = 1.0, offset: float = 0.0) -> Run:
    """Scores off by a slope and an offset of the logit, as a classifier would give them."""
    calibrator = Calibrator()
    sums = np.zeros(4)
    for n, (truth, label, weights) in enumerate(episodes):
        raw = p_of(slope * truth + offset)
        served = calibrator.apply(raw)
        if n >= len(episodes) // 2:
            for weight, u, p, q in zip(weights, truth.tolist(), raw.tolist(), served.tolist(), strict=True):
                sums += weight * np.array([loss(logit(p), label), loss(logit(q), label), loss(u, label), 1.0])
        calibrator.learn(raw.tolist(), label, weights)
    raw_loss, served_loss, truth_loss = (sums[:3] / sums[3]).tolist()
    return Run(calibrator, raw_loss, served_loss, truth_loss)


@pytest.mark.parametrize(
    ("slope", "offset"), [(2.0, 0.0), (0.5, 0.0), (1.0, 1.0), (1.0, -1.0), (1.6, 0.8)],
    ids=["too sure", "too unsure", "too high", "too low", "both"],
)  # fmt: skip
def test_scores_that_are_off_are_mended(slope: float, offset: float) -> None:
    found = run(stream(8_000, seed=3), slope=slope, offset=offset)
    assert found.calibrator.serving
    # u = slope · truth + offset, so that the truth is u / slope − offset / slope.
    assert found.calibrator.slope == pytest.approx(1 / slope, abs=0.15 / slope)
    assert found.calibrator.offset == pytest.approx(-offset / slope, abs=0.35)
    assert found.raw > found.truth + 0.004
    assert found.served - found.truth < 0.1 * (found.raw - found.truth)


@pytest.mark.parametrize("seed", range(8))
def test_scores_that_are_right_are_left_alone_or_as_good_as_before(seed: int) -> None:
    found = run(stream(5_000, seed=seed))
    assert found.served < found.raw + 0.0005
    assert found.calibrator.slope == pytest.approx(1.0, abs=0.15)
    assert abs(found.calibrator.offset) < 0.35


def test_scores_that_are_right_are_left_alone_nearly_always() -> None:
    assert sum(run(stream(4_000, seed=seed)).calibrator.serving for seed in range(12)) <= 2


def test_it_does_not_serve_before_enough_episodes_however_large_the_gain() -> None:
    calibrator = Calibrator()
    for n, (truth, label, weights) in enumerate(stream(600, seed=3)):
        calibrator.learn(p_of(3 * truth + 3).tolist(), label, weights)
        if n < 299:
            assert not calibrator.serving
    assert calibrator.serving


def test_it_stops_serving_when_it_has_lost_what_it_gained() -> None:
    episodes = stream(30_000, seed=5)
    calibrator = run(episodes[:6_000], offset=1.0).calibrator
    assert calibrator.serving
    # The classifier is calibrated from now on: what was learned does harm until it wears off.
    stopped = False
    for truth, label, weights in episodes[6_000:]:
        raw = p_of(truth)
        calibrator.learn(raw.tolist(), label, weights)
        if not calibrator.serving:
            stopped = True
            assert calibrator.apply(raw) is raw
            break
    assert stopped


def test_while_it_does_not_serve_nothing_is_changed_by_it() -> None:
    calibrator = Calibrator()
    calibrator.slope, calibrator.offset = 2.0, 1.0
    raw = np.array([0.0, 1e-9, 0.3, 1.0])
    assert calibrator.apply(raw) is raw
    calibrator.serving = True
    # σ(2 · logit(0.3) + 1), by hand: odds (3/7)² · e
    odds = (3 / 7) ** 2 * math.e
    assert calibrator.apply(raw)[2] == pytest.approx(odds / (1 + odds))
    assert np.isfinite(calibrator.apply(raw)).all()


def test_the_first_step_is_that_of_a_newton_step_on_its_prior() -> None:
    # One row of full weight 8 at u = logit(0.2) = −1.386, not bought: r = .16, variance .1 · (u² + 1) of the logit
    calibrator = Calibrator()
    calibrator.learn([0.2], 0, [8.0])
    u, r = math.log(0.25), 0.16
    variance = 0.1 * (u * u + 1)
    gain = 1 / (1 / r + variance)
    assert calibrator.slope == pytest.approx(1 + 0.1 * u * (0 - 0.2) / r * gain)
    assert calibrator.offset == pytest.approx(0.1 * (0 - 0.2) / r * gain)


def test_a_row_counts_by_its_weight_and_eight_at_most() -> None:
    def moved(weight: float) -> float:
        calibrator = Calibrator()
        calibrator.learn([0.2], 0, [weight])
        return -calibrator.offset

    assert 0 < moved(1.0) < moved(4.0) < moved(8.0)
    assert moved(8.0) == moved(1_000.0)


@pytest.mark.parametrize("at", [100, 2_999])
def test_it_continues_bit_for_bit_from_what_it_exported(at: int) -> None:
    episodes = stream(4_000, seed=6)
    whole = run(episodes, slope=2.0).calibrator
    half = run(episodes[:at], slope=2.0).calibrator
    again = Calibrator()
    again.restore(half.export())
    assert again.export() == half.export()
    for truth, label, weights in episodes[at:]:
        again.learn(p_of(2 * truth).tolist(), label, weights)
    assert again.export() == whole.export()
    assert whole.serving


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "x", None])
def test_what_is_no_number_is_refused_and_changes_nothing(value: object) -> None:
    calibrator = run(stream(500, seed=7), slope=2.0).calibrator
    good = calibrator.export()
    for place in range(len(good) - 1):
        with pytest.raises((ValueError, TypeError)):
            calibrator.restore([*good[:place], value, *good[place + 1 :]])
        assert calibrator.export() == good
    for wrong in (good[:-1], [*good, 1.0], []):
        with pytest.raises((ValueError, TypeError)):
            calibrator.restore(wrong)
        assert calibrator.export() == good


@pytest.mark.parametrize("p", [0.0, 1e-300, 1.0, 0.5])
def test_scores_at_the_very_edge_leave_it_finite(p: float) -> None:
    calibrator = Calibrator()
    for label in (0, 1) * 200:
        calibrator.learn([p], label, [8.0])
    calibrator.serving = True
    assert np.isfinite(calibrator.apply(np.array([0.0, p, 1.0]))).all()
    Calibrator().restore(calibrator.export())

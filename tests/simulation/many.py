"""Many seeds, in as many processes as there are cores."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

from tests.simulation.mutants import MUTANTS
from tests.simulation.run import simulate

#: Seeds per task: enough to be worth handing over, few enough to end together.
_CHUNK: Final = 20

#: Lines of a failing run's history that are shown.
TAIL_LINES: Final = 40


class Failure(NamedTuple):
    """A seed that broke a promise, and how to see it again."""

    seed: int
    guarantee: str
    violation: str
    tail: str
    mutant: str | None = None

    def __str__(self) -> str:
        mutant = f" --mutant {self.mutant}" if self.mutant else ""
        return (
            f"{self.tail}\n\nseed {self.seed}, {self.guarantee}: {self.violation}\n"
            f"again: python -m tests.simulation --seed {self.seed} --guarantee {self.guarantee}{mutant} --trace\n"
        )


class Tally(NamedTuple):
    """What many runs came to; `counts` says how often each thing happened in them."""

    runs: int
    failures: list[Failure]
    seconds: float
    simulated_s: float
    counts: Counter[str]


def run_many(
    seeds: Sequence[int], guarantees: Iterable[str], *, jobs: int, mutant: str | None = None, failures_max: int = 5
) -> Tally:
    """Run every seed with every guarantee; stops after some failures."""
    started = time.monotonic()
    runs, simulated, failures, counts = 0, 0.0, [], Counter[str]()
    for count, seconds, found, happened in _results(seeds, list(guarantees), jobs, mutant):
        runs += count
        simulated += seconds
        failures += found
        counts += happened
        if len(failures) >= failures_max:
            break
    return Tally(runs, failures, time.monotonic() - started, simulated, counts)


def _results(
    seeds: Sequence[int], guarantees: list[str], jobs: int, mutant: str | None
) -> Iterator[tuple[int, float, list[Failure], Counter[str]]]:
    chunks = [
        (list(seeds[start : start + _CHUNK]), guarantee, mutant)
        for start in range(0, len(seeds), _CHUNK)
        for guarantee in guarantees
    ]
    if jobs < 2:
        yield from map(_run_chunk, chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_run_chunk, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def _run_chunk(chunk: tuple[list[int], str, str | None]) -> tuple[int, float, list[Failure], Counter[str]]:
    seeds, guarantee, mutant = chunk
    failures, simulated, counts = [], 0.0, Counter[str]()
    for seed in seeds:
        outcome = MUTANTS[mutant].run(seed) if mutant else simulate(seed, guarantee)
        simulated += outcome.simulated_s
        counts.update(outcome.counts)
        if outcome.violation:
            failures.append(Failure(seed, guarantee, outcome.violation, outcome.history.tail(TAIL_LINES), mutant))
    return len(seeds), simulated, failures, counts

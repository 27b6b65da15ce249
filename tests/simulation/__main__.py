"""`python -m tests.simulation`: run seeds, or one of them again.

--seeds 0..999 --jobs 2          many, with both guarantees; prints those that fail, and runs per second
--seed 42 --guarantee … --trace  one, with its whole history
--mutant NAME                    with a planted bug (`--mutants` lists them)
"""

from __future__ import annotations

import argparse
import sys

from tests.simulation.many import TAIL_LINES, run_many
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import GUARANTEES, simulate


def main() -> int:
    """The exit code: 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Deterministic runs, by seed.")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", default="0..199", help="first..last; default %(default)s")
    parser.add_argument("--guarantee", choices=GUARANTEES, help="one of the two; default both")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default %(default)s")
    parser.add_argument("--trace", action="store_true", help="the whole history of --seed")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant a bug")
    parser.add_argument("--mutants", action="store_true", help="list the bugs that can be planted")
    given = parser.parse_args()
    only = MUTANTS[given.mutant].guarantee if given.mutant else given.guarantee
    guarantees = [only] if only else list(GUARANTEES)
    if given.mutants:
        for name, mutant in MUTANTS.items():
            print(f"{name:32} {mutant.guarantee:14} {mutant.says}")
        return 0
    if given.seed is not None:
        return max(_show(given.seed, guarantee, given.mutant, trace=given.trace) for guarantee in guarantees)
    first, _, last = given.seeds.partition("..")
    tally = run_many(range(int(first), int(last or first) + 1), guarantees, jobs=given.jobs, mutant=given.mutant)
    for failure in tally.failures:
        print(failure)
    print(
        f"{tally.runs} runs, {len(tally.failures)} failed, {tally.runs / tally.seconds:.1f} runs/s, "
        f"{tally.simulated_s / 3600:.1f} h simulated in {tally.seconds:.0f} s"
    )
    return 1 if tally.failures else 0


def _show(seed: int, guarantee: str, mutant: str | None, *, trace: bool) -> int:
    outcome = MUTANTS[mutant].run(seed) if mutant else simulate(seed, guarantee)
    history = outcome.history
    if trace or outcome.violation:
        print(history.tail(len(history.lines) if trace else TAIL_LINES))
    verdict = outcome.violation or "every promise was kept"
    print(f"seed {seed}, {guarantee}, trace {outcome.digest}, {outcome.simulated_s:.1f} s simulated: {verdict}")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())

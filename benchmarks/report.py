"""docs/benchmarks.md and its plots from the results file, so that no number is typed.

    python -m benchmarks.report [--results FILE] [--check]

Tables are written between `<!-- name -->` and `<!-- /name -->`; the prose around them is written by people. With
`--check` nothing is written, and the exit code says whether the page is that of the results.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig.processes import REPOSITORY
from benchmarks.rig.results import RESULTS, load

PAGE = REPOSITORY / "docs" / "benchmarks.md"
Found = Mapping[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def throughput(found: Found) -> str:
    """Medians, and how many times ours is as fast."""
    ours = found.get("ours", {}).get("median", {})
    floor = found.get("copy", {}).get("median", {})
    rows = []
    for row in found.values():
        median = row["median"]
        speed, cpu = median.get("events_per_second"), median.get("cpu_us_per_event")
        memory = row["runs"][0]["peak_mib"]
        peak = median.get("peak_mib", sum(memory.values()) if isinstance(memory, dict) else memory)
        rows.append(
            (
                row["label"],
                number(speed),
                _times(ours.get("events_per_second"), speed),
                number(median.get("cold_events_per_second")),
                number(cpu, 1),
                _times(cpu, floor.get("cpu_us_per_event")),
                number(median.get("broker_cpu_us_per_event"), 1),
                number(median.get("redis_cpu_us_per_event"), 1),
                number(peak),
                number(median.get("output_bytes_per_event")),
                "yes" if median["complete"] else "**no**",
            )
        )
    head = (
        "contender", "events/s", "ours is … times that", "while warming up", "own CPU µs per event",
        "… times the copy loop's", "the broker's", "Redis's", "peak MiB", "bytes written per event", "complete",
    )  # fmt: skip
    return table(head, rows)


def workers(found: Found) -> str:
    rows = []
    for key, row in found.items():
        one = found.get(key.partition("-x")[0], row)["median"].get("events_per_second")
        speed = row["median"].get("events_per_second")
        cpu = row["median"].get("cpu_us_per_event")
        rows.append((row["label"], str(row["workers"]), number(speed), _times(speed, one), number(cpu, 1)))
    return table(("contender", "processes", "events/s", "times one process", "own CPU µs per event"), rows)


def kill(found: Found) -> str:
    head = (
        "contender", "events", "wrong features", "wrong scores", "lost features / scores",
        "repeated features / scores", "violations of the audit",
    )  # fmt: skip
    rows = []
    for row in found.values():
        features, scores = row["features"], row["scores"]
        audit = row.get("audit")
        rows.append(
            (
                row["label"],
                number(row["events"]),
                number(row["wrong_features"]),
                number(row["wrong_scores"]),
                f"{features['lost']:,} / {scores['lost']:,}",
                f"{features['repeated']:,} / {scores['repeated']:,}",
                number(audit["violations"]) if audit else "",
            )
        )
    return table(head, rows)


def latency(found: Found) -> str:
    rates = sorted({run["rate"] for row in found.values() for run in row["rates"]})
    rows = []
    for row in found.values():
        runs = {run["rate"]: run for run in row["rates"]}
        rows.append((row["label"], *(_percentiles(runs.get(rate)) for rate in rates)))
    return table(("p50 / p99 / p99.9, ms", *(f"{rate:,} events/s" for rate in rates)), rows)


def state(found: Found) -> str:
    rows = [
        (
            number(row["sessions"]),
            number(row["opening"]["events_per_second"]),
            number(row["zipf"]["events_per_second"]),
            number(row["zipf"]["cpu_us_per_event"], 1),
            number(row["redis_bytes_per_opened_session"]),
            number(row["redis_bytes_per_session"]),
            number(row["worker_rss_mib"]),
            number(row["ready_empty_s"], 1),
            number(row["ready_from_redis_s"], 1),
            number(row["ready_from_changelog_s"], 1),
        )
        for size, row in found.items()
        if size.isdigit()
    ]
    rows.sort(key=lambda row: int(row[0].replace(",", "")))
    head = (
        "open sessions", "opened a second", "Zipf events/s", "own CPU µs per event", "Redis B per opened session",
        "… after the Zipf events", "worker RSS MiB", "ready: nothing there, s", "from Redis, s",
        "from the changelog, s",
    )  # fmt: skip
    return table(head, rows)


def expiring(found: Found) -> str:
    row = found["expiring"]
    head = ("due a second", "sessions", "closed", "last closed after, s", "most behind, s", "p50 / p99 of scores, ms")
    values = (
        number(row["due_per_second"]), number(row["sessions"]), number(row["closed"]), number(row["took_s"], 1),
        number(row["behind_max_s"], 2), f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}",
    )  # fmt: skip
    return table(head, [values])


def measured_on(section: Found) -> str:
    """One line: when and on what."""
    about = section["machine"]
    return (
        f"Measured {about['date']} at commit {about['commit']}: {about['cpu']}, {about['cores']} cores shared by the "
        f"contender, the broker, Redis and the rig, {about['memory_gib']} GiB, Linux {about['kernel']}, Python "
        f"{about['python']}."
    )


#: Name of the mark → section of the results, and what is made of it.
TABLES: dict[str, tuple[str, Callable[[Found], str]]] = {
    "check": ("check", kill),
    "throughput": ("throughput", throughput),
    "workers": ("workers", workers),
    "kill": ("kill", kill),
    "latency": ("latency", latency),
    "state": ("state", state),
    "expiring": ("state", expiring),
}


def _times(one: float | None, other: float | None) -> str:
    return f"{one / other:.1f}" if one and other else "–"


def _percentiles(run: Found | None) -> str:
    if run is None or run["behind"]:
        return "falls behind"
    return f"{run['p50_ms']:.1f} / {run['p99_ms']:.1f} / {run['p999_ms']:.1f}"


def rendered(page: str, results: Found) -> str:
    """The page with each table that there are results for."""
    for name, (section, make) in TABLES.items():
        if section in results:
            made = f"{make(results[section]['found'])}\n\n{measured_on(results[section])}"
            between = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            page = between.sub(lambda marks, text=made: f"{marks[1]}{text}\n{marks[2]}", page)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    results, page = load(given.results), PAGE.read_text()
    made = rendered(page, results)
    if given.check:
        sys.exit(made != page)
    PAGE.write_text(made)
    from benchmarks.plots import draw

    for name in draw(results, RESULTS.parent):
        print(RESULTS.parent / name)


if __name__ == "__main__":
    main()

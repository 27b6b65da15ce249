"""Measure the tables of docs/evaluation.md anew and put them in their places.

    python benchmarks/evaluation_tables.py [--reports DIR] [--only TEXT]

A block of the document begins with a comment that says which tables of which command it holds, and ends with another:

    <!-- tables models bounds: stream-app evaluate FILE --format F … -->
    …
    <!-- end -->

Each command runs once, whatever the number of its blocks. `--reports` keeps the reports as JSON and takes those that
are there already: delete one to measure it anew. `--only` leaves all blocks alone whose command does not contain the
text. Paths are relative to the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from stream_app.evaluation.tables import tables, to_markdown

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "evaluation.md"
BLOCK = re.compile(r"<!-- tables ([\w ]+): stream-app (evaluate .*?) -->\n.*?<!-- end -->", re.DOTALL)


def report_of(command: str, reports: Path) -> dict[str, Any]:
    """The command's report, measured unless it is there."""
    path = reports / f"{hashlib.sha256(command.encode()).hexdigest()[:12]}.json"
    if not path.exists():
        print(f"stream-app {command}", file=sys.stderr)
        program = "from stream_app.cli import main; main()"
        arguments = [sys.executable, "-c", program, *shlex.split(command), "--json", str(path)]
        subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()

    def measured(block: re.Match[str]) -> str:
        keys, command = block[1].split(), block[2]
        if arguments.only not in command:
            return block[0]
        found = {table.key: table for table in tables(report_of(command, reports))}
        told = "\n\n".join(to_markdown(found[key]) for key in keys)
        return f"<!-- tables {block[1]}: stream-app {command} -->\n\n{told}\n\n<!-- end -->"

    with tempfile.TemporaryDirectory() as scratch:
        reports = (arguments.reports or Path(scratch)).absolute()
        reports.mkdir(parents=True, exist_ok=True)
        DOCUMENT.write_text(BLOCK.sub(measured, DOCUMENT.read_text()))


if __name__ == "__main__":
    main()

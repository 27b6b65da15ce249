"""The notebook as it is committed: without outputs, and it runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "history.ipynb"

#: Of one cell; the whole takes some six seconds of a core.
CELL_S = 120


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 8
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_it_runs_and_shows_every_part(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    root = NOTEBOOK.parents[2]
    client = NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    )
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "stream" and output.name == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    tables = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert len(tables) == 5
    (rows, *_, frequent) = tables
    assert "purchased" in rows
    assert "item" in frequent
    size = sum(len(str(output)) for output in shown)
    assert size < 200_000, "outputs are to be looked at, not carried about"

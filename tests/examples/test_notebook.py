from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

import explr.examples

NOTEBOOK = Path(explr.examples.__path__[0]) / "notebook.ipynb"


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def text_of(cell: nbformat.NotebookNode) -> str:
    """What a cell shows as text."""
    parts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    ]
    return "\n".join(parts)


def test_no_outputs_are_kept_in_the_file(notebook: nbformat.NotebookNode) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


# Jupyter's client and kernel warn of themselves: event loops and folders that will move, ports
# without encryption. None of it is about the notebook, whose own warnings are in its outputs.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_best_learning_rate_and_a_figure(
    notebook: nbformat.NotebookNode,
    tmp_path: Path,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nbclient import NotebookClient

    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(template, tmp_path / "home" / "mlflow.db")
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXPLR_AUTOSTART", "0")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    resources: dict[str, Any] = {"metadata": {"path": str(tmp_path)}}
    # What a cell has shown may come long after its end, on a busy machine.
    patience = {"timeout": 240, "startup_timeout": 200, "iopub_timeout": 90}
    done = NotebookClient(
        notebook, kernel_name="python3", resources=resources, **patience
    ).execute()

    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [o for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    best, frame, figure = cells[-3:]
    assert "best learning rate: 0." in text_of(best)
    assert "params_lr" in text_of(frame)
    assert any(
        "application/vnd.plotly.v1+json" in output.get("data", {}) for output in figure.outputs
    )
    assert (tmp_path / "multirun").is_dir()

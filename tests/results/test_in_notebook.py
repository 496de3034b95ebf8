"""A sweep in a notebook, in a real kernel: the view below the cell, and what the result shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

CELLS = [
    """\
import threading
from explr.results.live.notebook import NotebookScreen

class View:
    times = 0
    drawn = threading.Event()

    def __rich__(self):
        View.times += 1
        if View.times > 3:
            View.drawn.set()
        return "drawn, and drawn again"

with NotebookScreen(View()):
    assert View.drawn.wait(60)
""",
    """\
import explr

def train_model(ctx):
    for epoch in range(4):
        ctx.report(epoch, val_loss=ctx.trial_number + 1 / (epoch + 1))
    if ctx.trial_number == 1:
        raise ValueError("no luck")
    return ctx.hyperparameters["lr"]

found = explr.tune(
    ["tracking=off", "lr=interval(0.1, 0.7)", "tuner.n_jobs=2", "tuner/pruner=none"],
    train_model,
    n_trials=4,
)
""",
    "found",
    "found.dataframe()",
    "found.plot_history()",
    """\
cfg = explr.compose(["tracking=off"], {"lr": 0.5})
def train_once(ctx):
    for epoch in range(4):
        ctx.report(epoch, val_loss=10.0 ** -epoch)
    return explr.TrainingResult(0.001, metrics={"seconds": 3}, epochs_completed=4)
explr.run(cfg, train_once)
""",
    "explr.load_best(found.folder)",
    "explr.tune(['tuner=none', 'tracking=off', 'lr=0.1,0.2'], train_once)",
]


# Jupyter's client and kernel warn of themselves: event loops and folders that will move, ports
# without encryption.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_sweep_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    updates: list[int] = []

    class Client(NotebookClient):
        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "update_display_data":
                updates.append(cell_index)
            return super().process_message(msg, cell, cell_index)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    resources: dict[str, Any] = {"metadata": {"path": str(tmp_path)}}
    # What a cell has shown may come long after its end, on a busy machine.
    patience = {"timeout": 240, "startup_timeout": 200, "iopub_timeout": 90}
    done = Client(notebook, kernel_name="python3", resources=resources, **patience).execute()
    outputs = [cell.outputs for cell in done.cells]
    every = [output for cell in outputs for output in cell]
    assert [output for output in every if output.output_type == "error"] == []
    assert [output.text for output in every if output.get("name") == "stderr"] == []

    assert updates.count(0) >= 3  # drawn by a thread, into the output of its cell
    (drawn,) = outputs[0]
    assert "drawn, and drawn again" in drawn.data["text/html"]

    view, *printed = outputs[1]
    assert "4/4 trials" in view.data["text/html"]
    assert "3 complete" in view.data["text/html"]
    text = "".join(output.text for output in printed)
    assert "trial 1 FAIL: ValueError: no luck" in text
    assert "COMPLETE:" not in text
    assert "4 trials: 3 complete, 1 fail" in text
    assert "to train it again: explr.run(explr.compose(['tracking=off', 'lr=" in text

    assert "4 trials: 3 complete, 1 fail" in outputs[2][0].data["text/html"]
    assert "params_lr" in outputs[3][0].data["text/html"]
    (drawn,) = outputs[4][0].data["application/vnd.plotly.v1+json"]["data"][:1]
    assert drawn["name"] == "complete"
    assert "val_loss by step" in view.data["text/html"]
    assert view.data["text/html"].count("<polyline") == 4

    live, shown = outputs[5]
    assert updates.count(5) >= 1
    assert "best 0.001 (step 3)" in live.data["text/html"]
    assert "val_loss by step, logarithmic" in live.data["text/html"]
    assert "<th>val_loss (minimized)</th><td>0.001</td>" in shown.data["text/html"]
    assert "<th>lr</th>" in outputs[6][0].data["text/html"]

    shown = [output for output in outputs[7] if "data" in output]
    assert ["<polyline" in output.data["text/html"] for output in shown] == [True, True, False]
    assert "2 trials: 2 complete" in shown[-1].data["text/html"]
    assert "][INFO]" not in "".join(output.get("text", "") for output in outputs[7])

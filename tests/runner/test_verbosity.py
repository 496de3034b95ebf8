"""What a person sees of a single training, and of what libraries log meanwhile."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from terminals import Terminal, text_of

if TYPE_CHECKING:
    from conftest import Command

TRAINING = """\
import logging
import sys
from pathlib import Path

sys.path.append(str(Path("site-packages").absolute()))
import noisy

import explr

log = logging.getLogger(__name__)


def train(ctx):
    log.info("said by the training")
    noisy.work()
    for epoch in range(ctx.hyperparameters["epochs"]):
        ctx.report(epoch, val_loss=1 / (epoch + 1))
    return 1 / (epoch + 1)


def wait(ctx):
    ctx.report(0, val_loss=0.5)
    import time
    time.sleep(600)


if __name__ == "__main__":
    explr.main(train, hyperparameters={"epochs": 3})
"""

NOISY = """\
import logging

log = logging.getLogger(__name__)


def work():
    log.info("chatter of a library")
    log.warning("warning of a library")
    log.error("error of a library")
"""

LINE = ["train_model=loud:train", "tracking=off", "epochs=3", "hydra.run.dir=out"]


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    """A folder with a training that logs, and a library that does too."""
    (tmp_path / "loud.py").write_text(TRAINING)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "noisy.py").write_text(NOISY)
    return tmp_path


def lines_of(text: str) -> list[str]:
    """Logged lines without their times."""
    return [re.sub(r"^\[[\d\-: ,]+\]", "", line) for line in text.splitlines()]


def test_an_epoch_is_a_line_and_libraries_go_to_the_file(explr: Command, loud: Path) -> None:
    done = explr(*LINE)
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout)[:5] == [
        "[loud][INFO] - said by the training",
        "[noisy][ERROR] - error of a library",
        "[explr.training][INFO] - epoch 1/3  val_loss 1",
        "[explr.training][INFO] - epoch 2/3  val_loss 0.5",
        "[explr.training][INFO] - epoch 3/3  val_loss 0.3333",
    ]
    assert "\x1b" not in done.stdout + done.stderr
    kept = (loud / "out" / "explr.log").read_text()
    for text in ("chatter of a library", "warning of a library", "epoch 3/3"):
        assert text in kept


@pytest.mark.slow
def test_short_flags_are_joined_as_in_any_shell_command(explr: Command, loud: Path) -> None:
    done = explr("-mq", *LINE[:2], "epochs=1,2", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    assert "said by the training" not in done.stdout
    assert "Trials: 2 complete" in done.stdout


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_shows_warnings_errors_and_the_result(explr: Command, loud: Path, flag: str) -> None:
    done = explr(flag, *LINE)
    assert done.returncode == 0, done.stderr
    logged, result, folder = lines_of(done.stdout)
    assert logged == "[noisy][ERROR] - error of a library"
    assert result.startswith("Result: val_loss 0.333333 in ")
    assert folder == "Folder: out"
    assert "epoch 3/3" in (loud / "out" / "explr.log").read_text()


def test_verbose_shows_all_of_it_in_a_script_too(explr: Command, loud: Path) -> None:
    done = explr.script("loud.py", "-v", "tracking=off", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stdout)
    for line in ("[INFO] - chatter", "[WARNING] - warning", "[ERROR] - error"):
        assert f"[noisy]{line} of a library" in lines


def test_both_flags_are_refused(explr: Command, loud: Path) -> None:
    done = explr("-q", "-v", *LINE)
    assert (done.returncode, done.stderr) == (2, "--quiet and --verbose exclude one another\n")


def test_flags_go_with_hydras_own_and_with_subcommands(explr: Command, loud: Path) -> None:
    done = explr("--quiet", *LINE, "--cfg", "job", "--package", "epochs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("3")
    (loud / "settings.yaml").write_text("epochs: 2\ntracking: off\n")
    done = explr("run", "settings.yaml", "--train-fn", "loud:train", "-q")
    assert done.returncode == 0, done.stderr
    assert "said by the training" not in done.stdout
    assert "Result: val_loss 0.5 " in done.stdout


@pytest.mark.slow
def test_a_grid_is_quiet_too(explr: Command, loud: Path) -> None:
    done = explr("-q", "-m", *LINE[:2], "epochs=1,2", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    assert "said by the training" not in done.stdout
    assert "Result:" not in done.stdout
    assert "Trials: 2 complete" in done.stdout


def test_in_a_terminal_epochs_are_a_line_that_moves(terminal: Terminal, loud: Path) -> None:
    code, output = terminal([sys.executable, "-m", "explr", *LINE])
    assert code == 0, output
    left = text_of(output)
    assert any("said by the training" in line for line in left)
    assert not any("epoch" in line for line in left)
    assert any(line.startswith("Result: val_loss 0.333333") for line in left)
    assert "epoch 3/3" in (loud / "out" / "explr.log").read_text()


@pytest.mark.slow
def test_ctrl_c_in_a_training_leaves_the_terminal_clean(terminal: Terminal, loud: Path) -> None:
    line = ["train_model=loud:wait", *LINE[1:]]
    code, output = terminal([sys.executable, "-m", "explr", *line], interrupt_at="best 0.5")
    assert code == 130, output
    assert "epoch 1/3" in output
    assert text_of(output)[-1] == "interrupted"
    assert output.rindex("\x1b[?25l") < output.rindex("\x1b[?25h")

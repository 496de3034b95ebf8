"""What a person sees of a sweep: a live view in a terminal, plain lines elsewhere, and the end."""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path

import pytest
from sweeping import BASIC, Workshop
from terminals import Terminal, plain, text_of

from explr.sweep.logs import LOG_FILE, steady_logging


@pytest.fixture
def screen(shop: Workshop) -> Terminal:
    """Runs commands in the workshop under a pseudo-terminal."""
    return Terminal(shop.folder, shop.environment)


@pytest.mark.parametrize("launcher", ["explr_local", "basic"])
def test_a_sweep_in_a_terminal(shop: Workshop, screen: Terminal, launcher: str) -> None:
    command = shop.optuna(
        "watched", "lr=interval(0,1)", "tuner.n_trials=4", "tuner/pruner=none",
        f"hydra/launcher={launcher}",
    )  # fmt: skip
    row = r"\n +3 +5 +[\d.]+  \S+ *  \d+:\d\d +0\.\d+"  # trial, step, value, curve, time, lr
    # The last trial ends as soon as it was seen.
    code, output = screen(command, then={row: (shop.folder / "go").touch})
    assert code == 0, output
    seen = plain(output)
    assert re.search(row, seen)
    assert re.search(r" 3/4 trials  \d+:\d\d", seen)
    assert re.search(r"3 complete  0 pruned  0 failed  1 running on 1 worker", seen)
    assert "best val_loss 0." in seen
    left = text_of(output)
    assert not any("running of" in line or "/4 trials" in line for line in left), output
    assert not any(" starts: " in line for line in left)
    ends = [line for line in left if re.search(r"COMPLETE: 0\.\d+  step 5  lr=0\.\d+$", line)]
    assert len(ends) == 4
    assert "4 trials: 4 complete" in left
    assert any(line.startswith("to train it again: explr train_model=trainings") for line in left)
    assert "results: multirun/s/results.json" in left
    assert "report: multirun/s/report.html" in left
    assert output.rindex("\x1b[?25l") < output.rindex("\x1b[?25h")


def test_without_a_terminal_each_event_is_a_plain_line_and_all_is_kept(shop: Workshop) -> None:
    done = shop.run(
        shop.optuna("heeds", "lr=interval(0,1)", "tuner.n_trials=8", "tuner/pruner=median"),
        FORCE_COLOR="1",
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert done.stdout.count(" starts: lr=") == 8
    assert re.search(r"trial 7 PRUNED: by the tuner  [\d.]+ at step \d  lr=0\.\d+\n", done.stdout)
    reasons = [trial["reason"] for trial in shop.results("multirun/s")["trials"]]
    assert reasons == [""] * 5 + ["by the tuner"] * 3
    lines = done.stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["trial", "val_loss"])
    rows = [line.split() for line in lines[head + 1 : head + 6]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[0][-2] == "multirun/s/0"
    assert "8 trials: 5 complete, 3 pruned" in lines
    assert re.search(r"^3 pruned trials saved about \d+ of 48 steps", done.stdout, re.MULTILINE)
    log = Path(shop.folder, "multirun", "s", "sweep.log").read_text()
    assert log.count(" starts: lr=") == 8
    assert "trial 7 PRUNED: by the tuner" in log


@pytest.mark.parametrize("launcher", ["explr_local", "basic"])
def test_a_sweep_outlives_what_reads_its_output(shop: Workshop, launcher: str) -> None:
    command = shop.explr(
        "train_model=trainings:plain", "tracking=off", "tuner=optuna", "tuner.n_trials=3",
        "tuner.study_name=s", f"hydra/launcher={launcher}", "-m", "lr=interval(0,1)",
    )  # fmt: skip
    done = shop.run(["bash", "-c", f"{shlex.join(command)} | head -n 1; exit ${{PIPESTATUS[0]}}"])
    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert len(shop.results("multirun/s")["trials"]) == 3


def test_a_dumb_terminal_gets_plain_lines(shop: Workshop, screen: Terminal) -> None:
    code, output = screen(
        [*shop.optuna("plain", "lr=interval(0,1)", "tuner.n_trials=1"), BASIC], TERM="dumb"
    )
    assert code == 0, output
    assert "\x1b" not in output
    assert "trial 0 starts: lr=" in output


def test_quiet_shows_the_result_and_failures_alone(shop: Workshop, screen: Terminal) -> None:
    command = shop.optuna("faulty", "lr=interval(0,1)", "tuner.n_trials=6", "tuner.retries=0", "-q")
    code, output = screen(command)
    assert code == 0, output
    lines = text_of(output)
    assert "trial 0 FAIL: killed by signal 9" in lines[0]
    assert not any("COMPLETE:" in line or "starts" in line for line in lines)
    assert "running" not in output
    assert any(re.match(r"6 trials: .*fail", line) for line in lines)
    assert (
        "trial 5 PRUNED: by the training itself: hopeless"
        in Path(shop.folder, "multirun/s/sweep.log").read_text()
    )


def test_verbose_shows_each_report(shop: Workshop) -> None:
    command = shop.optuna("heeds", "lr=interval(0,1)", "tuner.n_trials=1", BASIC, "--verbose")
    done = shop.run(command)
    assert done.returncode == 0, done.stderr
    assert [f"trial 0 step {step}: " in done.stdout for step in range(6)] == [True] * 6


def test_what_is_shown_of_a_resumed_sweep_can_be_chosen_anew(shop: Workshop) -> None:
    command = shop.optuna("plain", "lr=interval(0,1)", "tuner.n_trials=1", BASIC, "-q")
    assert "starts" not in shop.run(command).stdout
    assert shop.run(shop.explr("resume", "multirun/s", "-v")).returncode == 0
    resumed = shop.run(shop.explr("resume", "multirun/s"))
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "1 trials: 1 complete" in resumed.stdout


@pytest.mark.slow
def test_ctrl_c_leaves_the_terminal_clean(shop: Workshop, screen: Terminal) -> None:
    command = shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=3")
    code, output = screen(command, interrupt_at="1 running on 1 worker")
    assert code == 130, output
    left = text_of(output)
    assert not any("running" in line for line in left)
    assert any("to resume: explr resume multirun/s" in line for line in left)
    assert output.rindex("\x1b[?25l") < output.rindex("\x1b[?25h")

    (shop.folder / "go").touch()
    code, output = screen(shop.explr("resume", "multirun/s"))
    assert code == 0, output
    assert "3 trials: 3 complete" in text_of(output)


def test_somebodys_app_has_the_same_view(shop: Workshop, screen: Terminal) -> None:
    line = [
        "lr=interval(0,1)",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.pruner=null",
        "hold=true",
    ]
    seen = "1 running on 1 worker"
    code, output = screen(shop.app(*line), then={seen: (shop.folder / "go").touch})
    assert code == 0, output
    assert seen in plain(output)
    left = text_of(output)
    assert any(line.split() == ["trial", "objective", "duration", "folder", "lr"] for line in left)
    assert "3 trials: 3 complete" in left


def test_what_libraries_log_beside_a_sweep_is_in_its_file(tmp_path: Path) -> None:
    library = logging.getLogger("noisy.library")
    with steady_logging(tmp_path):
        library.warning("chatter")
        logging.getLogger("explr.sweep").warning("trial 3 FAIL: no luck")
    library.warning("not any more")
    lines = (tmp_path / LOG_FILE).read_text().splitlines()
    assert [line.partition("][")[2] for line in lines] == [
        "noisy.library][WARNING] - chatter",
        "explr.sweep][WARNING] - trial 3 FAIL: no luck",
    ]

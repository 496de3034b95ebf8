from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

import explr
from explr import TrainingContext
from explr.core.errors import ConfigError, MissingDependencyError, SweepError, UsageError
from explr.runner.cli.app import run_command_line
from explr.sweep.folder import SweepFolder, removed_if_refused
from explr.tuning.channel import CHANNEL_VARIABLE
from explr.tuning.storage.opening import read_study

PROCESSES = ["tracking=off", "tuner=optuna", "tuner/sampler=random", "lr=interval(1,2)"]
SEARCH = [*PROCESSES, "hydra/launcher=basic"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(ctx: TrainingContext) -> float:
    return float(ctx.hyperparameters["lr"])


@pytest.mark.slow
def test_a_sweep_with_a_function(tmp_path: Path) -> None:
    swept = explr.tune(PROCESSES, train, n_trials=3)
    assert [trial["number"] for trial in swept.trials] == [0, 1, 2]
    assert all(trial["state"] == "COMPLETE" for trial in swept.trials)
    assert swept.best is not None
    assert swept.best["value"] == min(trial["value"] for trial in swept.trials)
    assert 1 <= swept.best["params"]["lr"] <= 2
    assert swept.folder is not None
    assert swept.folder.parent.parent == tmp_path / "multirun"
    assert Path(swept.best["dir"]).parent == swept.folder
    assert (swept.folder / "optimization_results.yaml").is_file()


def test_ranges_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    def training(ctx: TrainingContext) -> float:
        return float(
            ctx.hyperparameters.lr * ctx.hyperparameters.opt.width + len(ctx.hyperparameters)
        )

    given = {"lr": explr.interval(0.5, 1.5), "opt": {"width": explr.choice(2, 4)}, "depth": 3}
    line = ["tracking=off", "hydra/launcher=basic", "tuner.study_name=s"]
    swept = explr.tune([*line, "lr=0.5"], training, n_trials=3, hyperparameters=given)
    assert {trial["params"]["opt.width"] for trial in swept.trials} <= {2, 4}
    assert {trial["value"] for trial in swept.trials} <= {4.0, 5.0}
    told = capsys.readouterr().out.partition("to train it again: ")[2].splitlines()[0]
    names = {"explr": explr, "train_model": training}
    assert swept.best is not None
    assert eval(told, names).primary_metric == swept.best["value"]
    cfg = explr.compose(["opt.width=4"], given)
    assert (cfg.lr, cfg.opt.width, cfg.depth, "epochs" in cfg) == (1.0, 4, 3, False)


@pytest.mark.slow
def test_what_a_trial_trains_by_itself_is_no_part_of_it() -> None:
    def inner(ctx: TrainingContext) -> float:
        ctx.report(0, val_loss=100.0)
        explr.report(1, val_loss=101.0)
        return 100.0

    def outer(ctx: TrainingContext) -> float:
        lr = float(ctx.hyperparameters["lr"])
        folder = HydraConfig.get().runtime.output_dir
        ctx.report(0, val_loss=lr)
        explr.run(explr.compose(["tracking=off"]), inner)
        explr.tune(SEARCH, inner, n_trials=1)
        assert HydraConfig.get().runtime.output_dir == folder
        explr.report(1, val_loss=lr)
        return lr

    swept = explr.tune(SEARCH, outer, n_trials=2)
    assert swept.folder is not None
    for trial, row in zip(read_study(swept.folder).trials, swept.trials, strict=True):
        assert row["state"] == "COMPLETE", row["reason"]
        assert trial.intermediate_values == dict.fromkeys((0, 1), row["params"]["lr"])


def test_a_command_that_a_trial_starts_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHANNEL_VARIABLE, "file:nowhere")
    monkeypatch.setattr(sys, "argv", ["explr"])
    reports = "def train(ctx):\n    ctx.report(0, val_loss=1.0)\n    return 1.0\n"
    Path("inner.py").write_text(reports)
    assert run_command_line(["train_model=inner.py:train", "tracking=off"]) == 0
    assert os.environ[CHANNEL_VARIABLE] == "file:nowhere"


@pytest.mark.slow
def test_twice_and_in_a_thread() -> None:
    found = [explr.tune(SEARCH, train, n_trials=1)]
    thread = threading.Thread(target=lambda: found.append(explr.tune(SEARCH, train, n_trials=1)))
    thread.start()
    thread.join()
    assert len({swept.folder for swept in found}) == 2
    assert [len(swept.trials) for swept in found] == [1, 1]


@pytest.mark.slow
def test_if_every_trial_fails_the_first_error_is_raised() -> None:
    def failing(ctx: TrainingContext) -> float:
        raise ZeroDivisionError(f"no luck in {ctx.trial_number}")

    with pytest.raises(SweepError, match="ZeroDivisionError: no luck in 0"):
        explr.tune(SEARCH, failing, n_trials=2)


@pytest.mark.slow
def test_ctrl_c_while_results_are_written_is_not_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SweepFolder.write_results

    def interrupted(folder: SweepFolder) -> dict[str, Any]:
        signal.raise_signal(signal.SIGINT)
        return write(folder)

    monkeypatch.setattr(SweepFolder, "write_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explr.tune([*SEARCH, "hydra.sweep.dir=out"], train, n_trials=1)
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_python_resumes_it(tmp_path: Path) -> None:
    def interrupted(ctx: TrainingContext) -> float:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        explr.tune([*SEARCH, "tuner.study_name=mine"], interrupted, n_trials=1)
    said = (tmp_path / "multirun" / "mine" / "sweep.log").read_text()
    assert "to resume: run the Python code again with tuner.study_name=mine\n" in said


@pytest.mark.slow
def test_faults_are_found_before_anything_is_launched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        explr.tune([*SEARCH, "lrr=1", "seed=-1"], train)
    assert [fault.split(":")[0] for fault in caught.value.faults][:1] == ["lrr=1"]
    assert len(caught.value.faults) == 2
    with pytest.raises(UsageError, match="tuner=optuna has nothing to search"):
        explr.tune(["tracking=off"], train)  # takes optuna by itself
    with pytest.raises(UsageError, match=r"callable as train_model\(ctx\)"):
        explr.tune(SEARCH, lambda: 1.0)  # type: ignore[misc,arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    for refused, said in {
        "tuner.storage=sqlite:///nowhere/study.db": "there is no folder .*/nowhere: create it",
        "tuner.enqueue=[{lr: 7}]": "lr=7 is not in",  # the study is there then
    }.items():
        with pytest.raises(UsageError, match=said):
            explr.tune([*SEARCH, refused], train)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [None, "sweep.lock", "study.journal"])
def test_only_a_new_sweep_is_removed_if_it_is_refused(tmp_path: Path, there: str | None) -> None:
    folder = tmp_path / "multirun" / "s"
    folder.mkdir(parents=True)
    if there is not None:
        (folder / there).touch()
    made = removed_if_refused(folder, [folder])
    made.__enter__()
    (folder / "study.journal").touch()
    error = UsageError()
    assert not made.__exit__(UsageError, error, None)
    assert folder.exists() == (there == "study.journal")
    assert folder.parent.exists()


def test_without_ray_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"^tuner=ray needs Ray Tune: pip install "):
        explr.tune(["tracking=off", "tuner=ray", "lr=interval(1,2)"], train)
    assert list(tmp_path.iterdir()) == []

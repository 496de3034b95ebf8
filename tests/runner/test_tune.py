from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import explr
from explr import TrainingContext, TrialPruned
from explr.core.errors import ConfigError, SweepError, UsageError
from explr.sweep.folder import SweepFolder

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


@pytest.mark.slow
def test_twice_and_in_a_thread() -> None:
    found = [explr.tune(SEARCH, train, n_trials=1)]
    thread = threading.Thread(target=lambda: found.append(explr.tune(SEARCH, train, n_trials=1)))
    thread.start()
    thread.join()
    assert len({swept.folder for swept in found}) == 2
    assert [len(swept.trials) for swept in found] == [1, 1]


def test_the_largest_is_best_where_the_objective_is_maximized() -> None:
    swept = explr.tune([*SEARCH, "objective.direction=maximize"], train, n_trials=3)
    assert swept.best is not None
    assert swept.best["value"] == max(trial["value"] for trial in swept.trials)


@pytest.mark.slow
def test_hydra_s_own_grid() -> None:
    swept = explr.tune(["tracking=off", "tuner=none", "lr=1,2", "width=3,4"], train)
    assert [(t["params"]["lr"], t["params"]["width"]) for t in swept.trials] == [
        (1, 3), (1, 4), (2, 3), (2, 4),
    ]  # fmt: skip


def test_failed_and_pruned_trials_do_not_end_the_sweep() -> None:
    def moody(ctx: TrainingContext) -> float:
        if ctx.trial_number == 0:
            raise TrialPruned("hopeless")
        if ctx.trial_number in (1, 2):
            raise ZeroDivisionError("no luck")
        return 1.0

    swept = explr.tune(SEARCH, moody, n_trials=4)
    assert [trial["state"] for trial in swept.trials] == ["PRUNED", "FAIL", "FAIL", "COMPLETE"]
    assert swept.trials[1]["reason"] == "ZeroDivisionError: no luck"
    assert swept.best is not None
    assert swept.best["number"] == 3
    assert "no luck" in Path(swept.trials[1]["dir"], "traceback.txt").read_text()


def test_if_every_trial_fails_the_first_error_is_raised() -> None:
    def failing(ctx: TrainingContext) -> float:
        raise ZeroDivisionError(f"no luck in {ctx.trial_number}")

    with pytest.raises(SweepError, match="ZeroDivisionError: no luck in 0"):
        explr.tune(SEARCH, failing, n_trials=2)


def test_if_every_trial_prunes_itself_there_is_no_best() -> None:
    def pruning(ctx: TrainingContext) -> float:
        raise TrialPruned

    swept = explr.tune(SEARCH, pruning, n_trials=2)
    assert [trial["state"] for trial in swept.trials] == ["PRUNED", "PRUNED"]
    assert swept.best is None


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

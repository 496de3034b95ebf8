import json
import re
import shlex
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TRAINING = """\
import explr


def train(ctx):
    lr = ctx.hyperparameters["lr"]
    model = ctx.output_dir / "model.bin"
    model.write_text(str(lr))
    return explr.TrainingResult(lr * lr, best_model_path=str(model))
"""


@pytest.fixture(autouse=True)
def _training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXPLR_AUTOSTART", "0")


def models(tmp_path: Path) -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of MLflow's own modules
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/home/mlflow.db")
        client.search_registered_models()
    found: dict[str, list[Any]] = {}
    for version in client.search_model_versions():
        found.setdefault(version.name, []).append(version)
    return found


def test_the_best_of_a_sweep(explr: Any, tmp_path: Path, template: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(template, tmp_path / "home" / "mlflow.db")
    wait = "tracking.drain_timeout_s=600"
    swept = explr(
        *("tuner=optuna", "-m", "lr=choice(0.5,0.25)", "train_model=job:train", wait),
        *("tuner/sampler=grid", "tuner.n_trials=2", "tuner.study_name=s", "tracking.register=mine"),
        timeout_s=700,
    )
    assert swept.returncode == 0, swept.stderr
    recipe = tmp_path / "conf" / "experiment" / "found.yaml"
    done = explr("best", "multirun/s", "--out", recipe, "--register", "other")
    assert done.returncode == 0, done.stderr
    number = json.loads((tmp_path / "multirun/s/results.json").read_text())["best"]["number"]
    model = tmp_path / "multirun" / "s" / str(number) / "model.bin"
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"trial {number} of 2: val_loss 0.0625", "  lr  0.25"]
    assert f"model: {model}" in lines
    assert any(line.startswith("to train it again: explr lr=0.25 ") for line in lines)
    assert lines[-1] == "registered: other version 1, alias best"

    again = explr("best", "multirun/s", "--register", "other")
    assert again.stdout.endswith("registered: other version 1, alias best\n")
    found = models(tmp_path)
    assert {name: len(versions) for name, versions in found.items()} == {"mine": 1, "other": 1}
    assert found["mine"][0].run_id == found["other"][0].run_id
    assert "val_loss 0.0625 with lr=0.25" in found["mine"][0].description

    retrained = explr("experiment=found", "tracking=off", "hydra.run.dir=again")
    assert retrained.returncode == 0, retrained.stderr
    assert json.loads((tmp_path / "again" / "result.json").read_text())["value"] == 0.0625


def test_the_best_of_a_grid(explr: Any, tmp_path: Path) -> None:
    line = ("-m", "lr=0.5,0.25", "train_model=job:train", "tracking=off", "hydra.sweep.dir=grid")
    assert explr(*line).returncode == 0
    done = explr("best", "grid")
    assert done.stdout.startswith("trial 1 of 2: val_loss 0.0625\n")
    refused = explr("best", "grid", "--register", "mine")
    assert (refused.returncode, refused.stderr) == (
        2,
        "trial 1 was not tracked, so there is no run to register its model from\n",
    )


def test_where_there_is_no_best(explr: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = explr("best", "empty")
    assert done.returncode == 2
    assert done.stderr.startswith("empty has no best trial: no trial is complete")
    assert explr("best", "nowhere").returncode == 2


def test_a_name_that_mlflow_refuses_is_refused_first(explr: Any) -> None:
    done = explr("train_model=job:train", "tracking.register=a/b")
    assert done.returncode == 2
    assert "tracking.register is the name of a model, without / and :, got 'a/b'" in done.stderr


@pytest.mark.parametrize("name", ["settings", "null"])
def test_with_another_folder_of_hydras_files(explr: Any, tmp_path: Path, name: str) -> None:
    swept = explr(
        *("tuner=optuna", "-m", "lr=choice(0.5,0.25)", "+depth=choice(3)", "train_model=job:train"),
        *("tuner/sampler=grid", "tuner.study_name=s", f"hydra.output_subdir={name}"),
        *("hydra/launcher=basic", "tracking=off"),
    )
    assert swept.returncode == 0, swept.stderr
    assert (tmp_path / "multirun/s/0" / name).is_dir() == (name != "null")
    assert not (tmp_path / "multirun/s/0/.hydra").exists()
    done = explr("best", "multirun/s")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = re.findall("^to train it again: explr (.*)$", done.stdout, re.MULTILINE)
    again = ["lr=0.25", "+depth=3", "train_model=job:train", f"hydra.output_subdir={name}"]
    assert shlex.split(line) == [*again, "tracking=off"]
    assert f"to train it again: explr {line}\n" in swept.stdout
    for command in (("report", "multirun/s"), ("compare", "best:multirun/s"), ("resume", "--last")):
        done = explr(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert "val_loss" in (tmp_path / "multirun/s/report.html").read_text()
    copied = explr("best", "multirun/s", "--out", "found.yaml")
    assert copied.returncode == (2 if name == "null" else 0)

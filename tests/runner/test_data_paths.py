"""`data.paths`: what a run, a sweep and a foreign app record of their data."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import spelled

from explr.core.errors import ConfigError
from explr.core.folders import DATA
from explr.core.validation import paths_faults
from explr.results.run import RunView, differing_data, read_run
from explr.tracking.data import hashes
from explr.tracking.data.hashes import DataHash

TRAINING = """
def train(ctx):
    return ctx.hyperparameters["lr"]
"""
OWN = ("train_model=fit:train", "framework=none", "gpu=cpu")
INPUTS = """
SELECT runs.name, datasets.name, digest, dataset_source FROM runs
JOIN inputs ON destination_id = run_uuid JOIN datasets ON dataset_uuid = source_id
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "fit.py").write_text(TRAINING)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("1")
    return tmp_path


def recorded(folder: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / DATA).read_text())["data"]
    return content


@pytest.mark.slow
def test_a_sweep_that_goes_on_with_other_data(explr: Any, project: Path, template: Path) -> None:
    home = project / "home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(template.read_bytes())
    place = {"EXPLR_HOME": str(home), "EXPLR_AUTOSTART": "0"}
    line = (*OWN, "tuner=optuna", "tuner.study_name=s", "data.paths=data", "-m", "lr=interval(0,1)")
    drained = "tracking.drain_timeout_s=200"
    done = explr(*line, drained, "tuner.n_trials=1", **place)
    assert done.returncode == 0, done.stderr
    sweep = project / "multirun" / "s"
    before = hashes.hash_paths(["data"], project)
    assert [DataHash(**each) for each in recorded(sweep)] == before
    assert recorded(sweep / "0") == recorded(sweep)
    result = json.loads((sweep / "0" / "result.json").read_text())
    assert result["data"] == [{"path": "data", "hash": before[0].hash}]
    (project / "data" / "a").write_text("2")
    again = explr(*line, drained, "tuner.n_trials=2", **place)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("this sweep began with other data: changed since: data") == 1
    assert "other data" not in done.stdout
    (after,) = hashes.hash_paths(["data"], project)
    with sqlite3.connect(home / "mlflow.db") as store:
        rows = {(name.split()[0], *rest) for name, *rest in store.execute(INPUTS)}
    source = json.dumps({"uri": str(project / "data")})
    assert rows == {
        (run, "data", each.hash, source)
        for run, each in (("s", before[0]), ("s", after), ("0", before[0]), ("1", after))
    }
    trials = [str(sweep / "0"), str(sweep / "1")]
    compared = explr("compare", *trials, **place)
    assert "data data" in compared.stdout
    assert before[0].hash[:12] in compared.stdout
    assert after.hash[:12] in compared.stdout
    ids = [next((sweep / n).glob("*.position")) for n in "01"]
    of_mlflow = [json.loads(each.read_text())["run_id"] for each in ids]
    told = explr("compare", *trials, *of_mlflow, "--json", **place)
    content = json.loads(told.stdout)
    assert content["differing_data"] == ["data"]
    assert content["differing"] == ["lr"]
    assert [run["data"]["data"] for run in content["runs"]] == [before[0].hash, after.hash] * 2


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["none", "optuna"])
def test_an_untracked_sweep(explr: Any, project: Path, tuner: str) -> None:
    values = "lr=1,2" if tuner == "none" else "lr=choice(1,2)"
    line = (*OWN, f"tuner={tuner}", "data.paths=[data]", "tracking=off", "-m", values)
    done = explr(*line, "hydra.sweep.dir=sweep", "hydra/launcher=explr_local")
    assert done.returncode == 0, done.stderr
    found = [DataHash(**each) for n in "01" for each in recorded(project / "sweep" / n)]
    assert found == hashes.hash_paths(["data"], project) * 2


@pytest.mark.parametrize("more", [[], ["tuner=optuna", "-m", "lr=interval(0,1)"], ["-m", "lr=1,2"]])
def test_missing_data_ends_a_command_before_it_starts(
    explr: Any, project: Path, more: list[str]
) -> None:
    done = explr(*OWN, "data.paths=[data,nope]", *more)
    said = f"data.paths names nope, and there is no such file or folder in {project}\n"
    assert (done.returncode, done.stderr) == (2, said)
    assert not {"outputs", "multirun"} & {path.name for path in project.iterdir()}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "a path or a list of paths, got 3"),
        (["a", None], "a path or a list of paths, got None"),
        ([" "], "a path or a list of paths, got ' '"),
        ("s3://me:secret1@bucket/a", r"names s3://\*\*\*@bucket/a: only files and folders"),
        (["a", "b", "a"], "names a 2 times"),
    ],
)
def test_what_is_no_path(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        raise ConfigError(paths_faults(given))
    assert paths_faults(None) == paths_faults("a") == paths_faults(["a", "b"]) == []


def test_data_that_only_some_runs_have(tmp_path: Path) -> None:
    runs = [RunView("a", data={"x": "1", "y": "2"}), RunView("b", data={"x": "1", "z": "3"})]
    assert differing_data(runs) == ["y", "z"]
    assert differing_data(runs[:1]) == []


APP = spelled("""
import hydra

@hydra.main(config_path=None)
def app(cfg):
    return 1.0

app()
""")


@pytest.mark.slow
def test_a_foreign_app(explr: Any, project: Path) -> None:
    (project / "app.py").write_text(APP)
    name = "hydra.callbacks.explr_mlflow.data"
    line = (
        "app.py",
        "hydra/callbacks=explr_mlflow",
        "hydra.callbacks.explr_mlflow.autostart=false",
    )
    place = {"EXPLR_HOME": str(project / "home")}
    done = explr.script(*line, f"{name}=data/a", "hydra.run.dir=run", **place)
    assert done.returncode == 0, done.stderr
    (found,) = hashes.hash_paths(["data/a"], project)
    assert read_run(str(project / "run"), with_curves=False).data == {"data/a": found.hash}
    failed = explr.script(*line, f"{name}=nope", **place)
    assert failed.returncode != 0
    assert "data.paths names nope, and there is no such file or folder" in failed.stderr

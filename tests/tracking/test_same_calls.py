"""`ctx.tracker` takes what MLflow's users type, and the same arrives."""

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import yaml
from PIL import Image

from explr.core.tracker import Tracker
from explr.tracking.null import NullTracker

pytestmark = pytest.mark.mlflow_versions

CALLS = """
    log_metric log_metrics log_param log_params set_tag set_tags log_artifact log_artifacts log_text
    log_dict log_figure log_table log_image log_input
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def mlflow() -> Any:
    return pytest.importorskip("mlflow")


@pytest.mark.parametrize("call", CALLS)
def test_arguments_are_named_as_those_of_mlflow(call: str, mlflow: Any) -> None:
    ours = [name for name in inspect.signature(getattr(Tracker, call)).parameters if name != "self"]
    theirs = list(inspect.signature(getattr(mlflow, call)).parameters)
    if call == "log_table":  # MLflow's takes a run too
        theirs = theirs[: len(ours)]
    positions = [theirs.index(name) for name in ours]
    assert positions == sorted(positions)
    needed = inspect.signature(getattr(mlflow, call)).parameters.values()
    assert {each.name for each in needed if each.default is inspect.Parameter.empty} <= set(ours)


@pytest.mark.parametrize("call", CALLS)
def test_a_run_that_is_not_tracked_takes_them_too(call: str) -> None:
    assert callable(getattr(NullTracker(), call))


def write(folder: Path) -> Path:
    (folder / "data" / "inner").mkdir(parents=True)
    (folder / "data" / "a.txt").write_text("a")
    (folder / "data" / "inner" / "b.txt").write_text("b")
    return folder / "data"


def log_all(to: Any, data: Path) -> None:
    to.log_param(key="lr", value=0.1)
    to.log_params(params={"width": 16, "name": "net", "none": None, "on": True, "a/b": [1, 2]})
    to.log_params({"name": "net"})  # once more with the same value
    to.log_params({f"many {i}": i for i in range(150)})
    to.set_tag(key="kind", value="trial")
    to.set_tags(tags={"a": 1, "b": "two", "a/b": None, "none": ""})
    to.set_tags({"b": "three"})
    to.log_metric(key="loss", value=0.5, step=3)
    to.log_metrics(metrics={"loss": 0.25, "accuracy": 1, "a/b": 2}, step=4)
    to.log_metric("loss", 7, -2)
    to.log_metric("none", 1.5)
    to.log_metric("none", 2.5)
    to.log_metrics({"infinite": math.inf, "below": -math.inf})
    to.log_metrics({f"many {i}": i for i in range(1200)}, step=1)
    to.log_artifact(local_path=str(data / "a.txt"), artifact_path="single")
    to.log_artifacts(local_dir=str(data))
    to.log_artifacts(local_dir=str(data), artifact_path="below")
    to.log_text(text="x", artifact_file="text.txt")
    to.log_dict(dictionary={"k": [1]}, artifact_file="dict.json")
    to.log_text("<b>é</b>", "deep/er/page.html")
    to.log_dict({"é": {"k": [1, None, True]}, "n": 0.5}, "deep/dict.yml")
    to.log_dict({"k": 1}, "dict")
    to.log_table(data={"c": [1, 2]}, artifact_file="table.json")
    to.log_table({"c": [3], "d": ["x"]}, "table.json")
    to.log_table(pandas.DataFrame({"e": [0.5], "f": [None]}), "deep/frame.json")
    to.log_image(numpy.arange(48, dtype=numpy.uint8).reshape(4, 4, 3), "image.png")
    to.log_image(numpy.eye(4), artifact_file="deep/grey.png")
    to.log_image(numpy.eye(4, dtype=numpy.uint8), key="eye", step=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # MLflow's own
def test_the_same_arrives(
    mlflow: Any, store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path)
    run = kit.begin(tmp_path / "run", name="ours")
    log_all(run.tracker, data)
    run.close("FINISHED")
    kit.ship()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    with mlflow.start_run(run_name="theirs"):
        log_all(mlflow, data)
    ours, theirs = store.run("ours"), store.run("theirs")
    params = {key: ours.data.params[key] for key in theirs.data.params}
    assert params == theirs.data.params
    assert ours.data.metrics.items() >= theirs.data.metrics.items()
    for metric in (name for name in theirs.data.metrics if not name.startswith("many")):
        assert store.rows(ours, metric) == store.rows(theirs, metric)
    tags = {k: v for k, v in theirs.data.tags.items() if not k.startswith("mlflow.")}
    assert ours.data.tags.items() >= tags.items()
    files, wanted = (contents(store, run) for run in (ours, theirs))
    assert {name: files.get(name) for name in wanted} == wanted
    assert ours.data.tags["mlflow.loggedImages"] == theirs.data.tags["mlflow.loggedImages"]
    tables = [json.loads(run.data.tags["mlflow.loggedArtifacts"]) for run in (ours, theirs)]
    assert tables[0] == tables[1]


def contents(store: Any, run: Any) -> dict[str, Any]:
    """What the artifacts of a run say, by name; the numbers in names of images are left out."""
    root = Path(store.client.download_artifacts(run.info.run_id, ""))
    found = {}
    for path in (path for path in root.rglob("*") if path.is_file()):
        name = re.sub(r"\+timestamp\+.*?(?=\+compressed|\.\w+$)", "", str(path.relative_to(root)))
        # MLflow separates the parts of such a name by another sign where the store takes it
        name = name.replace("%", "+") if name.startswith("images") else name
        if path.suffix in (".json", ".yml"):
            found[name] = yaml.safe_load(path.read_text())
        elif path.suffix in (".png", ".webp"):
            picture = Image.open(path)
            found[name] = (picture.size, list(picture.getdata()))
        else:
            found[name] = path.read_bytes()
    return found


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(NotADirectoryError, match=r"a\.txt is no folder; log_artifact takes a file"):
        NullTracker().log_artifacts(tmp_path / "a.txt")

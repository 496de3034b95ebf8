"""One word of a command line is another: `tuner=ray` leaves behind what `tuner=optuna` does."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from sweeping import Workshop

pytestmark = pytest.mark.slow

TUNERS = ["optuna", "ray"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Workshop:
    """Where the same command was run twice, but for the tuner's name."""
    folder = tmp_path_factory.mktemp("swap")
    shop = Workshop(folder, folder / "home", template)
    for tuner in TUNERS:
        done = shop.run(
            shop.explr(
                "train_model=trainings:epochs", f"tuner={tuner}", "tuner/sampler=random",
                f"tuner.study_name={tuner}", "-m", "lr=interval(0,1)", "width=int(interval(1,64))",
                "+word=null,'a b',[1]", "tuner.n_trials=3", "tracking.drain_timeout_s=150",
                "seed=5",
            )
        )  # fmt: skip
        assert done.returncode == 0, done
        (folder / f"{tuner}.out").write_text(done.stdout)
    return shop


def both(shop: Workshop) -> list[dict[str, Any]]:
    return [shop.results(f"multirun/{tuner}") for tuner in TUNERS]


def test_equal_parameters_have_equal_results(shop: Workshop) -> None:
    one, two = both(shop)
    assert [t["params"] for t in one["trials"]] == [t["params"] for t in two["trials"]]
    assert [t["value"] for t in one["trials"]] == [t["value"] for t in two["trials"]]
    assert one["best"]["number"] == two["best"]["number"]


def test_the_results_have_the_same_shape(shop: Workshop) -> None:
    one, two = [shape(results) for results in both(shop)]
    assert one == two
    saved = [
        OmegaConf.to_container(
            OmegaConf.load(shop.folder / "multirun" / tuner / "optimization_results.yaml")
        )
        for tuner in TUNERS
    ]
    assert saved[0] == saved[1]


def shape(value: Any) -> Any:
    """Names and types of a JSON document."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def test_the_folders_hold_the_same_files(shop: Workshop) -> None:
    one, two = [files(shop.folder / "multirun" / tuner) for tuner in TUNERS]
    assert one == two
    configs = [
        (shop.folder / "multirun" / tuner / "1" / ".hydra" / "overrides.yaml").read_text()
        for tuner in TUNERS
    ]
    assert configs[0].replace("optuna", "ray") == configs[1]


def files(folder: Path) -> list[str]:
    """The files of a sweep, without the random part of their names, and without Ray's own."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    own = [path for path in paths if path.parts[0] != "ray"]
    return sorted(re.sub(r"[0-9a-f]{32}", "UID", str(path)) for path in own)


def test_the_runs_in_mlflow_are_alike(shop: Workshop) -> None:
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        trees = [tree(store, shop.results(f"multirun/{tuner}"), tuner) for tuner in TUNERS]
    store.close()
    assert trees[0] == trees[1]
    assert len(trees[0]) == 4  # the sweep and its trials


def tree(store: sqlite3.Connection, results: dict[str, Any], tuner: str) -> dict[str, Any]:
    """What MLflow has of a sweep: by run its status, and the names of all that is in it."""
    (parent,) = store.execute(
        "select run_uuid from runs where name = ? and run_uuid in "
        "(select run_uuid from tags where key = 'explr.kind' and value = 'sweep')", (tuner,),
    ).fetchone()  # fmt: skip
    found = {}
    for run in (parent, *(trial["run_id"] for trial in results["trials"])):
        name, status = store.execute(
            "select name, status from runs where run_uuid = ?", (run,)
        ).fetchone()
        rows = store.execute(
            "select key, value, step from metrics where run_uuid = ? and key = 'val_loss' "
            "order by step", (run,),
        ).fetchall()  # fmt: skip
        keys = {
            table: {
                key
                for (key,) in store.execute(f"select key from {table} where run_uuid = ?", (run,))
                if not key.startswith(("system/", "tuner.ray", "hydra"))
            }
            for table in ("params", "metrics", "tags")
        }
        found["sweep" if run == parent else name] = (status, rows, keys)
    return found


def test_the_screen_shows_the_same_lines(shop: Workshop) -> None:
    texts = [(shop.folder / f"{tuner}.out").read_text() for tuner in TUNERS]
    lines = [
        [
            (line.partition("] ")[2] or line).replace("optuna", "ray")
            for line in re.sub(r"[0-9a-f]{32}| *[\d.]+ s  |(?<=folder) +", "…", text).splitlines()
            if "Ray: started on this machine" not in line
        ]
        for text in texts
    ]
    assert lines[0] == lines[1]
    assert json.dumps(lines).count("starts") == 6

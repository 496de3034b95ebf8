import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from explr.tracking.media import image_of, table_text
from explr.tracking.null import NullTracker

Image = pytest.importorskip("PIL.Image")


def test_dictionaries_tables_and_images_arrive(store: Any, kit: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run = kit.begin(tmp_path / "run")
    given = {"lr": 0.1, "path": Path("x"), "more": {"ü": [1, None]}}
    written = {"lr": 0.1, "path": "x", "more": {"ü": [1, None]}}
    tracker = run.tracker
    tracker.log_dict(given, "settings.json")
    tracker.log_dict(given, "deep/settings.yaml")
    tracker.log_table({"name": ["a", "b"], "loss": np.array([0.5, math.nan])}, "table.json")
    tracker.log_table({"name": "c", "note": "later"}, "table.json")
    tracker.log_image(np.zeros((4, 6), dtype=np.uint8), "black.png")
    for step in (1, 2):
        tracker.log_image(np.full((300, 600, 3), 0.5), key="samples/first", step=step)
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    sizes = store.artifacts(found)

    def content(name: str) -> bytes:
        local = store.client.download_artifacts(found.info.run_id, name)
        return bytes(Path(local).read_bytes())

    assert json.loads(content("settings.json")) == written
    assert yaml.safe_load(content("deep/settings.yaml")) == written
    assert Image.open(io.BytesIO(content("black.png"))).size == (6, 4)
    (tables,) = json.loads(found.data.tags["mlflow.loggedArtifacts"])
    assert tables == {"path": "table.json", "type": "table"}
    assert found.data.tags["mlflow.loggedImages"] == "True"
    table = pandas.read_json(io.BytesIO(content("table.json")), orient="split")
    assert table.to_dict("list")["name"] == ["a", "b", "c"]
    assert table["note"].tolist()[-1] == "later"
    assert table["loss"].tolist()[0] == 0.5
    images = sorted(name for name in sizes if name.startswith("images/"))
    assert len(images) == 4
    for step in (1, 2):
        (small, whole) = [n for n in images if n.startswith(f"images/samples~first+step+{step}+")]
        assert Image.open(io.BytesIO(content(small))).size == (256, 128)
        assert Image.open(io.BytesIO(content(whole))).size == (600, 300)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.array([[0, 255]], dtype=np.int64), [0, 255]),
        (np.array([[0.0, 1.0]]), [0, 255]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[[7], [8]]], dtype=np.uint8), [7, 8]),
    ],
)
def test_arrays_become_images(array: Any, shown: list[int]) -> None:
    assert np.asarray(image_of(array)).ravel().tolist() == shown


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((2, 2, 2)), ValueError),
        (np.zeros(4), ValueError),
        (np.array([[256]]), ValueError),
        (np.array([[1.5]]), ValueError),
        (np.array([["x"]]), TypeError),
    ],
)
def test_what_is_no_image_is_refused(image: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="log_image"):
        NullTracker().log_image(image, "x.png")


def test_an_image_has_one_place(kit: Any, store: Any, tmp_path: Path) -> None:
    tracker = kit.begin(tmp_path / "run").tracker
    for place in ({}, {"artifact_file": "x.png", "key": "x"}):
        with pytest.raises(TypeError, match="one of artifact_file"):
            tracker.log_image(np.zeros((2, 2)), **place)
    with pytest.raises(ValueError, match="a key has letters"):
        tracker.log_image(np.zeros((2, 2)), key="a?b")


def test_what_is_no_table_is_refused(kit: Any, store: Any, tmp_path: Path) -> None:
    tracker = kit.begin(tmp_path / "run").tracker
    with pytest.raises(ValueError, match="a: 1, b: 2"):
        tracker.log_table({"a": [1], "b": [1, 2]}, "t.json")
    with pytest.raises(ValueError, match=r"ends in \.json"):
        tracker.log_table({"a": [1]}, "t.csv")
    with pytest.raises(TypeError, match="got int"):
        tracker.log_table(3, "t.json")


def test_a_data_frame_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    text = table_text(pandas.DataFrame({"a": [1, 2], "b": ["x", None]}), None)
    assert json.loads(text) == {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}

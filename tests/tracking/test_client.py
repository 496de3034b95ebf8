import argparse
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from omegaconf import OmegaConf

from explr.core.errors import TrackingError
from explr.tracking.client import ExplrTracker
from explr.tracking.journal.journal import Journal
from explr.tracking.journal.lines import read_events
from explr.tracking.null import NullTracker

Events = Callable[[str], list[dict[str, Any]]]


class Figure:
    def savefig(self, path: Path) -> None:
        path.write_bytes(b"picture")


def _no_mlflow() -> AbstractContextManager[Any]:
    return nullcontext()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    folder = tmp_path / "run"
    folder.mkdir()
    journal = Journal.create(folder)
    yield journal
    journal.close()


@pytest.fixture
def tracker(journal: Journal) -> ExplrTracker:
    return ExplrTracker(journal, journal.path.parent, _no_mlflow)


@pytest.fixture
def events(journal: Journal) -> Events:
    return lambda kind: [r.event for r in read_events(journal.path) if r.event["k"] == kind]


@pytest.fixture(params=["journal", "nothing"])
def any_tracker(request: pytest.FixtureRequest, tracker: ExplrTracker) -> Any:
    return tracker if request.param == "journal" else NullTracker()


def test_a_name_that_the_locale_cannot_write_is_one_sentence(
    tracker: ExplrTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(path: Path) -> Path:
        str(path).encode("ascii")
        return path

    monkeypatch.setattr(Path, "resolve", resolve)  # as in C code of Python with LC_ALL=C
    with pytest.raises(TrackingError, match=r"xfc\.txt' cannot be written") as caught:
        tracker.log_text("x", "\xfc.txt")
    assert "\n" not in str(caught.value)


def test_metrics_keep_value_step_and_time(tracker: ExplrTracker, events: Events) -> None:
    tracker.log_metric("loss", 0.5, step=3)
    tracker.log_metrics({"a": 1, "b": 2.5})
    first, second = events("metrics")
    assert (first["m"], first["s"]) == ({"loss": 0.5}, 3)
    assert (second["m"], second["s"]) == ({"a": 1.0, "b": 2.5}, None)
    assert 0 <= second["t"] - first["t"] < 3_600_000


@pytest.mark.parametrize(
    "value", [2, True, np.float32(0.5), np.float64(0.5), np.int64(3), np.array(2.5)]
)
def test_numbers_of_any_library_are_taken(
    tracker: ExplrTracker, events: Events, value: Any
) -> None:
    tracker.log_metric("x", value, step=np.int64(7))  # type: ignore[arg-type]
    (event,) = events("metrics")
    assert (event["m"], event["s"]) == ({"x": float(value)}, 7)


@pytest.mark.slow
def test_tensors_are_taken_with_or_without_their_graph(
    tracker: ExplrTracker, events: Events
) -> None:
    torch = pytest.importorskip("torch")
    tracker.log_metric("x", torch.tensor(0.5, requires_grad=True) * 2, step=torch.tensor(4))
    (event,) = events("metrics")
    assert (event["m"], event["s"]) == ({"x": 1.0}, 4)


def test_what_is_no_number_is_left_out_and_told_once(
    any_tracker: Any, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(2):
        any_tracker.log_metrics({"a": 1.0, "b": None, "f1": np.array([0.5, 1.0])}, step)
        any_tracker.log_metric("c", "high", step)
    assert caplog.messages == [
        "metric b is left out: NoneType None is not a number. This warning is shown once",
        "metric c is left out: str 'high' is not a number. This warning is shown once",
    ]
    if isinstance(any_tracker, ExplrTracker):
        rows = {"a": 1.0, "f1/0": 0.5, "f1/1": 1.0}
        assert [(event["s"], event["m"]) for event in events("metrics")] == [(0, rows), (1, rows)]
        assert any_tracker.metric_names == set(rows)


@pytest.mark.parametrize("step", [1.5, "3", np.float64(2.5), 2**63])
def test_a_row_without_a_proper_step_is_left_out(
    any_tracker: Any, events: Events, caplog: pytest.LogCaptureFixture, step: Any
) -> None:
    for _ in range(2):
        any_tracker.log_metric("x", 1.0, step=step)
    (message,) = caplog.messages
    assert message.startswith("metric x is left out: step must ")
    assert events("metrics") == []


def test_odd_names_and_values_are_told_once(
    tracker: ExplrTracker, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            tracker.log_metric("acc@5", 0.5, step)
            tracker.log_metric("loss", math.inf, step)
        tracker.log_metrics({f"acc@{i}": 0.5 for i in range(300)})
    assert [r.getMessage() for r in caplog.records] == [
        "MLflow has no metric named 'acc@5': there it is called acc_5-a7b80f52, and other names "
        "that MLflow does not accept are changed in the same way. This warning is shown once",
        "metric loss is inf. This warning is shown once",
    ]
    assert [list(e["m"]) for e in events("metrics")][:6] == [["acc@5"], ["loss"]] * 3


@dataclass
class Optimizer:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    api_key: str = "hunter2"


class Size(NamedTuple):
    width: int
    height: int


class Colour(Enum):
    RED = 1


def test_parameters_are_flat_texts(tracker: ExplrTracker, events: Events) -> None:
    config = OmegaConf.create({"a": 1, "b": "${a}", "c": "${nowhere}", "d": [{"e": 2}]})
    for params in (
        {"lr": np.float64(1e-3), "model": {"layers": [np.int64(1), 2], "bias": None}, 3: Path("x")},
        argparse.Namespace(optimizer=Optimizer(), size=Size(2, 3), colour=Colour.RED),
        SimpleNamespace(stages=[{"depth": 1}, {"depth": 2, "token": "hunter2"}], tags={"b", "a"}),
        config,
        Optimizer(lr=10**5000),  # type: ignore[arg-type]
        {"array": np.arange(3), "table": np.zeros((2, 2)), "scalar": np.array(2.5)},
    ):
        tracker.log_params(params)
    found = [event["p"] for event in events("params")]
    assert found == [
        {"lr": "0.001", "model.layers": "[1, 2]", "model.bias": "None", "3": "x"},
        {
            "optimizer.lr": "0.001", "optimizer.betas": "[0.9, 0.99]", "optimizer.api_key": "***",
            "size.width": "2", "size.height": "3", "colour": "Colour.RED",
        },
        {"stages.0.depth": "1", "stages.1.depth": "2", "stages.1.token": "***",
         "tags": "['a', 'b']"},
        {"a": "1", "b": "${a}", "c": "${nowhere}", "d.0.e": "2"},
        {"lr": "int", "betas": "[0.9, 0.99]", "api_key": "***"},
        {"array": "[0 1 2]", "table": "[[0. 0.]\n [0. 0.]]", "scalar": "2.5"},
    ]  # fmt: skip


def test_what_holds_no_parameters_is_refused(any_tracker: Any) -> None:
    with pytest.raises(TypeError, match=r"log_params takes a mapping.*, got list \[1\]"):
        any_tracker.log_params([1])


def test_tags_and_names_may_be_of_any_type(tracker: ExplrTracker, events: Events) -> None:
    for value in (Path("a/b"), Colour.RED, np.ones(2), [np.float32(0.5)], None, {"token": "x" * 9}):
        tracker.set_tag("t", value)
    assert [event["g"]["t"] for event in events("tags")] == [
        "a/b", "Colour.RED", "[1. 1.]", "[0.5]", "None", "{'token': '***'}",
    ]  # fmt: skip
    tracker.log_text("x", Path("a/b.txt"))
    tracker.log_figure(Figure(), Path("a/b.png"))
    tracker.log_dict({}, Path("a/b.json"))
    tracker.log_table({}, Path("a/t.json"))
    kept = [event["f"] for event in events("artifact")]
    assert kept == [f"artifacts/a/{name}" for name in ("b.txt", "b.png", "b.json", "t.json")]


class Page:
    """A figure as Plotly has one."""

    def write_html(self, path: Path, **_: Any) -> None:
        path.write_text("<html>")


def test_a_figure_may_be_a_page(tracker: ExplrTracker, journal: Journal) -> None:
    tracker.log_figure(Page(), "curve.html")
    assert (journal.path.parent / "artifacts/curve.html").read_text() == "<html>"
    with pytest.raises(TypeError, match="log_figure: a figure is one of Matplotlib or Plotly"):
        tracker.log_figure(3, "x.png")


def test_long_values_are_kept_whole_as_files(
    tracker: ExplrTracker, events: Events, journal: Journal
) -> None:
    tracker.log_params({"prompt": "x" * 7000, "short": "y"})
    tracker.set_tag("note", "z" * 9000)
    files = [journal.path.parent / event["f"] for event in events("artifact")]
    assert [(f.name, len(f.read_text())) for f in files] == [
        ("prompt.txt", 7000),
        ("note.txt", 9000),
    ]


def test_artifacts_are_copies(
    tracker: ExplrTracker, events: Events, journal: Journal, tmp_path: Path
) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(b"123")
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("a")
    (folder / "gone").symlink_to("nowhere")
    tracker.log_artifact(source)
    tracker.log_artifact(str(source), "models/best")
    tracker.log_artifact(folder, "out")
    tracker.log_figure(Figure(), "curves/loss.png")
    tracker.log_text("héllo", "notes.txt")
    source.unlink()
    shutil.rmtree(folder)
    kept = [(e["f"], e["d"]) for e in events("artifact")]
    assert kept == [
        ("artifacts/weights.bin", ""),
        ("artifacts/models/best/weights.bin", "models/best"),
        ("artifacts/out/plots", "out"),
        ("artifacts/curves/loss.png", "curves"),
        ("artifacts/notes.txt", ""),
    ]
    run = journal.path.parent
    assert (run / "artifacts/weights.bin").read_bytes() == b"123"
    assert (run / "artifacts/out/plots/deep/a.txt").read_text() == "a"
    assert (run / "artifacts/notes.txt").read_text() == "héllo"


def test_a_link_keeps_its_own_name(tracker: ExplrTracker, events: Events, tmp_path: Path) -> None:
    (tmp_path / "step-9.pt").write_text("9")
    (tmp_path / "best.pt").symlink_to(tmp_path / "step-9.pt")
    tracker.log_artifact(tmp_path / "best.pt")
    assert events("artifact")[0]["f"] == "artifacts/best.pt"


def test_the_runs_own_folder_can_be_kept(tracker: ExplrTracker, journal: Journal) -> None:
    run = journal.path.parent
    (run / "notes.md").write_text("hello")
    tracker.log_text("x", "x.txt")
    tracker.log_artifact(run)
    assert (run / "artifacts/run/notes.md").read_text() == "hello"
    assert not (run / "artifacts/run/artifacts").exists()


def test_a_file_that_is_a_copy_already_is_not_copied(
    tracker: ExplrTracker, journal: Journal
) -> None:
    tracker.log_text("x", "deep/x.txt")
    tracker.log_artifact(journal.path.parent / "artifacts/deep/x.txt", "deep")


def test_nothing_there_nothing_kept(any_tracker: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is nothing at .*missing"):
        any_tracker.log_artifact(tmp_path / "missing")


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/x", "", "."])
def test_names_outside_the_run_are_refused(
    tracker: ExplrTracker, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="below the run's own folder"):
        tracker.log_text("x", name)
    if name not in ("", "."):
        (tmp_path / "f").write_text("f")
        with pytest.raises(ValueError, match="below the run's own folder"):
            tracker.log_artifact(tmp_path / "f", f"{name}/..")


def test_a_vanished_folder_is_told(tracker: ExplrTracker, journal: Journal) -> None:
    shutil.rmtree(journal.path.parent)
    with pytest.raises(TrackingError, match="deleted while the run went on"):
        tracker.log_metric("loss", 1.0)


def test_what_cannot_be_copied_is_told(tracker: ExplrTracker, journal: Journal) -> None:
    (journal.path.parent / "artifacts").write_text("in the way")
    with pytest.raises(TrackingError, match="artifacts"):
        tracker.log_text("x", "a/x.txt")


def test_without_tracking_there_is_no_mlflow_run() -> None:
    with (
        pytest.raises(TrackingError, match="set tracking=mlflow"),
        NullTracker().mlflow_run(),
    ):
        pass

"""What every sink promises: MLflow, here with an SQLite store, and the tests' sink in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse
from urllib.request import url2pathname

import pytest
from kills import Killed, KilledAfter
from memory_sink import Memory, MemorySink

from explr.core.errors import TrackingError
from explr.tracking.journal.journal import now_ms
from explr.tracking.journal.position import read_position
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.shipping import sink as sink_module
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.sink import (
    Contents,
    LoggedModel,
    Refused,
    RunStart,
    Sink,
    SinkUnavailable,
    dataset_name,
)

OWN_TAGS = ("mlflow.", "explr.run")
"""How tags begin that MLflow, or its sink, adds by itself."""


class InMemory:
    """The sink in memory, and a look at what it holds."""

    def __init__(self) -> None:
        self.memory = Memory()

    def sink(self) -> Sink:
        """A sink as a new process opens it."""
        sink = MemorySink(self.memory)
        sink.connect()
        return sink

    def refuse_experiment(self, name: str) -> str:
        """Have runs of an experiment refused for good; the reason."""
        self.memory.refuse("open_run", "no")
        return "no"

    def refuse_file(self, run_id: str, name: str) -> None:
        """Have a file of this name refused for good."""
        self.memory.failing[f"upload {name}"] = Refused("no")

    def unreachable(self) -> Sink:
        """A sink that nobody answers for."""
        self.memory.failing["connect"] = SinkUnavailable("nobody is there")
        return MemorySink(self.memory)

    def picture(self) -> Any:
        """All that is in it."""
        runs = {
            run.start.name: {
                "experiment": run.start.experiment,
                "start": run.start.started_ms,
                "status": run.status,
                "end": run.end_ms,
                "parent": run.parent_id,
                "rows": sorted(run.rows),
                "params": run.params,
                "tags": run.tags,
                "files": {name: len(content) for name, content in run.files.items()},
                "inputs": run.inputs,
                "models": sorted((model.name, model.step) for model in run.models.values()),
            }
            for run in self.memory.runs.values()
        }
        return runs, sorted((*key, about) for key, about in self.memory.models.items())


class InMLflow:
    """MLflow's sink, and a look at what its store holds."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def sink(self) -> Sink:
        """A sink as a new process opens it."""
        sink = MLflowSink(self._store.uri)
        sink.connect()
        return sink

    def refuse_experiment(self, name: str) -> str:
        """Have runs of an experiment refused for good; the reason."""
        self._store.client.delete_experiment(self._store.client.create_experiment(name))
        return "was deleted: restore it in MLflow"

    def refuse_file(self, run_id: str, name: str) -> None:
        """Have a file of this name refused for good: there is a folder in its place."""
        place = urlparse(self._store.client.get_run(run_id).info.artifact_uri).path
        Path(url2pathname(place), name).mkdir(parents=True)

    def unreachable(self) -> Sink:
        """A sink that nobody answers for."""
        return MLflowSink("http://127.0.0.1:9")

    def picture(self) -> Any:
        """All that is in it."""
        client = self._store.client
        runs = {}
        for run in self._store.runs():
            data = run.data
            rows = [
                (name, m.step, m.timestamp, repr(m.value))
                for name in data.metrics
                for m in client.get_metric_history(run.info.run_id, name)
            ]
            runs[run.info.run_name] = {
                "experiment": client.get_experiment(run.info.experiment_id).name,
                "start": run.info.start_time,
                "status": run.info.status,
                "end": run.info.end_time,
                "parent": data.tags.get("mlflow.parentRunId", ""),
                "rows": sorted(rows),
                "params": data.params,
                "tags": {k: v for k, v in data.tags.items() if not k.startswith(OWN_TAGS)},
                "files": self._store.artifacts(run),
                "inputs": {
                    dataset_name(each.dataset.name, each.dataset.digest): {
                        tag.key: tag.value for tag in each.tags
                    }
                    for each in run.inputs.dataset_inputs
                },
                "models": sorted(
                    (client.get_logged_model(output.model_id).name, output.step)
                    for output in run.outputs.model_outputs
                ),
            }
        assert len(runs) == len(self._store.runs())
        versions = client.search_model_versions()
        return runs, sorted((v.name, v.run_id, v.description) for v in versions)


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> InMemory | InMLflow:
    if request.param == "memory":
        return InMemory()
    return InMLflow(request.getfixturevalue("store"))


def start_of(name: str, **changes: Any) -> RunStart:
    given: dict[str, Any] = {"uid": f"uid-{name}", "experiment": "digits", "name": name}
    return RunStart(**{**given, "started_ms": 1_700_000_000_000, "tags": {"a": "1"}, **changes})


def test_a_run_is_opened_once(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    run = sink.open_run(start_of("one"))
    before = place.picture()
    assert sink.open_run(start_of("one")).run_id == run.run_id
    assert place.sink().open_run(start_of("one")).run_id == run.run_id
    assert place.picture() == before
    (content,) = before[0].values()
    assert content == {
        "experiment": "digits",
        "start": 1_700_000_000_000,
        "status": "RUNNING",
        "end": None,
        "parent": "",
        "rows": [],
        "params": {},
        "tags": {"a": "1"},
        "files": {},
        "inputs": {},
        "models": [],
    }


def test_a_run_is_found_by_its_identity(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    assert sink.find("uid-one") is None
    assert sink.find("uid-one", "digits") is None
    run = sink.open_run(start_of("one", experiment="other"))
    assert sink.find("uid-one") == run
    assert sink.find("uid-one", "other") == run
    assert sink.find("uid-one", "digits") is None
    sink.finish(run.run_id, "FAILED", now_ms())
    found = place.sink().find("uid-one")
    assert found is not None
    assert (found.run_id, found.has_ended) == (run.run_id, True)


def test_rows_are_added_once(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    values = {"loss": 0.5, "odd": math.nan, "big": -math.inf}
    events = [
        {"k": "params", "t": 1, "p": {"lr": "0.1"}},
        *({"k": "metrics", "t": 10 + step, "s": step, "m": values} for step in range(3)),
        {"k": "metrics", "t": 20, "s": None, "m": {"none": 1.0}},
        {"k": "tags", "t": 30, "g": {"note": "x"}},
        {"k": "tags", "t": 31, "g": {"note": "y"}},
    ]
    sink.send(run_id, events)
    before = place.picture()
    sink.send(run_id, events)
    place.sink().send(run_id, events)
    assert place.picture() == before
    content = before[0]["one"]
    assert len(content["rows"]) == 10
    assert ("none", 0, 20, "1.0") in content["rows"]
    assert content["params"] == {"lr": "0.1"}
    assert content["tags"]["note"] == "y"


DATASET = {"name": "digits", "digest": "1a", "source_type": "local", "source": "{}"}


def write_model(folder: Path) -> Path:
    """A model in MLflow's format."""
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


def test_data_sets_and_models_are_added_once(place: InMemory | InMLflow, tmp_path: Path) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    other = sink.open_run(start_of("other")).run_id
    wanted = Contents(inputs={"digits (1a)"}, models={"net-1", "net-2"})
    assert sink.contents(run_id, wanted) == Contents()
    event = {"k": "input", "t": 1, "d": DATASET, "g": {"kind": "raw"}}
    models = [write_model(tmp_path / f"net-{step}") for step in (1, 2)]
    for each in (sink, sink, place.sink()):
        each.send(run_id, [event, {**event, "g": {"kind": "later"}}])
        each.send(other, [event])
        for step, path in enumerate(models, 1):
            each.log_model(run_id, path, LoggedModel("net", step))
    content = place.picture()[0]["one"]
    assert content["inputs"] == {"digits (1a)": {"kind": "raw"}}
    assert content["models"] == [("net", 1), ("net", 2)]
    held = place.sink().contents(run_id, wanted)
    assert (held.inputs, held.models) == (wanted.inputs, wanted.models)
    assert place.sink().contents(other, wanted).models == set()


def test_a_parameter_keeps_its_first_value_and_holds_up_nothing(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    sink.send(run_id, [{"k": "params", "t": 1, "p": {"lr": "0.1"}}])
    events = [
        {"k": "params", "t": 2, "p": {"lr": "0.2", "width": "3"}},
        {"k": "metrics", "t": 3, "s": 0, "m": {"loss": 1.0}},
    ]
    place.sink().send(run_id, events)
    content = place.picture()[0]["one"]
    assert content["params"] == {"lr": "0.1", "width": "3"}
    assert len(content["rows"]) == 1


def test_files_are_uploaded_once(place: InMemory | InMLflow, tmp_path: Path) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    (tmp_path / "ü.txt").write_text("12345")
    (tmp_path / "b.bin").write_bytes(b"123")
    for _ in range(2):
        sink.upload(run_id, tmp_path / "ü.txt", "")
        sink.upload(run_id, tmp_path / "b.bin", "")
        sink.upload(run_id, tmp_path / "b.bin", "in/a folder")
    assert place.picture()[0]["one"]["files"] == {"ü.txt": 5, "b.bin": 3, "in/a folder/b.bin": 3}


def test_a_file_is_replaced_by_its_later_version(
    place: InMemory | InMLflow, tmp_path: Path
) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    for size in (5, 3):
        (tmp_path / "a.bin").write_bytes(b"1" * size)
        sink.upload(run_id, tmp_path / "a.bin", "")
    assert place.picture()[0]["one"]["files"] == {"a.bin": 3}


def test_a_refused_file_is_told_apart_and_holds_up_no_other(
    place: InMemory | InMLflow, tmp_path: Path
) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    for name in ("bad.bin", "good.bin"):
        (tmp_path / name).write_bytes(b"123")
    place.refuse_file(run_id, "bad.bin")
    for _ in range(2):
        with pytest.raises(Refused):
            sink.upload(run_id, tmp_path / "bad.bin", "")
        sink.upload(run_id, tmp_path / "good.bin", "")
    assert place.picture()[0]["one"]["files"].get("good.bin") == 3


def test_a_run_is_finished_and_resumed(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    run_id = sink.open_run(start_of("one")).run_id
    end_ms = 1_700_000_005_000
    for _ in range(2):
        sink.finish(run_id, "FINISHED", end_ms)
        sink.open_run(start_of("one"))  # a replay is no other attempt
        content = place.picture()[0]["one"]
        assert (content["status"], content["end"]) == ("FINISHED", end_ms)
    place.sink().open_run(start_of("one", resumed=True))
    assert place.picture()[0]["one"]["status"] == "RUNNING"
    sink.finish(run_id, "KILLED", end_ms + 1)
    content = place.picture()[0]["one"]
    assert (content["status"], content["end"]) == ("KILLED", end_ms + 1)


def test_a_run_ends_no_sooner_than_it_starts(place: InMemory | InMLflow) -> None:
    """The clock was set back, or that of another machine is behind."""
    sink, start = place.sink(), start_of("one")
    sink.finish(sink.open_run(start).run_id, "FINISHED", start.started_ms - 3_600_000)
    assert place.picture()[0]["one"]["end"] == start.started_ms


def test_a_run_has_one_parent(place: InMemory | InMLflow) -> None:
    sink = place.sink()
    parent, other = (sink.open_run(start_of(name)).run_id for name in ("sweep", "other"))
    child = sink.open_run(start_of("child", parent_id=parent))
    late = sink.open_run(start_of("late"))
    assert (child.has_parent, late.has_parent) == (True, False)
    for run in (child, late):
        for parent_id in (parent if run is late else other, "", other):
            sink.finish(run.run_id, "FINISHED", now_ms(), parent_id)
    runs = place.picture()[0]
    assert runs["child"]["parent"] == runs["late"]["parent"] == parent


def test_a_model_is_registered_once_for_each_run(
    place: InMemory | InMLflow, tmp_path: Path
) -> None:
    sink = place.sink()
    model = tmp_path / "weights.pt"
    model.write_bytes(b"12345")
    first, second = (sink.open_run(start_of(name)).run_id for name in ("one", "two"))
    for _ in range(2):
        assert sink.register(first, model, "digits", "loss 0.5") == "1"
    assert place.sink().register(second, model, "digits", "loss 0.25") == "2"
    runs, models = place.picture()
    about = {first: "loss 0.5", second: "loss 0.25"}
    assert models == sorted(("digits", run_id, text) for run_id, text in about.items())
    assert runs["one"]["files"]["model/weights.pt"] == 5


def test_what_is_refused_for_good_is_told_apart_from_what_fails_now(
    place: InMemory | InMLflow,
) -> None:
    reason = place.refuse_experiment("digits")
    for _ in range(2):
        with pytest.raises(TrackingError, match=reason):
            place.sink().open_run(start_of("one"))
    with pytest.raises(SinkUnavailable):
        place.unreachable().connect()


def test_it_tells_what_it_holds(place: InMemory | InMLflow, tmp_path: Path) -> None:
    sink = place.sink()
    assert sink.look() == ""
    run_id = sink.open_run(start_of("one")).run_id
    wanted = Contents({"loss": 3, "acc": 1}, {"lr", "width"}, {"out/a.txt", "b.txt"})
    held = sink.contents(run_id, wanted)
    assert (held.rows.get("loss", 0), held.params, held.artifacts) == (0, set(), set())
    rows = [{"k": "metrics", "t": at, "s": at, "m": {"loss": 0.5}} for at in range(4)]
    sink.send(run_id, [{"k": "params", "t": 1, "p": {"lr": "1"}}, *rows, rows[0]])
    (tmp_path / "a.txt").write_text("1")
    sink.upload(run_id, tmp_path / "a.txt", "out")
    for each in (sink, place.sink()):
        held = each.contents(run_id, wanted)
        assert (held.rows["loss"], held.rows.get("acc", 0)) == (4, 0)
        assert (held.params & wanted.params, held.artifacts & wanted.artifacts) == (
            {"lr"},
            {"out/a.txt"},
        )


def upload(sink: Any, journal: Path) -> bool:
    """Upload as a new process does; whether it came to the end."""
    try:
        run = RunUpload(sink, journal)
        while run.advance():
            pass
    except Killed:
        return False
    return run.done


def test_a_kill_after_any_call_loses_and_doubles_nothing(
    place: InMemory | InMLflow, kit: Any, tmp_path: Path
) -> None:
    def write(name: str) -> tuple[Path, ...]:
        folder = tmp_path / name
        sweep = kit.begin(folder / "sweep", params={"n": 2}, tags={"kind": "sweep"})
        trial = kit.begin(
            folder / "trial", parent=sweep.journal.path, last_files=(folder / "trial" / "log",)
        )
        (folder / "trial" / "log").write_text("the end")
        (folder / "trial" / "weights.pt").write_bytes(b"123")
        for step in range(3):
            trial.tracker.log_metric("loss", step / 3, step)
        trial.tracker.log_text("hello", "notes.txt")
        trial.tracker.log_metric("loss", 1.0, 3)
        trial.tracker.log_input({"name": "digits", "digest": "1a"})
        write_model(folder / "trial" / "logged_models" / "net-1")
        logged = {"name": "net", "step": 3}
        trial.journal.append("model", f="logged_models/net-1", logged=logged)
        trial.register("digits", folder / "trial" / "weights.pt", "the best")
        trial.close("FINISHED")
        sweep.close("FAILED")
        return sweep.journal.path, trial.journal.path

    journals = write("run")
    for journal in journals:
        calls = 1
        while not upload(KilledAfter(place.sink(), calls), journal):
            calls += 1
        assert calls >= 3  # there was something to be killed in
    before = place.picture()
    (sweep, trial), versions = (before[0]["sweep"], before[0]["trial"]), before[1]
    assert trial["parent"] == read_position(journals[0]).run_id
    assert [row[1] for row in trial["rows"]] == [0, 1, 2, 3]
    assert trial["files"] == {"notes.txt": 5, "model/weights.pt": 3, "log": 7}
    assert (trial["inputs"], trial["models"]) == ({"digits (1a)": {}}, [("net", 3)])
    assert (sweep["status"], trial["status"]) == ("FAILED", "FINISHED")
    assert sweep["params"] == {"n": "2"}
    assert len(versions) == 1
    # Nor does a replay of everything add anything.
    for journal in journals:
        journal.with_suffix(".position").unlink()
        assert upload(place.sink(), journal)
    assert place.picture() == before


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (
            "http://me:secret@host:5/",
            "http://host:5/#/experiments/3/runs/abc?workflowType=machine_learning",
        ),
        (
            "https://host/mlflow",
            "https://host/mlflow/#/experiments/3/runs/abc?workflowType=machine_learning",
        ),
        ("postgresql://me@host/mlflow", None),
    ],
)
def test_the_page_of_a_run_in_mlflow(uri: str, address: str | None) -> None:
    assert MLflowSink(uri).address("3", "abc") == address


def test_the_page_that_compares_the_trials_of_a_sweep() -> None:
    page = MLflowSink("http://host:5").compared("3", "abc", minimize=False) or ""
    assert page.startswith("http://host:5/#/experiments/3/runs?workflowType=machine_learning&")
    assert parse_qs(page.partition("?")[2]) == {
        "workflowType": ["machine_learning"],
        "compareRunsMode": ["CHART"],
        "orderByKey": ["metrics.`objective`"],
        "orderByAsc": ["false"],
        "searchFilter": ["tags.`mlflow.parentRunId`='abc'"],
    }


def test_the_page_of_a_run_of_the_local_store_needs_its_server(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MLflowSink(store.uri).address("3", "abc") is None
    state: Callable[..., Any] = lambda _: type("State", (), {"url": "http://127.0.0.1:5001"})  # noqa: E731
    monkeypatch.setattr("explr.tracking.server.MLflowServer.state", state)
    page = MLflowSink(store.uri).address("3")
    assert page == "http://127.0.0.1:5001/#/experiments/3/runs?workflowType=machine_learning"


@pytest.mark.parametrize("path", sorted(Path(sink_module.__file__).parent.glob("*.py")), ids=str)
def test_what_uploads_knows_no_sink_but_the_table(path: Path) -> None:
    assert ("explr.tracking.mlflow" in path.read_text()) is (path.name == "sinks.py")

import math
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from memory_sink import FakeClock

from explr.tracking.journal.lines import read_events
from explr.tracking.journal.pending import enter, entries
from explr.tracking.journal.position import Position, read_position
from explr.tracking.mlflow import store as store_module
from explr.tracking.mlflow.failures import is_locked
from explr.tracking.mlflow.private import insert_metrics
from explr.tracking.mlflow.rows import REFUSED_TAG
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.mlflow.store import connect, hidden, unneeded
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.shipper import PATIENCE_S, Shipper

pytestmark = pytest.mark.mlflow_versions


def mirror_of(store: Any, run: Any) -> RunUpload:
    sink = MLflowSink(store.uri)
    sink.connect()
    return RunUpload(sink, run.journal.path)


def all_of(mirror: RunUpload) -> None:
    while mirror.advance():
        pass


@pytest.mark.parametrize("count", [1, 999, 2500])
def test_every_row_arrives_once_with_step_and_time(
    store: Any, kit: Any, tmp_path: Path, count: int
) -> None:
    run = kit.begin(tmp_path / "run")
    for i in range(count):
        run.tracker.log_metric("loss", 1 / (i + 1), step=i // 2)
    run.close("FINISHED")
    kit.ship()
    history = store.client.get_metric_history(store.run().info.run_id, "loss")
    recorded = [
        (r.event["t"], r.event["s"], r.event["m"]["loss"])
        for r in read_events(run.journal.path)
        if r.event["k"] == "metrics"
    ]
    assert sorted((m.timestamp, m.step, m.value) for m in history) == sorted(set(recorded))
    assert entries() == []


def test_a_changed_parameter_becomes_a_tag_and_metrics_are_safe(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    run = kit.begin(tmp_path / "run", params={"lr": 0.1})
    run.tracker.log_metric("loss", 1.0)
    run.tracker.log_params({"lr": 0.2, "width": 3})
    run.tracker.log_metric("loss", 0.5, step=1)
    all_of(mirror_of(store, run))
    data = store.run().data
    assert data.params == {"lr": "0.1", "width": "3"}
    assert data.tags["changed.lr"] == "0.2"
    assert store.rows(store.run(), "loss") == [(0, 1.0), (1, 0.5)]


def test_a_parameter_that_somebody_else_set_becomes_a_tag(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    run = kit.begin(tmp_path / "run", params={"lr": 0.1})
    mirror = mirror_of(store, run)
    all_of(mirror)
    store.client.log_param(store.run().info.run_id, "width", "7")
    run.tracker.log_params({"width": 3, "depth": 2})
    run.tracker.log_metric("loss", 0.5, step=1)
    all_of(mirror)
    data = store.run().data
    assert data.params == {"lr": "0.1", "width": "7", "depth": "2"}
    assert data.tags["changed.width"] == "3"
    assert store.rows(store.run(), "loss") == [(1, 0.5)]


def test_long_values_and_odd_names_all_arrive(store: Any, kit: Any, tmp_path: Path) -> None:
    names = ["acc@5", "acc#5", "a//b", "a/b", "x[0]", "x(0)", "Präzision", "精度", "n" * 300]
    run = kit.begin(tmp_path / "run", params={name: name for name in names})
    run.tracker.log_params({"prompt": "x" * 7000, "odd": "a\0b\udcff"})
    for i, name in enumerate(names):
        run.tracker.log_metric(name, i)
        run.tracker.set_tag(f"tag {name}", i)
    run.tracker.log_metric("last", 1.0)
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    assert sorted(found.data.metrics.values()) == sorted([*range(len(names)), 1.0])
    assert sorted(found.data.params.values())[: len(names)] != []
    assert len(found.data.params) == len(names) + 2
    assert found.data.metrics["Präzision"] == 6
    assert "7000 characters" in found.data.params["prompt"]
    assert store.artifacts(found)["params/prompt.txt"] == 7000
    tags = [v for n, v in found.data.tags.items() if n.startswith("tag ")]
    assert sorted(tags, key=int) == [str(i) for i in range(len(names))]
    assert REFUSED_TAG not in found.data.tags


def test_a_row_that_mlflow_refuses_costs_only_itself(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    events = [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    for name, value in events:
        run.tracker.log_metric(name, value)
    run.journal.write({"k": "metrics", "t": -5, "s": 0, "m": {"bad": 1.0}})
    run.journal.write({"k": "tags", "t": 0, "g": {"mlflow.runName": ""}})
    run.tracker.log_metric("d", 4.0)
    run.close("FINISHED")
    kit.ship()
    assert {"a", "b", "c", "d"} <= set(store.run().data.metrics)
    assert store.status() == "FINISHED"


def test_rows_are_those_of_mlflows_own_client(store: Any, home: Path) -> None:
    from mlflow.entities import Metric

    client, draw = connect(store.uri), Random(0)
    experiment = client.create_experiment("rows")
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    values = [0.5, 1 / 3, -1e300, math.inf, -math.inf, math.nan, 0.0, 7]
    kept: set[tuple[str, int, int, str]] = set()
    for _ in range(20):
        metrics = [
            Metric(
                f"m{draw.randrange(4)}",
                draw.choice(values),
                draw.randrange(3),
                draw.randrange(-2, 3),
            )
            for _ in range(draw.randrange(1, 40))
        ]
        assert insert_metrics(client, runs[0], metrics)
        # An older MLflow refuses a batch that repeats a row whose value is NaN.
        rows = {(m.key, m.timestamp, m.step, repr(m.value)): m for m in metrics}
        fresh = [m for row, m in rows.items() if row not in kept or "nan" not in row]
        kept |= rows.keys()
        client.log_batch(runs[1], fresh, synchronous=True)
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        for table in ("metrics", "latest_metrics"):
            columns = "key, value, typeof(value), timestamp, step, is_nan"
            query = f"select {columns} from {table} where run_uuid = ? order by {columns}"
            ours, theirs = (database.execute(query, [run]).fetchall() for run in runs)
            assert ours == theirs != []


def test_what_cannot_be_inserted_is_left_to_mlflow(store: Any) -> None:
    from mlflow.entities import Metric

    client = connect(store.uri)
    run = client.create_run(client.create_experiment("rows")).info.run_id
    good, odd = Metric("good", 1.0, 1, 0), Metric("bad", 1.0, -5, 0)
    assert not insert_metrics(client, run, [good, odd])
    assert client.get_run(run).data.metrics == {}
    assert insert_metrics(client, run, [good])
    client.delete_run(run)
    for gone in (run, "0" * 32):
        assert not insert_metrics(client, gone, [good])


def test_artifacts_arrive_also_when_the_originals_are_gone(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "a b.txt").write_text("12345")
    (tmp_path / "ü weights.bin").write_bytes(b"123")
    folder = tmp_path / "ein Lauf é"
    run = kit.begin(folder, last_files=(folder / "log.txt", folder / "never.txt"))
    run.tracker.log_artifact(tmp_path / "plots", "out")
    run.tracker.log_artifact(tmp_path / "ü weights.bin")
    run.tracker.log_figure(Figure(), "curve.png")
    run.tracker.log_text("hé", "notes/hello.txt")
    shutil.rmtree(tmp_path / "plots")
    (folder / "log.txt").write_text("the end")
    run.close("FINISHED")
    kit.ship()
    sizes = store.artifacts(store.run())
    assert sizes.pop("curve.png") > 100
    assert sizes == {
        "out/plots/deep/a b.txt": 5,
        "ü weights.bin": 3,
        "notes/hello.txt": 3,
        "log.txt": 7,
    }


def test_a_deleted_experiment_is_one_clear_sentence_and_can_be_restored(
    store: Any, kit: Any, tmp_path: Path
) -> None:
    experiment = store.client.create_experiment("digits")
    store.client.delete_experiment(experiment)
    run = kit.begin(tmp_path / "run")
    run.close("FINISHED")
    kit.ship()
    error = read_position(run.journal.path).error
    assert error == (
        "the MLflow experiment 'digits' was deleted: restore it in MLflow, "
        "or set another experiment_name"
    )
    store.client.restore_experiment(experiment)
    kit.ship()
    assert store.status() == "FINISHED"
    assert entries() == []


def test_a_deleted_run_is_told_and_not_doubled(store: Any, kit: Any, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    all_of(mirror_of(store, run))
    run_id = store.run().info.run_id
    store.client.delete_run(run_id)
    run.tracker.log_metric("loss", 1.0)
    run.close("FINISHED")
    kit.ship()
    assert "was deleted in MLflow" in read_position(run.journal.path).error
    assert store.runs() == []
    store.client.restore_run(run_id)
    kit.ship()
    assert store.rows(store.run(), "loss") == [(0, 1.0)]


def test_experiments_of_any_name(store: Any, kit: Any, tmp_path: Path) -> None:
    names = ["a/b", "a_b", "ü ö", "Default", "x" * 400, "a:b?c#d%20"]
    for i, name in enumerate(names):
        run = kit.begin(tmp_path / str(i), experiment=name)
        run.tracker.log_text(name, "name.txt")
        run.close("FINISHED")
    kit.ship()
    assert len(store.runs()) == len(names)
    for found in store.runs():
        assert store.artifacts(found)["name.txt"] > 0
        experiment = store.client.get_experiment(found.info.experiment_id)
        assert experiment.name == names[int(found.info.run_name)]


def test_a_store_of_an_older_schema_is_left_as_it_is(
    template: Path, kit: Any, home: Path, tmp_path: Path
) -> None:
    def version() -> str:
        with closing(sqlite3.connect(home / "old.db")) as database:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    shutil.copyfile(template, home / "old.db")
    with closing(sqlite3.connect(home / "old.db", isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '3500859a5d39'")
    uri = f"sqlite:///{home}/old.db"
    run = kit.begin(tmp_path / "run", uri)
    run.close("FINISHED")
    kit.ship(uri)
    assert "mlflow db upgrade" in read_position(run.journal.path).error
    assert version() == "3500859a5d39"


def test_a_locked_database_is_waited_for(store: Any, kit: Any, home: Path, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run")
    run.tracker.log_metric("loss", 1.0)
    run.close("FINISHED")
    lock = sqlite3.connect(home / "mlflow.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(2.0, lock.execute, ["ROLLBACK"])
    release.start()
    kit.ship()
    release.join()
    lock.close()
    kit.ship()
    assert store.rows(store.run(), "loss") == [(0, 1.0)]


def test_a_companion_does_not_give_up_while_the_database_is_locked(
    store: Any, kit: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is real; the clock by which the companion would give up is not."""
    monkeypatch.setattr("explr.tracking.mlflow.store.LOCK_TIMEOUT_S", 0.01)
    clock = FakeClock()
    run = kit.begin(tmp_path / "run")
    run.tracker.log_metric("loss", 1.0)
    run.close("FINISHED")
    (entry,) = entries()
    enter(replace(entry, pid=2**22 + 1))  # no process has this number: the training has ended
    lock = sqlite3.connect(home / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    seen: list[Position] = []
    clock.at(3 * PATIENCE_S, lambda: seen.append(run.position))
    clock.at(3 * PATIENCE_S, lambda: lock.execute("ROLLBACK"))
    Shipper(MLflowSink(store.uri), lambda: False, clock=clock).run()
    lock.close()
    reason = f"the MLflow store {home / 'mlflow.db'} is locked by another process"
    assert [(position.error, position.stuck) for position in seen] == [(reason, False)]
    assert store.rows(store.run(), "loss") == [(0, 1.0)]
    assert store.status() == "FINISHED"


def test_a_lock_is_told_apart_whoever_tells_it(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from sqlalchemy import create_engine, text

    def fail(order: str) -> None:
        with engine.connect() as connection:
            try:
                connection.execute(text(order))
            except Exception as error:
                raise MlflowException("as MLflow does it") from error

    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as lock:
        lock.execute("CREATE TABLE a (b)")
        lock.execute("BEGIN EXCLUSIVE")
        engine = create_engine(f"sqlite:///{tmp_path}/a.db?timeout=0")
        for order, locked in (("SELECT * FROM a", True), ("SELEC", False)):
            with pytest.raises(MlflowException) as caught:
                fail(order)
            assert is_locked(caught.value) is locked
        engine.dispose()


@pytest.mark.slow
def test_a_store_is_made_where_there_is_none(kit: Any, home: Path, tmp_path: Path) -> None:
    run = kit.begin(tmp_path / "run", experiment="Default")
    run.tracker.log_text("x", "x.txt")
    run.close("FINISHED")
    kit.ship()
    found = kit.store_at(run.destination.resolved_uri)
    assert found.artifacts(found.run()) == {"x.txt": 1}
    assert not (tmp_path / "mlruns").exists()  # MLflow's own experiment keeps its files in the home


def test_what_is_hidden_is_found_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_one.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden(("heavy_one", "json")):
        with pytest.raises(ModuleNotFoundError):
            import_module("heavy_one")
        assert import_module("json").loads("1") == 1  # imported before
    assert import_module("heavy_one").__name__ == "heavy_one"


def test_mlflow_lacks_nothing_that_its_registry_or_a_plugin_may_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr("explr.tracking.mlflow.store.FOR_MODELS", ("pandas",))
    assert unneeded(local) == ("pandas",)
    assert unneeded("https://mlflow.example.org") == ("pandas",)
    assert unneeded("databricks") == ()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_REGISTRY_URI", "databricks-uc")
        assert unneeded(local) == ()
    plugin = tmp_path / "our_store-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: our-store\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text(
        "[mlflow.artifact_repository]\nours = our_store:Repository\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert unneeded(local) == ()


@pytest.mark.slow
def test_a_new_store_is_there_as_a_whole_or_not_at_all(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be killed while MLflow makes the tables, which it could not do again."""
    path, seen = home / "other.db", []

    def made(aside: Path) -> None:
        seen.append(path.stat().st_size if path.exists() else 0)
        with closing(sqlite3.connect(aside)) as database:
            assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]

    for left in ("", "-journal"):  # by such a process
        (home / f".writing-other.db.1{left}").write_text("half a store")
    monkeypatch.setattr(store_module, "flush", made)
    connect(f"sqlite:///{path}")
    assert seen == [0]
    assert path.stat().st_size > 0
    assert [*home.glob(".writing-*")] == []
    connect(f"sqlite:///{path}")
    assert len(seen) == 1
    assert Path.cwd() == tmp_path  # which MLflow's files are relative to

"""`explr list`: what is found below a folder, how it stands, and how it is shown."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import explr
from explr import TrainingContext, TrialPruned
from explr.core.folders import COMMAND, JOB, MULTIRUN, RESULT, RESULTS
from explr.results.listing import DEPTH, Listed, listed_below
from explr.results.single import RUN, note_command
from explr.results.table import WIDE
from explr.runner.cli.listing import age, lines, show_list
from explr.tracking.journal.journal import Journal
from explr.tuning.lock import HOLDER_FILE, sole_controller

LINE = ["tracking=off", "hydra/launcher=basic", "tuner/sampler=random", "tuner/pruner=none"]


def train(ctx: TrainingContext) -> float:
    lr = float(ctx.hyperparameters["lr"])
    if lr > 50:
        raise TrialPruned
    if lr > 10:
        raise ValueError
    return lr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep, a grid and three runs."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EXPLR_HOME", str(folder / ".home"))
        explr.tune([*LINE, "lr=interval(1,2)", "tuner.study_name=s"], train, n_trials=3)
        explr.tune(["tuner=none", "lr=1,2,20", "hydra.sweep.dir=g", *LINE[:1]], train)
        for name, lr in {"done": 3, "pruned": 60, "failed": 20}.items():
            cfg = explr.compose(["tracking=off", f"lr={lr}"])
            try:
                explr.run(cfg, train, folder / "outputs" / name)
            except (TrialPruned, ValueError):
                assert name != "done"
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    shutil.copytree(project, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def told(folder: Path) -> dict[str, tuple[str, str, float | None, int | None, int | None]]:
    return {
        str(one.folder.relative_to(folder)): (
            one.state, one.metric, one.value and round(one.value), one.ended, one.total,
        )
        for one in listed_below(folder)
    }  # fmt: skip


@pytest.mark.slow
def test_sweeps_grids_and_runs(project: Path) -> None:
    found = told(project)
    state, metric, value, ended, total = found.pop("multirun/s")
    assert (state, metric, ended, total) == ("complete", "val_loss", 3, 3)
    assert value in (1, 2)
    assert found == {
        "g": ("complete", "val_loss", 1, 3, 3),
        "outputs/done": ("complete", "val_loss", 3, None, None),
        "outputs/pruned": ("pruned", "objective", None, None, None),
        "outputs/failed": ("failed", "objective", None, None, None),
    }


@pytest.fixture
def sweep(copy: Path) -> Path:
    return copy / "multirun" / "s"


def state_of(sweep: Path) -> tuple[str, int | None, int | None]:
    one = next(one for one in listed_below(sweep.parent) if one.folder == sweep)
    return one.state, one.ended, one.total


def test_a_sweep_that_runs_and_one_that_was_killed(sweep: Path) -> None:
    (sweep / RESULTS).unlink()
    assert state_of(sweep) == ("interrupted", 3, 3)  # told by its study
    with sole_controller(sweep):
        assert state_of(sweep) == ("running", 3, 3)
        holder = (sweep / HOLDER_FILE).read_bytes()
    (sweep / HOLDER_FILE).write_bytes(holder)  # as a kill leaves it
    assert state_of(sweep) == ("interrupted", 3, 3)


def test_a_sweep_that_was_killed_when_it_was_resumed(sweep: Path) -> None:
    (sweep / "3").mkdir()
    assert state_of(sweep) == ("interrupted", 3, 3)


def test_a_sweep_without_all_of_its_trials(sweep: Path) -> None:
    text = (sweep / MULTIRUN).read_text()
    (sweep / MULTIRUN).write_text(text.replace("n_trials: 3", "n_trials: 20"))
    assert state_of(sweep) == ("stopped", 3, 20)


def test_a_sweep_that_has_begun_no_trial(sweep: Path) -> None:
    for path in sweep.iterdir():
        if path.name != COMMAND:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert state_of(sweep) == ("interrupted", 0, None)


@pytest.mark.parametrize("of_explr", [True, False])
def test_a_run_that_has_not_ended(copy: Path, of_explr: bool) -> None:
    run = copy / "outputs" / "open"
    (run / ".hydra").mkdir(parents=True)
    name = "explr/schema@objective" if of_explr else "hydra/sweeper"
    (run / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    choices:\n      {name}: x")
    assert ("outputs/open" in told(copy)) is of_explr  # nothing tells of it, if it is untracked
    journal = Journal.create(run)
    journal.append("start", after=None)
    assert told(copy)["outputs/open"][0] == "running"
    journal.close()
    assert told(copy)["outputs/open"][0] == "interrupted"
    with (next(run.glob("journal-*.jsonl"))).open("a") as file:
        file.write(json.dumps({"k": "end", "t": 1, "status": "FINISHED"}) + "\n")
    assert told(copy)["outputs/open"][0] == "complete"


def test_an_untracked_run_is_told_by_its_process(copy: Path) -> None:
    run = copy / "outputs" / "open"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "hydra.yaml").write_text("explr/schema@objective: x")
    note_command(run, resumes=False)
    assert told(copy)["outputs/open"][0] == "running"
    kept = json.loads((run / RUN).read_text())
    (run / RUN).write_text(json.dumps(kept | {"started": "before"}))  # its process ID is another's
    assert told(copy)["outputs/open"][0] == "interrupted"


def test_what_is_no_run_is_passed_over(copy: Path) -> None:
    known = told(copy)
    for name in ("data", ".hidden/outputs/x", "node_modules/x", "/".join("abcdefg") + "/x"):
        (copy / name).mkdir(parents=True)
        shutil.copy(copy / "outputs/done" / RESULT, copy / name / RESULT)
    (copy / "data" / RESULT).write_text('{"accuracy": 3}')
    (copy / "data2").mkdir()
    (copy / "data2" / JOB).write_text("[")
    (copy / "data2" / "loop").symlink_to(copy)
    assert len("abcdefg") + 1 > DEPTH
    assert told(copy) == known


def test_other_folders_too(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = explr.compose(["tracking=off", "lr=2"])
    monkeypatch.chdir(copy / "outputs")
    explr.run(cfg, train, copy / "elsewhere")
    capsys.readouterr()
    show_list(everywhere=True)
    assert str(copy / "elsewhere") in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    show_list(everywhere=False)
    assert capsys.readouterr().err == (
        f"no sweep and no run of explr's below {tmp_path / 'empty'}; `explr list --all` lists "
        "those of other folders\n"
    )


FOUND = [
    Listed(Path("/p/multirun/2026-01-31/12-00-00-000000"), "running", 90.0, "m" * 40, 0.5, 3, 20),
    Listed(Path("/p/outputs/2026-01-31/12-00-00-000000"), "failed", 0.0),
]


@pytest.mark.parametrize("width", [60, 80, 100, 160, WIDE])
def test_the_list_fits(width: int) -> None:
    shown = [explr_plain(line) for line in lines(FOUND, Path("/p"), 100.0, width)]
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    for each in ("running", "3/20", "0.5", "10 s", "multirun/2026-01-31/12-00-00-000000", "1 min"):
        assert each in text
    assert ("m" * 40 in text) is (width != 60)


def explr_plain(text: str) -> str:
    import click

    return click.unstyle(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.slow
def test_many_that_have_ended_are_told_without_optuna(explr, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for number in range(100):
        shutil.copytree(project / "multirun/s", tmp_path / f"multirun/{number}", symlinks=True)
        (tmp_path / f"outputs/{number}").mkdir(parents=True)
        os.link(project / "outputs/done" / RESULT, tmp_path / f"outputs/{number}/{RESULT}")
    code = (
        "import sys; from explr.runner.cli.commands import run_subcommand; "
        "assert run_subcommand(['list']) == 0; "
        "print(*{'optuna', 'mlflow', 'pandas', 'torch'} & {*sys.modules})"
    )
    done = explr.python("-c", code)
    assert done.returncode == 0, done.stderr
    *rows, modules = done.stdout.splitlines()
    assert modules == ""
    assert len(rows) == 201

"""The command of a sweep whose project was moved or copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from explr.core.errors import UsageError
from explr.core.folders import COMMAND, RESULT, read_result, write_json
from explr.results.command import SweepCommand, sweep_command
from explr.runner.cli.resume import resume

OLD = "old project"


def begun(root: Path, folder: str = "multirun/s", within: str | None = "multirun/s") -> Path:
    """The folder of a sweep that began in the project `OLD`."""
    project = root / OLD
    sweep = project / folder
    sweep.mkdir(parents=True)
    argv = [f"{project}/train.py", "-m", f"data='{project}/data'", f"other={project}-2/x"]
    content = {"study": "s", "cwd": str(project), "argv": argv}
    write_json(sweep / COMMAND, content | ({} if within is None else {"folder": within}))
    return sweep


def command_of(sweep: Path) -> SweepCommand:
    command = sweep_command(sweep)
    assert command is not None
    return command


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_project_at_a_new_place_is_used_there(tmp_path: Path, how) -> None:
    begun(tmp_path)
    how(str(tmp_path / OLD), str(new := tmp_path / "new\\1 place"))
    command = command_of(new / "multirun" / "s")
    assert (command.cwd, command.moved_from, command.is_lost) == (new, tmp_path / OLD, False)
    assert command.argv == [
        f"{new}/train.py", "-m", f"data='{new}/data'", f"other={tmp_path}/{OLD}-2/x"
    ]  # fmt: skip


@pytest.mark.parametrize("within", ["multirun/s", None])
def test_a_project_that_stays_is_used_where_it_is(tmp_path: Path, within: str | None) -> None:
    sweep = begun(tmp_path, within=within)
    (link := tmp_path / "link").symlink_to(sweep.parent)
    for place in (sweep, link / "s"):
        command = command_of(place)
        assert (command.cwd, command.moved_from, command.is_lost) == (tmp_path / OLD, None, False)
    renamed = sweep.rename(sweep.with_name("mine"))
    assert command_of(renamed).cwd == tmp_path / OLD


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("data/s", "data/s"),  # the project has moved, the sweep has not
        ("data/s", "data 2/s"),
        (f"{OLD}/multirun/s", "multirun 2/s"),
        (f"{OLD}/multirun/s", f"{OLD}/archive/multirun/s"),  # or a copy of the project?
    ],
)
def test_where_it_cannot_be_told_what_to_type_is(
    tmp_path: Path, before: str, now: str, capsys
) -> None:
    sweep, there = begun(tmp_path), tmp_path / now
    inside = before.startswith(OLD)
    command = {"study": "s", "cwd": str(tmp_path / OLD), "argv": ["train.py", "-m", "lr=1,2"]}
    folder = "multirun/s" if inside else str(tmp_path / before)
    write_json(sweep / COMMAND, {**command, "folder": folder})
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(sweep, there)
    if not inside:
        (tmp_path / OLD).rename(tmp_path / "new")
    assert command_of(there).is_lost
    with pytest.raises(UsageError) as said:
        resume(there)
    assert str(said.value) == (
        f"the sweep in {there} began in {tmp_path / OLD}, and it cannot be told where its project "
        "is now: go to the folder of its project, and type: "
        f"""python train.py -m lr=1,2 'hydra.sweep.dir="{there}"'"""
    )
    assert capsys.readouterr().out == ""


def test_a_script_that_has_not_come_along(tmp_path: Path) -> None:
    begun(tmp_path)
    shutil.copytree(tmp_path / OLD / "multirun", (new := tmp_path / "new") / "multirun")
    (tmp_path / OLD / "train.py").touch()
    with pytest.raises(UsageError, match=f"there is no {new}/train.py in {new}: go to the folder"):
        resume(new / "multirun" / "s")


def test_the_model_of_a_run_moves_with_it(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best.pt").touch()
    result = {"primary_metric": 1, "metrics": {}, "best_model_path": "models/best.pt"}
    rest = dict.fromkeys(("number", "params", "value", "device", "reason"))
    write_json(tmp_path / RESULT, {"state": "COMPLETE", "result": result, **rest})
    content = read_result(tmp_path)
    assert content is not None
    assert content["result"]["best_model_path"] == str(tmp_path / "models" / "best.pt")


TRAINING = """\
import os
from pathlib import Path


def train(ctx):
    if Path("power-cut").exists():
        os.kill(os.getpid(), 9)
    return FACTOR * ctx.hyperparameters["lr"]
"""


@pytest.mark.slow
def test_a_sweep_is_resumed_with_the_code_of_its_new_place(explr, tmp_path: Path) -> None:
    (old := tmp_path / "old").mkdir()
    (old / "job.py").write_text(f"FACTOR = 1\n{TRAINING}")
    (old / "power-cut").touch()
    search = ("lr=choice(2)", "tuner/sampler=grid", "tuner.study_name=s", "hydra/launcher=basic")
    killed = explr("tuner=optuna", "-m", "train_model=job:train", "tracking=off", *search, cwd=old)
    assert killed.returncode == -9
    shutil.copytree(old, new := tmp_path / "it's = new, é")
    # Of another length: Python takes bytecode by the length and the second of the source.
    (new / "job.py").write_text(f"FACTOR = 3  # and not 1\n{TRAINING}")
    (new / "power-cut").unlink()
    done = explr("resume", str(new / "multirun" / "s"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"this sweep began in {old} and resumes in {new}\n")
    assert "best: trial 0 with 6: lr=2" in done.stdout
    again = explr("resume", "--last", cwd=new)
    assert (again.returncode, "began in" in again.stdout) == (0, False)
    assert not (old / "multirun" / "s" / "results.json").exists()
